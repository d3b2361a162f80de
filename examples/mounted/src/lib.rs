//! A tonic server that serves one service itself, and routes another to instances that dial in.

use grpcrouter::{Clock, Gateway, GatewayConfig};
use grpcrouter_echo::EchoService;
use grpcrouter_echo::pb::echo_server::EchoServer;
use grpcrouter_myservice::pb::my_service_router::MyServiceRouter;
use tonic::service::Routes;

/// What the server serves: its own `Echo`, the routed `MyService`, and, for everything else, the gateway
/// itself, by which instances register.
#[must_use]
pub fn routes() -> Routes {
    let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
    Routes::new(EchoServer::new(EchoService::new("this server")))
        .add_service(gateway.mounted(MyServiceRouter::new()))
        .into_axum_router()
        .fallback_service(gateway.service())
        .into()
}
