//! A key is taken from the request message of its own method.

use grpcrouter_build_compiled::myservice::myservice::v1::{Method2Request, my_service_router::MyServiceRouter};

fn main() {
    let _ = MyServiceRouter::new()
        .method1(|route| route.key(|request: &Method2Request| request.items.first().cloned()));
}
