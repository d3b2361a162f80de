//! Requests that are no gRPC calls, and those that look unlike the usual ones and are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, HeaderValue, Request};

use super::support::arms::on_both_arms;
use super::support::client::{request, text};
use super::support::handler::Handler;
use super::support::raw::{self, Raw};
use super::support::world::World;

/// Answers with the content type that it was asked with, and counts its calls.
fn counts() -> (Handler, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let handler = Handler::new(move |mut call| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut head = HeaderMap::new();
            head.insert("content-type", call.headers["content-type"].clone());
            call.head(head);
            while call.message().await.is_some() {}
            call.finish(0, "").await;
        }
    });
    (handler, calls)
}

/// Proves: K32
#[tokio::test]
async fn the_content_types_of_grpc_pass_both_ways() {
    on_both_arms(async |arm| {
        let (handler, calls) = counts();
        let (world, client) = World::probe_on(arm, handler).await;
        let types = [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc+json",
            "application/grpc+x",
            "application/grpc;charset=utf-8",
        ];
        for content_type in types {
            let mut asked = request("Type");
            let value = HeaderValue::from_static(content_type);
            asked.headers_mut().insert("content-type", value);
            let mut call = client.open(asked).await;
            call.half_close();
            let answer = call.answer().await;
            assert_eq!(answer.status(), 0, "{content_type}: {answer:?}");
            let head = answer.head.expect("a head");
            assert_eq!(text(&head, "content-type"), content_type, "there and back");
        }
        assert_eq!(calls.load(Ordering::SeqCst), types.len());
        world.quiet().await;
    })
    .await;
}

/// Proves: K32
#[tokio::test]
async fn what_is_no_grpc_call_gets_its_http_status_and_reaches_no_handler() {
    on_both_arms(async |arm| {
        let (handler, calls) = counts();
        let (world, client) = World::probe_on(arm, handler).await;
        let grpc = Some("application/grpc");
        let cases = [
            ("POST", None, 415),
            ("POST", Some("application/json"), 415),
            ("POST", Some("application/grpcx"), 415),
            ("POST", Some("application/grpc-web"), 415),
            ("POST", Some("text/plain; application/grpc"), 415),
            ("GET", grpc, 405),
            ("PUT", grpc, 405),
            ("OPTIONS", None, 405),
        ];
        for (method, content_type, status) in cases {
            let mut asked = Request::new(());
            *asked.method_mut() = method.parse().expect("a method");
            let uri = "http://probe.test/test.Probe/Echo".parse();
            *asked.uri_mut() = uri.expect("a URI");
            if let Some(content_type) = content_type {
                let value = HeaderValue::from_static(content_type);
                asked.headers_mut().insert("content-type", value);
            }
            let mut call = client.open(asked).await;
            call.half_close();
            let response = call.response().await.expect("a response");
            assert_eq!(response.status(), status, "{method} {content_type:?}");
            // A line for people, and not taken for a gRPC answer.
            let kind = text(response.headers(), "content-type");
            assert_eq!(kind, "text/plain; charset=utf-8", "{method}");
            let line = call.data().await.expect("a line").expect("a line");
            assert!(line.ends_with(b"\n"), "{line:?}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 0, "none became a call");
        world.quiet().await;
        let answer = client.unary("Echo", b"q").await;
        assert_eq!(answer.status(), 0, "the connection lives");
    })
    .await;
}

/// A header in capitals does not decode, and HTTP/2's library ends the connection for that where it might
/// have ended the stream alone: RFC 9113, section 5.4.1, leaves it the choice. The client that sends such a
/// thing loses its own calls and nobody else's.
///
/// Proves: K19
#[tokio::test]
async fn a_header_in_capitals_is_a_protocol_error_and_is_never_forwarded() {
    on_both_arms(async |arm| {
        let (handler, calls) = counts();
        let (world, client) = World::probe_on(arm, handler).await;
        let mut honest = client.call("Echo").await;
        honest.head().await;
        let mut raw = Raw::connect(world.clients).await;
        raw.call(1, "Echo", &[("X-Upper", "1")]).await;
        raw.write(raw::DATA, raw::END_STREAM, 1, &[]).await;
        let frame = raw.next().await.expect("an answer");
        let code = match frame.kind {
            raw::RST_STREAM => &frame.payload[..],
            raw::GOAWAY => &frame.payload[4..8],
            _ => panic!("neither the stream nor the connection ended: {frame:?}"),
        };
        assert_eq!(code, [0, 0, 0, 1], "PROTOCOL_ERROR: {frame:?}");
        // Without the capital it is a call like any other.
        let mut raw = Raw::connect(world.clients).await;
        raw.call(1, "Echo", &[("x-upper", "1")]).await;
        raw.write(raw::DATA, raw::END_STREAM, 1, &[]).await;
        assert!(
            raw.read_to_end(1)
                .await
                .last()
                .is_some_and(raw::Frame::ends)
        );
        honest.half_close();
        assert_eq!(honest.message().await, None, "other clients' calls go on");
        assert_eq!(text(&honest.trailers().await, "grpc-status"), "0");
        assert_eq!(calls.load(Ordering::SeqCst), 2, "the honest ones only");
        world.quiet().await;
    })
    .await;
}
