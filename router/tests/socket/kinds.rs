//! The four kinds of call, with something in them and with nothing.

use http::HeaderMap;

use super::support::arms::on_both_arms;
use super::support::client::text;
use super::support::endpoint::Endpoint;
use super::support::framed;
use super::support::handler::Handler;
use super::support::world::World;

/// Proves: K1
#[tokio::test]
async fn a_unary_echo_comes_back_byte_for_byte() {
    on_both_arms(async |arm| {
        let (world, client) = World::probe_on(arm, Handler::echo()).await;
        for size in [0, 1, 65_536] {
            let message: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let answer = client.unary("Echo", &message).await;
            assert_eq!(answer.status(), 0, "{answer:?}");
            assert_eq!(answer.messages, [message], "one response of {size} bytes");
        }
        world.quiet().await;
    })
    .await;
}

/// Proves: K2
#[tokio::test]
async fn a_client_stream_of_nothing_is_an_end_of_stream_and_gets_its_response() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            let first = call.data().await;
            call.head(HeaderMap::new());
            let saw: &[u8] = match first {
                None => b"end",
                Some(Ok(_)) => b"data",
                Some(Err(_)) => b"error",
            };
            call.send(saw).await;
            call.finish(0, "").await;
        });
        let (world, client) = World::probe_on(arm, handler).await;
        // The end comes in a frame of its own, or with the request's head.
        let mut call = client.call("Collect").await;
        call.half_close();
        for call in [call, client.call_ended("Collect").await] {
            let answer = call.answer().await;
            assert_eq!(answer.status(), 0, "{answer:?}");
            assert_eq!(answer.messages, ["end"], "what the handler saw first");
        }
        world.quiet().await;
    })
    .await;
}

/// Proves: K3
#[tokio::test]
async fn a_server_stream_of_nothing_ends_after_its_head_or_is_trailers_only() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            call.message().await.expect("the request");
            if call.method.ends_with("TrailersOnly") {
                call.trailers_only(HeaderMap::new(), 0, "");
            } else {
                call.head(HeaderMap::new());
                call.finish(0, "").await;
            }
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let answer = client.unary("Nothing", b"q").await;
        assert!(answer.head.is_some(), "a head, then trailers: {answer:?}");
        assert_eq!((answer.status(), answer.messages.len()), (0, 0));
        let answer = client.unary("TrailersOnly", b"q").await;
        assert!(answer.head.is_none(), "trailers only: {answer:?}");
        assert_eq!((answer.status(), answer.messages.len()), (0, 0));
        world.quiet().await;
    })
    .await;
}

/// Proves: K4
#[tokio::test]
async fn a_bidi_call_empty_both_ways_is_ok() {
    on_both_arms(async |arm| {
        let (world, client) = World::probe_on(arm, Handler::echo()).await;
        let mut call = client.call("Echo").await;
        // The handler's head comes before the client has ended: the call is open both ways.
        call.head().await;
        call.half_close();
        assert_eq!(call.message().await, None, "no message");
        assert_eq!(text(&call.trailers().await, "grpc-status"), "0");
        world.quiet().await;
    })
    .await;
}

/// A gateway does not know which kind a method is, so what a server sends too few or too many of arrives
/// as it is, and the client's library judges it.
///
/// Proves: K33
#[tokio::test]
async fn none_or_two_responses_to_a_unary_call_reach_the_client_unjudged() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            let count = call.message().await.expect("the request")[0];
            call.head(HeaderMap::new());
            for i in 0..count {
                call.send(&[i]).await;
            }
            call.finish(0, "").await;
        });
        let (world, client) = World::probe_on(arm, handler).await;
        for count in [0_u8, 2] {
            let answer = client.unary("Unary", &[count]).await;
            let sent: Vec<_> = (0..count).map(|i| vec![i]).collect();
            assert_eq!(answer.messages, sent, "as the server sent them");
            assert_eq!(answer.status(), 0, "as the server ended: {answer:?}");
            assert_eq!(answer.reason(), "", "nothing of the gateway's own");
        }
        world.quiet().await;
    })
    .await;
}

/// Proves: K33
#[tokio::test]
async fn a_servers_verdict_on_a_unary_call_without_a_request_is_not_rewritten() {
    on_both_arms(async |arm| {
        let world = World::on(arm).await;
        let endpoint = Endpoint::default();
        world.endpoint("a", endpoint.clone()).await;
        let client = world.client().await;
        let mut call = client.call("Unary").await;
        call.half_close();
        let answer = call.answer().await;
        assert_eq!(answer.status(), 13, "tonic's INTERNAL: {answer:?}");
        assert_eq!(answer.reason(), "", "the verdict is the endpoint's");
        assert_eq!(endpoint.messages(), 0);
        // The same endpoint serves a whole request: it is not refused for another reason.
        let mut call = client.call("Unary").await;
        call.send_raw(framed(b"")).await;
        call.half_close();
        assert_eq!(call.answer().await.status(), 0);
        assert_eq!(endpoint.messages(), 1);
    })
    .await;
}
