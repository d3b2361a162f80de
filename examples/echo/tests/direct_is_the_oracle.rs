//! The same service, called directly and through a gateway: a client must see no difference.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use grpcrouter::{
    Clock, Gateway, GatewayConfig, Instance, InstanceConfig, Listener, TcpDialer, TcpListener,
};
use grpcrouter_echo::pb::echo_client::EchoClient;
use grpcrouter_echo::pb::echo_server::{EchoServer, SERVICE_NAME};
use grpcrouter_echo::pb::{EchoReply, EchoRequest};
use grpcrouter_echo::{COLLECT_MAX, EchoService};
use tokio::time::timeout;
use tokio_stream::iter;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Code, Status, Streaming};

/// How long any one test may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Proves: K1, K2, K3
#[tokio::test]
async fn all_four_kinds_through_the_gateway_answer_as_directly() {
    timeout(LIMIT, async {
        let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
        let (clients, tunnels) = (listen().await, listen().await);
        let (client_addr, tunnel_addr) = (addr(&clients), addr(&tunnels));
        tokio::spawn({
            let gateway = gateway.clone();
            async move {
                tokio::join!(
                    gateway.serve_clients(clients),
                    gateway.serve_tunnels(tunnels)
                )
            }
        });
        register(tunnel_addr).await;
        compare(client_addr).await;
        assert_eq!(gateway.drain().await, 0, "calls that never ended");
    })
    .await
    .expect("in time");
}

/// The gateway is everything that the server's own routes do not answer, tunnels included.
///
/// Proves: K1, K2, K3
#[tokio::test]
async fn all_four_kinds_through_a_mounted_gateway_answer_as_directly() {
    timeout(LIMIT, async {
        let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
        let mounted = Routes::default()
            .into_axum_router()
            .fallback_service(gateway.service());
        let mounted = serve_by_tonic(mounted.into()).await;
        register(mounted).await;
        compare(mounted).await;
        assert_eq!(gateway.gauges().calls.get(), 0, "calls that never ended");
    })
    .await
    .expect("in time");
}

/// Calls the service at `routed` and a server of its own, and compares.
async fn compare(routed: SocketAddr) {
    let direct = serve_by_tonic(routes()).await;
    let (expected, got) = (answers(direct).await, answers(routed).await);
    assert_eq!(expected.len(), 9);
    for (expected, got) in expected.iter().zip(&got) {
        assert!(
            expected == got,
            "directly: {}\nrouted:   {}",
            brief(expected),
            brief(got)
        );
    }
}

fn brief(answer: &Answer) -> String {
    format!("{answer:?}").chars().take(300).collect()
}

/// What a client sees of a call: the answers, then the status.
type Answer = (&'static str, Vec<EchoReply>, Code, String);

/// Calls each kind, with nothing, little and much.
async fn answers(server: SocketAddr) -> Vec<Answer> {
    let connected = EchoClient::connect(format!("http://{server}")).await;
    let mut client = connected.expect("a server");
    let mut all = Vec::new();
    let one = |reply: EchoReply| vec![reply];
    for bytes in [0, 1, 64 * 1024] {
        let said = client.say(text(&"x".repeat(bytes))).await;
        all.push(answer("Say", said.map(|it| one(it.into_inner()))));
    }
    for words in ["", "one two three"] {
        let expanded = client.expand(text(words)).await;
        all.push(drain("Expand", expanded).await);
    }
    for texts in [vec![], vec!["one", "two"]] {
        let collected = client.collect(iter(texts.into_iter().map(text))).await;
        all.push(answer("Collect", collected.map(|it| one(it.into_inner()))));
    }
    // Answered before the client has sent all.
    let piece = "y".repeat(64 * 1024);
    let much = vec![text(&piece); 2 * COLLECT_MAX / piece.len()];
    let refused = client.collect(iter(much)).await;
    all.push(answer("Collect", refused.map(|it| one(it.into_inner()))));
    let lines: Vec<_> = (0..100).map(|line| text(&format!("line {line}"))).collect();
    let chat = client.chat(iter(lines)).await;
    all.push(drain("Chat", chat).await);
    all
}

fn answer(kind: &'static str, result: Result<Vec<EchoReply>, Status>) -> Answer {
    match result {
        Ok(replies) => (kind, replies, Code::Ok, String::new()),
        Err(status) => (kind, Vec::new(), status.code(), status.message().to_owned()),
    }
}

async fn drain(
    kind: &'static str,
    response: Result<tonic::Response<Streaming<EchoReply>>, Status>,
) -> Answer {
    let mut replies = match response {
        Ok(response) => response.into_inner(),
        Err(status) => return answer(kind, Err(status)),
    };
    let mut all = Vec::new();
    loop {
        match replies.message().await {
            Ok(Some(reply)) => all.push(reply),
            Ok(None) => return (kind, all, Code::Ok, String::new()),
            Err(status) => return (kind, all, status.code(), status.message().to_owned()),
        }
    }
}

fn text(text: &str) -> EchoRequest {
    EchoRequest { text: text.into() }
}

fn routes() -> Routes {
    Routes::new(EchoServer::new(EchoService::new("east")))
}

async fn serve_by_tonic(routes: Routes) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let incoming = TcpListenerStream::new(listener);
    let server = Server::builder().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(incoming));
    addr
}

/// Runs an instance of the service and waits until the gateway has it.
async fn register(gateway: SocketAddr) {
    let mut config = InstanceConfig::new("east", [SERVICE_NAME]);
    let target = format!("http://{gateway}").parse();
    config.gateways.push(target.expect("a target"));
    let (instance, handle) = Instance::new(config, routes(), Arc::new(TcpDialer), Clock::start());
    tokio::spawn(instance.run());
    let mut registrations = handle.registrations();
    let registered = registrations.wait_for(|counts| counts.iter().all(|count| *count > 0));
    registered.await.expect("the instance runs");
}

async fn listen() -> TcpListener {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    TcpListener::bind(any_port).await.expect("a port")
}

fn addr(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("bound")
}
