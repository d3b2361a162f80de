//! Two ports, one port for both, and who speaks something else.

use std::net::{Ipv4Addr, SocketAddr};

use grpcrouter::{Clock, Gateway, GatewayConfig, TcpListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::client::Client;
use super::support::handler::Handler;
use super::support::reports::silent;
use super::support::scripted::Scripted;
use super::support::within;
use super::support::world::World;

/// A gateway with one port for clients and tunnels.
async fn one_port() -> World {
    let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any).await.expect("binds");
    let addr = grpcrouter::Listener::local_addr(&listener).expect("is bound");
    let serving = gateway.clone();
    tokio::spawn(async move { serving.serve_both(listener).await });
    World {
        gateway,
        clients: addr,
        tunnels: addr,
    }
}

#[tokio::test]
async fn one_port_takes_clients_and_tunnels() {
    let world = one_port().await;
    let instance = world.instance("a", Handler::echo()).await;
    let client = world.client().await;
    assert_eq!(client.unary("Echo", b"m").await.messages, ["m"]);
    assert_eq!(world.gateway.instances(), 1);
    instance.handle.drain();
    let ended = within("the drain", instance.task).await;
    ended.expect("no panic").expect("a clean end");
    world.quiet().await;
}

/// A tunnel on a shared port begins with a client's small window, which then is widened.
#[tokio::test]
async fn a_tunnel_on_a_shared_port_gets_a_tunnels_window() {
    const TUNNEL_WINDOW: usize = 8 * 1024 * 1024;
    const HANDSHAKE_MAX: usize = 1_024;
    let world = one_port().await;
    let mut scripted = Scripted::register(world.tunnels, "a", 1 << 20).await;
    scripted.window(TUNNEL_WINDOW - HANDSHAKE_MAX).await;
}

/// Responses that nobody reads must not stop the tunnel that they came through.
#[tokio::test]
async fn a_tunnel_on_a_shared_port_is_not_stopped_by_one_call() {
    let world = one_port().await;
    let handler = Handler::new(|mut call| async move {
        call.head(http::HeaderMap::new());
        if call.method.ends_with("Bulk") {
            for _ in 0..64 {
                call.send(&[1; 16 * 1024]).await;
            }
        }
        call.finish(0, "").await;
    });
    let _instance = world.instance("a", handler).await;
    let client = Client::with(world.clients, |settings| {
        settings.initial_window_size(1_000);
    })
    .await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut call = client.call("Bulk").await;
        call.half_close();
        call.head().await;
        stalled.push(call);
    }
    for _ in 0..20 {
        assert_eq!(
            client.unary("Small", b"").await.status(),
            0,
            "siblings go on"
        );
    }
    for call in stalled {
        let mut call = call;
        for _ in 0..64 {
            assert_eq!(call.message().await.expect("a message").len(), 16 * 1024);
        }
        assert_eq!(call.message().await, None);
    }
    world.quiet().await;
}

#[tokio::test]
async fn who_speaks_http_1_gets_one_line_that_says_what_is_spoken_here() {
    let world = World::start().await;
    for addr in [world.clients, world.tunnels] {
        for said in [
            "GET / HTTP/1.1\r\nhost: gw\r\n\r\n",
            "\x16\x03\x01\x02\0\x01\0",
            "hello\n",
        ] {
            let mut socket = TcpStream::connect(addr).await.expect("connects");
            socket.write_all(said.as_bytes()).await.expect("a socket");
            let mut answer = Vec::new();
            let read = socket.read_to_end(&mut answer);
            within("the answer", read).await.expect("a clean end");
            let answer = String::from_utf8(answer).expect("text");
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with("HTTP/1.1 426 "), "{said:?}: {head}");
            assert!(
                body.contains("gRPC") && body.ends_with('\n'),
                "{said:?}: {body}"
            );
            assert_eq!(body.lines().count(), 1, "{body}");
            assert!(
                head.contains(&format!("content-length: {}", body.len())),
                "{head}\n{} bytes",
                body.len()
            );
        }
    }
}

/// Proves: S18
#[tokio::test]
async fn neither_port_does_the_work_of_the_other() {
    let (handler, mut seen) = silent();
    let (world, clients) = World::probe(handler).await;
    for method in ["Register", "ListInstances", "WatchInstances", "HealthCheck"] {
        let answer = clients
            .empty(&format!("/grpcrouter.v1.Router/{method}"))
            .await;
        assert_eq!(answer.status(), 12, "{method} on the port for clients");
        assert_eq!(answer.reason(), "unknown-service");
    }
    assert_eq!(
        world.gateway.gauges().tunnels.get(),
        1,
        "only the instance's"
    );

    let tunnels = Client::connect(world.tunnels).await;
    let answer = tunnels.empty("/test.Probe/Echo").await;
    assert_eq!((answer.status(), answer.reason()), (12, "unknown-service"));
    seen.nothing();
    world.quiet().await;
}
