//! Headers that are not a client's or a handler's to send on: of one hop, derived anew, or the gateway's.

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;

use super::support::arms::on_both_arms;
use super::support::client::{request, text};
use super::support::handler::Handler;
use super::support::raw::{self, Raw};
use super::support::within;
use super::support::world::World;

fn headers(entries: &[(&'static str, &'static str)]) -> HeaderMap {
    let entries = entries.iter();
    let entries = entries.map(|(name, value)| (*name, HeaderValue::from_static(value)));
    entries
        .map(|(name, value)| (HeaderName::from_static(name), value))
        .collect()
}

/// Echoes, and tells the headers and the authority of each call.
fn tells() -> (Handler, mpsc::Receiver<(HeaderMap, String)>) {
    let (seen, calls) = mpsc::channel(16);
    let handler = Handler::new(move |mut call| {
        let _ = seen.try_send((call.headers.clone(), call.authority.clone()));
        async move {
            call.head(HeaderMap::new());
            while let Some(message) = call.message().await {
                call.send(&message).await;
            }
            call.finish(0, "").await;
        }
    });
    (handler, calls)
}

/// Proves: K20
#[tokio::test]
async fn a_clients_headers_of_one_hop_and_of_the_router_stay_behind() {
    on_both_arms(async |arm| {
        let (handler, mut calls) = tells();
        let (world, client) = World::probe_on(arm, handler).await;
        let mut asked = request("Echo");
        asked.headers_mut().extend(headers(&[
            ("host", "evil.test"),
            ("content-length", "0"),
            // Noughts that mean nothing: a value that was made anew has none.
            ("grpc-timeout", "0000005S"),
            ("grpcrouter-instance", "a"),
            ("grpcrouter-reason", "forged"),
            ("grpcrouter-anything", "x"),
            ("grpc-accept-encoding", "gzip"),
            ("grpc-unknown", "passes"),
            ("x-mine", "passes"),
        ]));
        let mut call = client.open(asked).await;
        call.half_close();
        let answer = call.answer().await;
        assert_eq!(answer.status(), 0, "{answer:?}");
        let (seen, authority) = within("the call", calls.recv()).await.expect("a call");
        assert_eq!(authority, "probe.test", "not what `host` says");
        for name in seen.keys() {
            let known = [
                "te",
                "content-type",
                "grpc-timeout",
                "grpc-accept-encoding",
                "grpc-unknown",
                "x-mine",
            ];
            assert!(known.contains(&name.as_str()), "{name} was forwarded");
        }
        assert_eq!(text(&seen, "te"), "trailers", "the instance's own");
        assert_eq!(text(&seen, "grpc-accept-encoding"), "gzip");
        assert_eq!(text(&seen, "grpc-unknown"), "passes", "as documented");
        assert_eq!(text(&seen, "x-mine"), "passes");
        let timeouts: Vec<_> = seen.get_all("grpc-timeout").iter().collect();
        assert_eq!(timeouts.len(), 1, "{timeouts:?}");
        let timeout = timeouts[0].as_bytes();
        assert!(!timeout.starts_with(b"0"), "derived anew: {timeouts:?}");
        let left = grpcrouter_core::timeout::parse_timeout(timeout).expect("a timeout");
        assert!(
            !left.is_zero() && left.as_secs() <= 5,
            "what is left: {left:?}"
        );
        world.quiet().await;
    })
    .await;
}

/// HTTP/2 knows no headers of a connection: such a request is malformed, and ends where it came in.
///
/// Proves: K20
#[tokio::test]
async fn a_request_with_headers_of_a_connection_goes_nowhere() {
    on_both_arms(async |arm| {
        let (handler, mut calls) = tells();
        let (world, _) = World::probe_on(arm, handler).await;
        let mut raw = Raw::connect(world.clients).await;
        let bad = [
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
        ];
        for (i, header) in bad.into_iter().enumerate() {
            let stream = 2 * i as u32 + 1;
            raw.call(stream, "Echo", &[header]).await;
            let frames = raw.read_to_end(stream).await;
            let [frame] = &frames[..] else {
                panic!("{header:?}: {frames:?}");
            };
            assert_eq!(frame.kind, raw::RST_STREAM, "{header:?}");
            assert_eq!(frame.number(), 1, "PROTOCOL_ERROR");
        }
        assert!(
            raw.is_alive().await,
            "a fault of a call, not of its connection"
        );
        assert!(calls.try_recv().is_err(), "no call reached the handler");
    })
    .await;
}

/// Proves: K20
#[tokio::test]
async fn a_handlers_headers_of_one_hop_and_of_the_router_stay_behind() {
    const RESERVED: [(&str, &str); 8] = [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("host", "evil.test"),
        ("te", "trailers"),
        ("grpcrouter-reason", "forged"),
        ("grpcrouter-anything", "x"),
    ];
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            let mut sent = headers(&RESERVED);
            sent.extend(headers(&[("x-mine", "passes")]));
            if call.method.ends_with("TrailersOnly") {
                call.trailers_only(sent, 9, "");
                return;
            }
            sent.insert("content-length", HeaderValue::from_static("3"));
            call.head(sent.clone());
            call.finish_with(sent, 0, "").await;
        });
        let (world, client) = World::probe_on(arm, handler).await;
        for method in ["Head", "TrailersOnly"] {
            let answer = client.unary(method, b"q").await;
            for block in answer.head.iter().chain([&answer.trailers]) {
                assert_eq!(text(block, "x-mine"), "passes", "{method}");
                for (name, _) in RESERVED.into_iter().chain([("content-length", "")]) {
                    assert!(!block.contains_key(name), "{method}: {name} was forwarded");
                }
            }
        }
        world.quiet().await;
    })
    .await;
}

/// Proves: K21
#[tokio::test]
async fn a_status_in_initial_metadata_is_dropped_and_the_real_one_counts() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            call.head(headers(&[
                ("grpc-status", "7"),
                ("grpc-message", "forged"),
                ("grpc-status-details-bin", "AAEC"),
                ("x-mine", "passes"),
            ]));
            // At once, so that all of it may travel in one frame, or after a message.
            if call.method.ends_with("Message") {
                let message = call.message().await.expect("the request");
                call.send(&message).await;
            }
            call.finish(3, "real").await;
        });
        let (world, client) = World::probe_on(arm, handler).await;
        for method in ["Message", "AtOnce"] {
            let answer = client.unary(method, b"q").await;
            let head = answer.head.as_ref().expect("a head");
            for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
                assert!(!head.contains_key(name), "{method}: {head:?}");
            }
            assert_eq!(text(head, "x-mine"), "passes");
            assert_eq!(answer.status(), 3, "{method}: {answer:?}");
            assert_eq!(text(&answer.trailers, "grpc-message"), "real");
            assert!(!answer.trailers.contains_key("grpc-status-details-bin"));
        }
        world.quiet().await;
    })
    .await;
}

/// Proves: K22
#[tokio::test]
async fn user_agent_and_authority_reach_the_handler_as_the_client_sent_them() {
    on_both_arms(async |arm| {
        let (handler, mut calls) = tells();
        let (world, client) = World::probe_on(arm, handler).await;
        for authority in ["probe.test", "other.test:8443", "[::1]:50051"] {
            let mut asked = request("Echo");
            let uri = format!("http://{authority}/test.Probe/Echo");
            *asked.uri_mut() = uri.parse().expect("a URI");
            let agent = HeaderValue::from_static("grpc-probe/1.0 (real; sockets)");
            asked.headers_mut().insert("user-agent", agent);
            let mut call = client.open(asked).await;
            call.half_close();
            assert_eq!(call.answer().await.status(), 0);
            let (seen, got) = within("the call", calls.recv()).await.expect("a call");
            assert_eq!(text(&seen, "user-agent"), "grpc-probe/1.0 (real; sockets)");
            assert_eq!(got, authority);
        }
        world.quiet().await;
    })
    .await;
}
