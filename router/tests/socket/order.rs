//! Order within a call: numbers, turns, half close, and who comes first.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::sync::{Notify, mpsc};

use super::support::arms::on_both_arms;
use super::support::client::text;
use super::support::handler::{Call, Handler};
use super::support::world::World;
use super::support::{framed, within};

const MANY: u32 = 10_000;

/// Reads numbered messages to the end; how many, or the first that is out of place.
async fn count_numbers(call: &mut Call) -> Result<u32, String> {
    let mut count = 0_u32;
    while let Some(message) = call.message().await {
        if message != count.to_be_bytes()[..] {
            return Err(format!("{message:?} stands at place {count}"));
        }
        count += 1;
    }
    Ok(count)
}

/// Proves: K5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_of_a_client_stream_arrive_in_order() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            let verdict = count_numbers(&mut call).await;
            call.head(HeaderMap::new());
            let verdict = verdict.map_or_else(|e| e, |count| count.to_string());
            call.send(verdict.as_bytes()).await;
            call.finish(0, "").await;
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let mut call = client.call("Collect").await;
        for i in 0..MANY {
            call.send(&i.to_be_bytes()).await;
        }
        call.half_close();
        let answer = call.answer().await;
        assert_eq!(answer.status(), 0, "{answer:?}");
        assert_eq!(answer.messages, ["10000"], "no gap, no repeat, in order");
        world.quiet().await;
    })
    .await;
}

/// Proves: K5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_of_a_server_stream_arrive_in_order() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            call.head(HeaderMap::new());
            for i in 0..MANY {
                call.send(&i.to_be_bytes()).await;
            }
            call.finish(0, "").await;
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let mut call = client.call("Count").await;
        call.half_close();
        call.head().await;
        for i in 0..MANY {
            let message = call.message().await;
            assert_eq!(message.as_deref(), Some(&i.to_be_bytes()[..]), "no gap");
        }
        assert_eq!(call.message().await, None, "no repeat");
        assert_eq!(text(&call.trailers().await, "grpc-status"), "0");
        world.quiet().await;
    })
    .await;
}

/// Proves: K5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_each_way_of_a_bidi_call_arrive_in_order() {
    on_both_arms(async |arm| {
        let (world, client) = World::probe_on(arm, Handler::echo()).await;
        let mut call = client.call("Echo").await;
        call.head().await;
        let mut next = 0;
        for i in 0..MANY {
            call.send(&i.to_be_bytes()).await;
            // Replies are read in lumps, so that both directions are full at once.
            if i % 1_000 == 999 {
                for _ in 0..500 {
                    let message = call.message().await;
                    assert_eq!(message.as_deref(), Some(&u32::to_be_bytes(next)[..]));
                    next += 1;
                }
            }
        }
        call.half_close();
        while let Some(message) = call.message().await {
            assert_eq!(message, next.to_be_bytes()[..], "in order");
            next += 1;
        }
        assert_eq!(next, MANY, "every message, once");
        assert_eq!(text(&call.trailers().await, "grpc-status"), "0");
        world.quiet().await;
    })
    .await;
}

/// Proves: K6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rounds_of_ping_pong_never_wait_for_more() {
    on_both_arms(async |arm| {
        let (world, client) = World::probe_on(arm, Handler::echo()).await;
        let mut call = client.call("Echo").await;
        call.head().await;
        for i in 0..1_000_u32 {
            call.send(&i.to_be_bytes()).await;
            let reply = call.message().await;
            assert_eq!(reply.as_deref(), Some(&i.to_be_bytes()[..]), "round {i}");
        }
        call.half_close();
        assert_eq!(call.message().await, None);
        assert_eq!(text(&call.trailers().await, "grpc-status"), "0");
        world.quiet().await;
    })
    .await;
}

/// Proves: K7
#[tokio::test]
async fn after_the_clients_half_close_the_server_goes_on_for_as_long_as_it_likes() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            call.head(HeaderMap::new());
            // The first reply waits for the half close: without it the client waits in vain.
            assert_eq!(call.message().await, None, "the half close");
            for i in 0..100_u8 {
                // The pace is what the case is about.
                tokio::time::sleep(Duration::from_millis(10)).await;
                call.send(&[i]).await;
            }
            call.finish(0, "").await;
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let mut call = client.call("Later").await;
        call.head().await;
        call.half_close();
        for i in 0..100_u8 {
            assert_eq!(call.message().await.as_deref(), Some(&[i][..]), "reply {i}");
        }
        assert_eq!(call.message().await, None);
        assert_eq!(text(&call.trailers().await, "grpc-status"), "0");
        world.quiet().await;
    })
    .await;
}

/// Proves: K8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_comes_after_a_last_message_of_three_mebibytes() {
    on_both_arms(async |arm| {
        let (seen, mut events) = mpsc::channel(16);
        let handler = Handler::new(move |mut call| {
            let seen = seen.clone();
            async move {
                while let Some(message) = call.message().await {
                    let _ = seen.try_send(Some(message));
                }
                let _ = seen.try_send(None);
                call.trailers_only(HeaderMap::new(), 0, "");
            }
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let big: Vec<u8> = (0..3 << 20).map(|i: u32| (i % 251) as u8).collect();
        // The end stands in the last DATA frame, or in an empty one of its own.
        for end_with_data in [true, false] {
            let mut call = client.call("Collect").await;
            call.send(b"first").await;
            let mut bytes = framed(&big);
            let last = bytes.split_off(bytes.len() - 1_000);
            while !bytes.is_empty() {
                call.send_raw(bytes.split_to(bytes.len().min(10_007))).await;
            }
            if end_with_data {
                call.room(last.len()).await.expect("window");
                call.send.send_data(last, true).expect("the stream is open");
            } else {
                call.send_raw(last).await;
                call.half_close();
            }
            let mut next = async || {
                within("an event", events.recv())
                    .await
                    .expect("the handler")
            };
            assert_eq!(next().await.as_deref(), Some(&b"first"[..]));
            assert!(next().await.is_some_and(|m| m == big), "the whole message");
            assert_eq!(next().await, None, "then the end");
            assert_eq!(call.answer().await.status(), 0);
        }
        world.quiet().await;
    })
    .await;
}

/// Proves: K12
#[tokio::test]
async fn the_head_is_seen_while_the_handler_has_not_sent_a_message() {
    on_both_arms(async |arm| {
        let seen = Arc::new(Notify::new());
        let go = seen.clone();
        let handler = Handler::new(move |mut call| {
            let go = go.clone();
            async move {
                let mut head = HeaderMap::new();
                head.insert("x-early", HeaderValue::from_static("1"));
                call.head(head);
                // A head glued to the first message would never come.
                go.notified().await;
                call.send(b"late").await;
                call.finish(0, "").await;
            }
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let mut call = client.call("Slow").await;
        call.half_close();
        let head = call.head().await;
        assert_eq!(text(&head, "x-early"), "1");
        seen.notify_one();
        assert_eq!(call.message().await, Some(Bytes::from("late")));
        assert_eq!(call.message().await, None);
        assert_eq!(text(&call.trailers().await, "grpc-status"), "0");
        world.quiet().await;
    })
    .await;
}

/// Proves: K14
#[tokio::test]
async fn a_server_may_speak_before_its_client() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            call.head(HeaderMap::new());
            call.send(b"hello").await;
            let answer = call.message().await.expect("an answer");
            call.send(&answer).await;
            call.finish(0, "").await;
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let mut call = client.call("Greet").await;
        call.head().await;
        assert_eq!(call.message().await, Some(Bytes::from("hello")));
        call.send(b"well met").await;
        assert_eq!(call.message().await, Some(Bytes::from("well met")));
        assert_eq!(call.message().await, None);
        assert_eq!(text(&call.trailers().await, "grpc-status"), "0");
        world.quiet().await;
    })
    .await;
}

/// Proves: K28
#[tokio::test]
async fn a_thousand_messages_of_no_bytes_are_a_thousand_messages() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            call.head(HeaderMap::new());
            let mut count = 0_u32;
            while let Some(message) = call.message().await {
                assert!(message.is_empty());
                call.send(&message).await;
                count += 1;
            }
            call.finish(0, &count.to_string()).await;
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let mut call = client.call("Count").await;
        for _ in 0..1_000 {
            call.send(b"").await;
        }
        call.half_close();
        let answer = call.answer().await;
        assert_eq!(text(&answer.trailers, "grpc-message"), "1000", "there");
        assert_eq!(answer.messages.len(), 1_000, "and back");
        assert!(answer.messages.iter().all(Bytes::is_empty));
        assert_eq!(answer.status(), 0);
        world.quiet().await;
    })
    .await;
}
