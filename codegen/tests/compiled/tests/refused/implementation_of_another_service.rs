//! An instance serves what implements its own service.

use grpcrouter_build_compiled::plain::plain::v1::plain_router::PlainInstance;

struct Unrelated;

fn main() {
    let _ = PlainInstance::new(Unrelated);
}
