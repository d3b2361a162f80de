//! Peers that are slow on purpose, or say far too much at once.

use std::time::Duration;

use grpcrouter::GatewayConfig;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::request;
use crate::support::frames::{END_HEADERS, Frames, PREFACE, call, frame, kind};
use crate::support::handler::Handler;
use crate::support::world::World;
use crate::support::{until, within};

/// Sockets that say nothing, or not enough.
const IDLE: usize = 500;

fn impatient() -> GatewayConfig {
    let mut config = GatewayConfig {
        preface_timeout: Duration::from_millis(500),
        // Bounds whoever sends the preface and then says nothing, not even settings.
        client_keepalive: Duration::from_millis(500),
        ..GatewayConfig::default()
    };
    config.tunnel.handshake_timeout = Duration::from_millis(500);
    config
}

/// Proves: S8
#[tokio::test]
async fn a_peer_that_never_finishes_its_preface_is_let_go() {
    let world = World::with(impatient()).await;
    for addr in [world.clients, world.tunnels] {
        for said in [&b""[..], &PREFACE[..1], &PREFACE[..23], PREFACE] {
            let mut socket = TcpStream::connect(addr).await.expect("connects");
            socket.write_all(said).await.expect("writes");
            // Ends the connection, with or without a last word.
            let mut rest = Vec::new();
            let ended = within("the end", socket.read_to_end(&mut rest)).await;
            assert!(ended.is_ok() || said == PREFACE, "{ended:?}");
        }
    }
    until("no connection is left", || {
        world.gateway.gauges().connections.get() == 0
    })
    .await;
}

/// Proves: S8
#[tokio::test]
async fn a_tunnel_that_never_says_who_it_is_is_let_go() {
    let world = World::with(impatient()).await;
    let mut peer = Frames::connect(world.tunnels).await;
    let mut open = Vec::new();
    let mut block = call("x", &[]);
    let path = b"/test.Probe/x";
    let at = block
        .windows(path.len())
        .position(|window| window == path)
        .expect("a path");
    let register = b"/grpcrouter.v1.Router/Register";
    block.splice(at - 1..at + path.len(), {
        let mut path = vec![register.len() as u8];
        path.extend_from_slice(register);
        path
    });
    frame(&mut open, kind::HEADERS, END_HEADERS, 1, &block);
    peer.write(&open).await;
    until("the tunnel is there", || {
        world.gateway.gauges().tunnels.get() == 1
    })
    .await;
    until("the tunnel is gone", || {
        world.gateway.gauges().tunnels.get() == 0
    })
    .await;
    assert_eq!(world.gateway.instances(), 0, "nothing was registered");
}

/// Proves: S8
#[tokio::test]
async fn many_slow_sockets_do_not_keep_an_honest_one_out() {
    let mut config = impatient();
    // They stay for the whole test.
    config.preface_timeout = Duration::from_secs(60);
    config.client_keepalive = Duration::from_secs(60);
    let world = World::with(config).await;
    let mut idle = Vec::new();
    for addr in [world.clients, world.tunnels] {
        for _ in 0..IDLE {
            let mut socket = TcpStream::connect(addr).await.expect("connects");
            socket.write_all(&PREFACE[..5]).await.expect("writes");
            idle.push(socket);
        }
    }
    until("all are there", || {
        world.gateway.gauges().connections.get() == 2 * IDLE
    })
    .await;
    world.instance("a", Handler::echo()).await;
    let client = world.client().await;
    for _ in 0..100 {
        assert_eq!(client.unary("Echo", b"honest").await.status(), 0);
    }
    assert_eq!(
        world.gateway.gauges().connections.get(),
        2 * IDLE + 2,
        "the slow ones are all still there"
    );
}

/// Proves: S9
#[tokio::test]
async fn metadata_beyond_the_limit_fails_its_call_and_no_other() {
    let (world, client) = World::probe(Handler::echo()).await;
    let mut under_way = client.call("Echo").await;
    under_way.head().await;
    // 17 KiB in one value, and in very many.
    let one = (1, 17 * 1024);
    let many = (600, 10);
    for (count, length) in [one, many] {
        let mut bomb = request("Echo");
        for i in 0..count {
            let name: HeaderName = format!("x-{i}").parse().expect("a name");
            let value = HeaderValue::from_str(&"v".repeat(length)).expect("a value");
            bomb.headers_mut().append(name, value);
        }
        let answer = client.open(bomb).await.answer().await;
        assert_eq!((answer.status(), answer.reason()), (8, "limit"));
    }
    under_way.send(b"goes on").await;
    assert_eq!(under_way.message().await.expect("an echo"), "goes on");
    drop(under_way);
    world.quiet().await;
}

/// Proves: S9
#[tokio::test]
async fn metadata_far_beyond_every_limit_opens_nothing() {
    let (world, client) = World::probe(Handler::echo()).await;
    let mut attacker = Frames::connect(world.clients).await;
    let value = "v".repeat(10_000);
    let mut attack = Vec::new();
    let block = call("Echo", &[("x", value.as_str())].repeat(20));
    let mut pieces = block.chunks(16_384).peekable();
    let first = pieces.next().expect("a piece");
    frame(&mut attack, kind::HEADERS, 0, 1, first);
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() {
            END_HEADERS
        } else {
            0
        };
        frame(&mut attack, kind::CONTINUATION, flags, 1, piece);
    }
    let outcome = attacker.attack(&attack).await;
    eprintln!(
        "200 KB of metadata: lives {}, {:?}",
        outcome.lives,
        outcome.goaway()
    );
    assert_eq!(client.unary("Echo", b"honest").await.status(), 0);
    drop(attacker);
    world.quiet().await;
}

/// Proves: S9
#[tokio::test]
async fn an_instance_cannot_send_more_metadata_than_a_client_may() {
    let bomb = |count: usize, length: usize| {
        let mut headers = HeaderMap::new();
        for i in 0..count {
            let name: HeaderName = format!("x-{i}").parse().expect("a name");
            let value = HeaderValue::from_str(&"v".repeat(length)).expect("a value");
            headers.append(name, value);
        }
        headers
    };
    let handler = Handler::new(move |mut call| async move {
        match call.method.as_str() {
            "/test.Probe/HeadLong" => call.head(bomb(1, 17 * 1024)),
            "/test.Probe/HeadMany" => call.head(bomb(10_000, 1)),
            "/test.Probe/TrailersLong" => return call.trailers_only(bomb(1, 17 * 1024), 0, ""),
            "/test.Probe/TrailersMany" => {
                call.head(HeaderMap::new());
                return call.finish_with(bomb(10_000, 1), 0, "").await;
            }
            _ => call.head(HeaderMap::new()),
        }
        call.finish(0, "").await;
    });
    let (world, client) = World::probe(handler).await;
    for method in ["HeadLong", "HeadMany", "TrailersLong", "TrailersMany"] {
        let answer = client.unary(method, b"").await;
        assert_eq!(answer.status(), 8, "{method}: RESOURCE_EXHAUSTED");
        assert_eq!(
            client.unary("Plain", b"").await.status(),
            0,
            "the tunnel goes on"
        );
    }
    world.quiet().await;
}
