//! Messages as bytes: their length, their compression flag, and those that are not whole.

use bytes::Bytes;
use grpcrouter::GatewayConfig;
use http::{HeaderMap, HeaderValue};
use tokio::sync::mpsc;

use super::support::arms::on_both_arms;
use super::support::client::{Client, request, text};
use super::support::endpoint::Endpoint;
use super::support::handler::Handler;
use super::support::world::World;
use super::support::{framed, within};

/// Answers each request of four bytes with a message of so many bytes, and any other with its length.
fn sizes() -> Handler {
    Handler::new(|mut call| async move {
        call.head(HeaderMap::new());
        while let Some(message) = call.message().await {
            let asked = <[u8; 4]>::try_from(&message[..]).map(u32::from_be_bytes);
            let answer = match asked {
                Ok(size) => vec![7; size as usize],
                Err(_) => (message.len() as u32).to_be_bytes().to_vec(),
            };
            call.send(&answer).await;
        }
        call.finish(0, "").await;
    })
}

/// Proves: K27
#[tokio::test]
async fn a_message_of_sixteen_mebibytes_passes_by_default_both_ways() {
    on_both_arms(async |arm| {
        let (world, client) = World::probe_on(arm, sizes()).await;
        let size = 16_u32 << 20;
        let answer = client.unary("Sizes", &vec![1; size as usize]).await;
        assert_eq!(answer.status(), 0);
        assert_eq!(answer.messages, [size.to_be_bytes().to_vec()], "there");
        let answer = client.unary("Sizes", &size.to_be_bytes()).await;
        assert_eq!(answer.status(), 0);
        assert_eq!(answer.messages.len(), 1);
        assert_eq!(answer.messages[0].len(), size as usize, "and back");
        world.quiet().await;
    })
    .await;
}

/// Proves: K27
#[tokio::test]
async fn a_configured_limit_is_exact_both_ways_and_ends_only_the_call_that_breaks_it() {
    on_both_arms(async |arm| {
        // One that a first frame holds whole, and one that takes many.
        for limit in [1_000_u32, 200_000] {
            let mut config = GatewayConfig::default();
            config.tunnel.message_max = Some(limit);
            let world = World::on_with(arm, config).await;
            world.instance("a", sizes()).await;
            let client = world.client().await;
            let mut sibling = client.call("Sizes").await;
            sibling.head().await;
            for size in [limit - 1, limit, limit + 1] {
                let there = status_of(&client, &vec![1; size as usize]).await;
                let back = status_of(&client, &size.to_be_bytes()).await;
                for (way, trailers) in [("there", there), ("back", back)] {
                    let (status, reason) = if size > limit {
                        ("8", "limit")
                    } else {
                        ("0", "")
                    };
                    assert_eq!(text(&trailers, "grpc-status"), status, "{size} B {way}");
                    assert_eq!(
                        text(&trailers, "grpcrouter-reason"),
                        reason,
                        "{size} B {way}"
                    );
                }
                sibling.send(b"hello").await;
                let answer = sibling.message().await;
                assert_eq!(
                    answer.as_deref(),
                    Some(&5_u32.to_be_bytes()[..]),
                    "a sibling"
                );
            }
            // Each message is measured alone: many that fit pass, the one that does not ends the call.
            sibling.send(&vec![1; limit as usize]).await;
            assert!(sibling.message().await.is_some(), "the limit is for each");
            sibling.half_close();
            assert_eq!(sibling.message().await, None);
            assert_eq!(text(&sibling.trailers().await, "grpc-status"), "0");
            world.quiet().await;
        }
    })
    .await;
}

/// The trailers of a unary call whose answer may come before its request is sent, and end it.
async fn status_of(client: &Client, message: &[u8]) -> HeaderMap {
    let mut call = client.call("Sizes").await;
    let mut bytes = framed(message);
    while !bytes.is_empty()
        && let Ok(room) = within("window or the end", call.room(bytes.len())).await
        && call.send.send_data(bytes.split_to(room), false).is_ok()
    {}
    call.half_close();
    let head = call.head().await;
    if head.contains_key("grpc-status") {
        return head;
    }
    while call.message().await.is_some() {}
    call.trailers().await
}

/// Proves: K29
#[tokio::test]
async fn compressed_messages_pass_as_they_are_flag_by_flag() {
    on_both_arms(async |arm| {
        let (seen, mut calls) = mpsc::channel(16);
        let handler = Handler::new(move |mut call| {
            let _ = seen.try_send(call.headers.clone());
            async move {
                let mut head = HeaderMap::new();
                head.insert("grpc-encoding", HeaderValue::from_static("gzip"));
                head.insert(
                    "grpc-accept-encoding",
                    HeaderValue::from_static("gzip,zstd"),
                );
                call.head(head);
                while let Some(data) = call.data().await {
                    call.send_raw(data.expect("the call goes on")).await;
                }
                call.finish(0, "").await;
            }
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let mut asked = request("Echo");
        let headers = asked.headers_mut();
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        headers.insert(
            "grpc-accept-encoding",
            HeaderValue::from_static("identity,gzip"),
        );
        let mut call = client.open(asked).await;
        // Not gzip at all: whoever looked inside would stumble. Flags that mean nothing yet pass too.
        let sent: Vec<u8> = [(1, 100), (0, 7), (1, 0), (1, 70_000), (0, 0), (3, 5)]
            .into_iter()
            .flat_map(|(flag, length)| flagged(flag, &vec![0xa5; length]))
            .collect();
        call.send_raw(sent.clone().into()).await;
        call.half_close();
        let head = call.head().await;
        assert_eq!(text(&head, "grpc-encoding"), "gzip");
        assert_eq!(text(&head, "grpc-accept-encoding"), "gzip,zstd");
        let mut got = Vec::new();
        while let Some(data) = call.data().await {
            got.extend_from_slice(&data.expect("the stream goes on"));
        }
        assert!(got == sent, "every byte there and back, flags included");
        assert_eq!(text(&call.trailers().await, "grpc-status"), "0");
        let request = within("the call", calls.recv()).await.expect("a call");
        assert_eq!(text(&request, "grpc-encoding"), "gzip");
        assert_eq!(text(&request, "grpc-accept-encoding"), "identity,gzip");
        world.quiet().await;
    })
    .await;
}

fn flagged(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut framed = framed(message).to_vec();
    framed[0] = flag;
    framed
}

/// Proves: K29, K30, K31
#[tokio::test]
async fn what_an_endpoint_says_of_broken_messages_reaches_the_client_as_it_said_it() {
    let compressed: Bytes = flagged(1, b"zzz").into();
    let mut cut = framed(&[]).to_vec();
    cut.extend_from_slice(&framed(b"123456789")[..9]);
    let cases = [
        ("unknown encoding", Some("br"), compressed.clone(), 12, 0),
        ("flag without encoding", None, compressed, 13, 0),
        ("half a message", None, framed(&[0; 9]).slice(..9), 13, 0),
        ("half a prefix", None, Bytes::from_static(&[0, 0, 0]), 13, 0),
        ("a message and a half", None, cut.into(), 13, 1),
    ];
    on_both_arms(async |arm| {
        for (what, encoding, bytes, status, messages) in cases.clone() {
            let world = World::on(arm).await;
            let endpoint = Endpoint::default();
            world.endpoint("a", endpoint.clone()).await;
            let client = world.client().await;
            let mut asked = request("Stream");
            if let Some(encoding) = encoding {
                let encoding = HeaderValue::from_static(encoding);
                asked.headers_mut().insert("grpc-encoding", encoding);
            }
            let mut call = client.open(asked).await;
            call.send_raw(bytes).await;
            call.half_close();
            let answer = call.answer().await;
            assert_eq!(answer.status(), status, "{what}: {answer:?}");
            assert_eq!(answer.reason(), "", "{what}: the endpoint's own verdict");
            assert_eq!(endpoint.messages(), messages, "{what}: whole messages");
            world.quiet().await;
        }
    })
    .await;
}

/// Proves: K31
#[tokio::test]
async fn half_a_message_and_the_end_are_carried_as_they_are() {
    on_both_arms(async |arm| {
        let (seen, mut bytes) = mpsc::channel(16);
        let handler = Handler::new(move |mut call| {
            let seen = seen.clone();
            async move {
                let mut got = Vec::new();
                while let Some(data) = call.data().await {
                    got.extend_from_slice(&data.expect("an end of stream, not a cut"));
                }
                let _ = seen.try_send(got);
                call.trailers_only(HeaderMap::new(), 13, "half a message");
            }
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let half = framed(b"0123456789").slice(..8);
        let mut call = client.call("Half").await;
        call.send_raw(half.clone()).await;
        call.half_close();
        let answer = call.answer().await;
        assert_eq!(answer.status(), 13);
        assert_eq!(text(&answer.trailers, "grpc-message"), "half a message");
        let got = within("the handler's bytes", bytes.recv()).await;
        assert_eq!(
            got.as_deref(),
            Some(&half[..]),
            "nothing added, nothing kept"
        );
        world.quiet().await;
    })
    .await;
}
