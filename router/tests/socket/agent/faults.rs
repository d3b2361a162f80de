//! What a server does wrong, and what becomes of it.

use super::super::support::client::text;
use super::super::support::framed;
use super::server::{HEAD, Seen, Server};
use super::{asked, behind};

/// Proves: R13
#[tokio::test]
async fn http_statuses_become_grpc_statuses_by_the_table() {
    let mut server = Server::tcp(None).await;
    let (_world, _agent, client) = behind(&server.target).await;
    let mut peer = None;
    let table = [
        ("400", 13),
        ("401", 16),
        ("403", 7),
        ("404", 12),
        ("418", 2),
        ("429", 14),
        ("500", 2),
        ("502", 14),
        ("503", 14),
        ("504", 14),
    ];
    for (http, grpc) in table {
        let call = asked(&client).await;
        if peer.is_none() {
            peer = Some(server.accept().await);
        }
        let peer = peer.as_mut().expect("accepted");
        let stream = peer.unary().await;
        let head = [(":status", http), ("content-type", "text/html")];
        peer.head(stream, &head, false).await;
        peer.data(stream, b"<html>", true).await;
        let answer = call.answer().await;
        assert_eq!(answer.status(), grpc, "HTTP {http}: {answer:?}");
        assert_eq!(answer.reason(), "", "the gateway did not make it");
    }
    assert_eq!(server.waiting(), 0, "one connection served all of them");
}

/// Proves: R13
#[tokio::test]
async fn reset_codes_become_grpc_statuses_by_the_table() {
    let mut server = Server::tcp(None).await;
    let (_world, _agent, client) = behind(&server.target).await;
    let call = asked(&client).await;
    let mut peer = server.accept().await;
    let stream = peer.unary().await;
    peer.ok(stream, b"").await;
    assert_eq!(call.answer().await.status(), 0);
    // NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, CANCEL, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY.
    for (code, grpc) in [(0, 13), (1, 13), (2, 13), (3, 13), (8, 1), (11, 8), (12, 7)] {
        for after_head in [false, true] {
            let call = asked(&client).await;
            let stream = peer.unary().await;
            if after_head {
                peer.head(stream, &HEAD, false).await;
            }
            peer.reset(stream, code).await;
            let answer = call.answer().await;
            assert_eq!(
                answer.status(),
                grpc,
                "reset {code}, head {after_head}: {answer:?}"
            );
        }
    }
}

/// Proves: K11
#[tokio::test]
async fn trailers_only_arrive_as_they_are() {
    let mut server = Server::tcp(None).await;
    let (_world, _agent, client) = behind(&server.target).await;
    let call = asked(&client).await;
    let mut peer = server.accept().await;
    let stream = peer.unary().await;
    let mut trailers = HEAD.to_vec();
    trailers.extend([
        ("grpc-status", "5"),
        ("grpc-message", "no%20such"),
        ("x-why", "gone"),
    ]);
    peer.head(stream, &trailers, true).await;
    let answer = call.answer().await;
    assert!(answer.head.is_none(), "one block of headers: {answer:?}");
    assert_eq!(answer.status(), 5);
    assert_eq!(text(&answer.trailers, "grpc-message"), "no%20such");
    assert_eq!(text(&answer.trailers, "x-why"), "gone");
}

/// Proves: K23
#[tokio::test]
async fn a_response_without_a_status_is_unknown() {
    let mut server = Server::tcp(None).await;
    let (_world, _agent, client) = behind(&server.target).await;
    let mut peer = None;
    for trailers in [None, Some("x-other")] {
        let call = asked(&client).await;
        if peer.is_none() {
            peer = Some(server.accept().await);
        }
        let peer = peer.as_mut().expect("accepted");
        let stream = peer.unary().await;
        peer.head(stream, &HEAD, false).await;
        let message = framed(b"half an answer");
        peer.data(stream, &message, trailers.is_none()).await;
        if let Some(name) = trailers {
            peer.head(stream, &[(name, "1")], true).await;
        }
        let answer = call.answer().await;
        assert_eq!(answer.messages, ["half an answer"]);
        assert_eq!(answer.status(), 2, "{trailers:?}: {answer:?}");
    }
}

/// Proves: R11
#[tokio::test]
async fn a_cancelled_call_is_reset_at_the_server_and_never_ended() {
    let mut server = Server::tcp(None).await;
    let (world, _agent, client) = behind(&server.target).await;
    let mut peer = None;
    for after_head in [false, true] {
        let mut call = client.call("Ask").await;
        call.send(b"first").await;
        if peer.is_none() {
            peer = Some(server.accept().await);
        }
        let peer = peer.as_mut().expect("accepted");
        let stream = peer.request().await;
        let first = peer.next().await;
        assert!(matches!(first, Seen::Data { end: false, .. }), "{first:?}");
        if after_head {
            peer.head(stream, &HEAD, false).await;
            call.head().await;
        }
        call.reset();
        let last = peer.next().await;
        assert_eq!(
            last,
            Seen::Reset { stream, code: 8 },
            "half a request is not a request"
        );
        world.quiet().await;
    }
}

/// Proves: R11
#[tokio::test]
async fn a_call_that_is_cancelled_after_its_half_close_is_reset_too() {
    let mut server = Server::tcp(None).await;
    let (_world, _agent, client) = behind(&server.target).await;
    let mut call = asked(&client).await;
    let mut peer = server.accept().await;
    let stream = peer.unary().await;
    call.reset();
    assert_eq!(peer.next().await, Seen::Reset { stream, code: 8 });
}

/// Proves: K9, K10
#[tokio::test]
async fn an_answer_before_the_request_has_ended_stands() {
    let mut server = Server::tcp(None).await;
    let (world, _agent, client) = behind(&server.target).await;
    let mut call = client.call("Ask").await;
    call.send(b"first").await;
    let mut peer = server.accept().await;
    let stream = peer.request().await;
    peer.ok(stream, b"enough").await;
    // As servers do that want no more of it.
    peer.reset(stream, 0).await;
    let answer = call.answer().await;
    assert_eq!(
        (answer.status(), &answer.messages[..]),
        (0, &["enough".into()][..])
    );
    world.quiet().await;
}
