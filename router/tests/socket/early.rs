//! Servers that end before their clients do.

use bytes::Bytes;
use grpcrouter::GatewayConfig;
use http::HeaderMap;
use std::future::poll_fn;

use super::support::arms::on_both_arms;
use super::support::client::{Client, text};
use super::support::handler::Handler;
use super::support::raw::{self, Raw};
use super::support::world::World;
use super::support::{framed, within};

/// Reads one message of its call, then ends it with the status that the method names.
fn ends_after_one() -> Handler {
    Handler::new(|mut call| async move {
        call.message().await.expect("a first message");
        let status = call.method.rsplit('/').next().expect("a method");
        let status = status.parse().expect("a status");
        call.head(HeaderMap::new());
        call.send(b"enough").await;
        call.finish(status, "enough").await;
    })
}

/// Proves: K9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_early_is_heard_at_once_and_stops_the_sender() {
    on_both_arms(async |arm| {
        let (world, client) = World::probe_on(arm, ends_after_one()).await;
        for status in [0, 9] {
            let mut call = client.call(&status.to_string()).await;
            call.send(b"first").await;
            // The client never half-closes, and has the whole answer all the same.
            call.head().await;
            assert_eq!(call.message().await, Some(Bytes::from("enough")));
            let trailers = call.trailers().await;
            assert_eq!(text(&trailers, "grpc-status"), status.to_string());
            assert_eq!(text(&trailers, "grpcrouter-reason"), "");
            let reset = poll_fn(|cx| call.send.poll_reset(cx));
            let reset = within("the sender is stopped", reset).await;
            assert_eq!(reset.expect("a reset"), h2::Reason::NO_ERROR);
            assert!(call.room(1).await.is_err(), "later sends fail");
        }
        world.quiet().await;
        assert_eq!(client.unary("0", b"x").await.status(), 0, "siblings live");
    })
    .await;
}

/// Proves: K9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_come_after_an_early_end_are_discarded_and_their_credit_comes_back() {
    on_both_arms(async |arm| {
        let config = GatewayConfig {
            max_streams: 4,
            ..GatewayConfig::default()
        };
        let connection_window = i64::from(config.client_window) * 4;
        let world = World::on_with(arm, config).await;
        world.instance("a", ends_after_one()).await;
        let mut raw = Raw::connect(world.clients).await;
        let piece = vec![0; 16 * 1024];
        let mut sent = 0;
        for i in 0..20 {
            let stream = 2 * i + 1;
            raw.call(stream, "0", &[]).await;
            raw.write(raw::DATA, 0, stream, &framed(b"first")).await;
            let frames = raw.read_to_end(stream).await;
            assert!(frames.last().is_some_and(raw::Frame::ends), "{frames:?}");
            // A client that has not seen the end yet goes on sending: within its windows, as it may.
            for _ in 0..4 {
                let credit = async {
                    while raw.window < piece.len() as i64 {
                        assert!(raw.is_alive().await, "late frames are no fault");
                    }
                };
                within("credit that comes back", credit).await;
                raw.write(raw::DATA, 0, stream, &piece).await;
                sent += piece.len() as i64;
            }
        }
        assert!(raw.is_alive().await, "late frames are no fault");
        assert!(
            sent > 3 * connection_window,
            "without credit coming back, it would have waited for ever"
        );
        world.quiet().await;
    })
    .await;
}

/// Proves: K10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_without_reading_gives_ok_and_no_other_status() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            if call.method.ends_with("TrailersOnly") {
                call.trailers_only(HeaderMap::new(), 0, "");
            } else {
                call.head(HeaderMap::new());
                call.finish(0, "").await;
            }
        });
        let (world, client) = World::probe_on(arm, handler).await;
        for _ in 0..20 {
            reads_ok(&client, "Head").await;
            reads_ok(&client, "TrailersOnly").await;
        }
        world.quiet().await;
        // On the wire: the end of the response, and only then the reset, which is NO_ERROR.
        let mut raw = Raw::connect(world.clients).await;
        for (stream, method, blocks) in [(1, "Head", 2), (3, "TrailersOnly", 1)] {
            raw.call(stream, method, &[]).await;
            raw.write(raw::DATA, 0, stream, &framed(&[0; 10_000])).await;
            let frames = raw.read_to_end(stream).await;
            assert!(frames.iter().all(|frame| frame.kind == raw::HEADERS));
            assert_eq!(frames.len(), blocks, "{method}: {frames:?}");
            let reset = raw.next().await.expect("the connection lives");
            assert_eq!((reset.kind, reset.stream), (raw::RST_STREAM, stream));
            assert_eq!(reset.number(), 0, "NO_ERROR");
        }
    })
    .await;
}

/// A call whose client is in the middle of sending when its answer comes.
async fn reads_ok(client: &Client, method: &str) {
    let mut call = client.call(method).await;
    let mut bytes = framed(&[0; 200_000]);
    // Sends for as long as it is let, as a client does that has not heard yet.
    while !bytes.is_empty()
        && let Ok(room) = within("window or the end", call.room(bytes.len())).await
        && call.send.send_data(bytes.split_to(room), false).is_ok()
    {}
    let head = call.head().await;
    let status = if method == "TrailersOnly" {
        head
    } else {
        call.trailers().await
    };
    assert_eq!(text(&status, "grpc-status"), "0", "{method}: {status:?}");
    assert_eq!(text(&status, "grpcrouter-reason"), "");
}

/// Proves: R11
#[tokio::test]
async fn calls_that_their_clients_give_up_leave_their_places_to_others() {
    on_both_arms(async |arm| {
        let world = World::on(arm).await;
        let mut config = world.config("a");
        config.tunnel.max_calls = 5;
        let endless = Handler::new(|mut call| async move {
            call.head(HeaderMap::new());
            std::future::pending::<()>().await;
        });
        world.instance_with(config, endless).await;
        let client = world.client().await;
        for given_up in 0..20 {
            let mut call = client.call("Stream").await;
            call.half_close();
            let head = call.response().await.expect("a response");
            let refused = head.headers().contains_key("grpc-status");
            assert!(
                !refused,
                "after {given_up} calls there is no place for another"
            );
            call.reset();
            world.quiet().await;
        }
    })
    .await;
}
