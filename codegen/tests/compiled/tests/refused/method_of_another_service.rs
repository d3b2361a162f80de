//! A router has the methods of its service, and no others.

use grpcrouter_build_compiled::plain::plain::v1::plain_router::PlainRouter;

fn main() {
    let _ = PlainRouter::new().method1(|route| route.metadata("instance-id"));
}
