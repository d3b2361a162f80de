//! A key is a text, an integer or a bool.

use grpcrouter_build_compiled::myservice::myservice::v1::my_service_router::MyServiceRouter;

fn main() {
    let _ = MyServiceRouter::new().method1(|route| route.key(|_| Some(1.5_f64)));
}
