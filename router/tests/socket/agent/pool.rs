//! Connections to a server: its limit of streams, its GOAWAY, its death.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use grpcrouter::{BoxIo, Clock, Dialer, Target, Upstream};
use http::Request;
use tonic::body::Body;
use tower_service::Service;

use super::super::support::client::text;
use super::super::support::handler::Handler;
use super::super::support::until;
use super::server::Server;
use super::{asked, behind};

/// Proves: R17
#[tokio::test]
async fn what_a_goaway_refuses_is_sent_again_and_what_runs_finishes() {
    let mut server = Server::tcp(None).await;
    let (_world, _agent, client) = behind(&server.target).await;
    let runs = asked(&client).await;
    let mut old = server.accept().await;
    let running = old.unary().await;
    let refused = asked(&client).await;
    assert_eq!(old.unary().await, running + 2);
    old.go_away(running).await;
    let mut new = server.accept().await;
    let again = new.unary().await;
    new.ok(again, b"from the new one").await;
    assert_eq!(refused.answer().await.messages, ["from the new one"]);
    old.ok(running, b"from the old one").await;
    assert_eq!(runs.answer().await.messages, ["from the old one"]);
}

/// Proves: R16, R17
#[tokio::test]
async fn a_refused_stream_is_sent_again_once() {
    let mut server = Server::tcp(None).await;
    let (_world, _agent, client) = behind(&server.target).await;
    let call = asked(&client).await;
    let mut peer = server.accept().await;
    let first = peer.unary().await;
    peer.reset(first, 7).await;
    let second = peer.unary().await;
    peer.reset(second, 7).await;
    assert_eq!(call.answer().await.status(), 14, "twice is enough");
}

/// Proves: R16
#[tokio::test]
async fn a_call_that_a_dead_connection_may_have_run_is_not_sent_again() {
    let mut server = Server::tcp(None).await;
    let (_world, _agent, client) = behind(&server.target).await;
    let call = asked(&client).await;
    let mut peer = server.accept().await;
    let stream = peer.unary().await;
    // The server saw it, and says so.
    peer.go_away(stream).await;
    peer.close().await;
    assert_eq!(call.answer().await.status(), 14);
    assert_eq!(server.waiting(), 0, "nobody dialled for it");
}

/// Proves: T18
#[tokio::test]
async fn beyond_four_connections_of_streams_a_call_is_refused_not_queued() {
    let mut server = Server::tcp(Some(2)).await;
    let (_world, _agent, client) = behind(&server.target).await;
    // All at once: none may hide behind a limit that has not been heard of yet.
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.push(asked(&client).await);
    }
    let mut peers = Vec::new();
    for n in 1..=4 {
        let mut peer = server.accept().await;
        let streams = [peer.unary().await, peer.unary().await];
        peers.push((peer, streams));
        assert!(server.waiting() <= 4 - n, "at most four connections");
    }
    let refused = asked(&client).await.answer().await;
    assert_eq!(refused.status(), 8, "{refused:?}");
    for (peer, streams) in &peers {
        for stream in streams {
            peer.ok(*stream, b"").await;
        }
    }
    for call in calls {
        assert_eq!(call.answer().await.status(), 0);
    }
    let next = asked(&client).await;
    let stream = peers[0].0.unary().await;
    peers[0].0.ok(stream, b"").await;
    assert_eq!(next.answer().await.status(), 0, "there is room again");
}

/// Proves: R17
#[tokio::test]
async fn connections_that_died_while_idle_cost_no_call() {
    let mut server = Server::tcp(Some(1)).await;
    let (world, _agent, client) = behind(&server.target).await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(asked(&client).await);
    }
    let mut peers = Vec::new();
    for _ in 0..4 {
        let mut peer = server.accept().await;
        assert_eq!(peer.unary().await, 1);
        peers.push(peer);
    }
    for peer in &peers {
        peer.ok(1, b"").await;
    }
    for call in calls {
        assert_eq!(call.answer().await.status(), 0);
    }
    world.quiet().await;
    for peer in peers {
        peer.go_away(1).await;
        peer.close().await;
    }
    let call = asked(&client).await;
    let mut peer = server.accept().await;
    let stream = peer.unary().await;
    peer.ok(stream, b"").await;
    assert_eq!(
        call.answer().await.status(),
        0,
        "none of the four had seen it"
    );
    until("nobody else dials", || server.waiting() == 0).await;
}

/// Proves: R17
#[tokio::test]
async fn a_call_that_cannot_reach_its_server_is_answered_by_another_instance() {
    let nowhere = super::services::target(super::services::Local::nowhere().await);
    let (world, _agent, client) = behind(&nowhere).await;
    let answer = client.unary("Ask", b"question").await;
    assert_eq!(answer.status(), 14, "there is no other yet: {answer:?}");
    assert!(!text(&answer.trailers, "grpc-message").is_empty());
    world.instance("b", Handler::echo()).await;
    for _ in 0..10 {
        let answer = client.unary("Ask", b"question").await;
        assert_eq!(answer.messages, ["question"], "{answer:?}");
    }
}

/// A server whose host drops every packet.
struct Unanswered;

impl Dialer for Unanswered {
    fn dial<'a>(
        &'a self,
        _: &'a Target,
    ) -> std::pin::Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send + 'a>> {
        Box::pin(std::future::pending())
    }
}

/// Proves: R16
#[tokio::test(start_paused = true)]
async fn calls_do_not_wait_for_a_dial_each() {
    let limit = Duration::from_secs(5);
    let target = "http://192.0.2.1:1".parse().expect("a target");
    let upstream = Upstream::new(target, Arc::new(Unanswered), limit);
    let clock = Clock::start();
    let start = clock.now();
    let calls = (0..20).map(|_| upstream.clone().call(Request::new(Body::empty())));
    for answer in join_all(calls).await {
        let answer = answer.expect("always a response");
        assert_eq!(text(answer.headers(), "grpc-status"), "14");
    }
    assert_eq!(
        (clock.now() - start).as_secs(),
        limit.as_secs(),
        "one dial for all"
    );
    let late = upstream.clone().call(Request::new(Body::empty())).await;
    assert!(late.is_ok());
    assert_eq!(
        (clock.now() - start).as_secs(),
        2 * limit.as_secs(),
        "the next call dials anew"
    );
}

/// Proves: R2
#[tokio::test]
async fn a_server_on_a_unix_socket_is_called_like_any_other() {
    let name = format!("grpcrouter-{}-upstream.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let mut server = Server::unix(&path);
    let (_world, _agent, client) = behind(&server.target).await;
    let call = asked(&client).await;
    let mut peer = server.accept().await;
    let stream = peer.unary().await;
    peer.ok(stream, b"answer").await;
    assert_eq!(call.answer().await.messages, ["answer"]);
    std::fs::remove_file(&path).expect("a socket");
}
