//! The access log: one line a call.

use grpcrouter::GatewayConfig;
use http::{HeaderMap, Request};

use super::support::client::text;
use super::support::handler::Handler;
use super::support::keyed::Place;
use super::support::log::AccessLog;
use super::support::reports::{Seen, silent};
use super::support::world::World;

fn logging() -> GatewayConfig {
    GatewayConfig {
        access_log: true,
        ..GatewayConfig::default()
    }
}

/// Checks some fields of a line.
fn assert_line(log: &AccessLog, path: &str, fields: &[(&str, &str)]) {
    let line = log.line(path);
    for (name, value) in fields {
        assert_eq!(line[name], *value, "{name} of {line:?}");
    }
    line["took_us"].parse::<u64>().expect("a number");
}

#[tokio::test]
async fn every_call_is_one_line_with_its_outcome() {
    let (log, _guard) = AccessLog::collect();
    let world = World::with(logging()).await;
    let handler = Handler::new(|mut call| async move {
        if call.method.ends_with("Fail") {
            return call.trailers_only(HeaderMap::new(), 7, "no");
        }
        call.head(HeaderMap::new());
        while call.message().await.is_some() {}
        call.send(b"answer").await;
        call.finish(0, "").await;
    });
    world.instance("a", handler).await;
    let client = world.client().await;
    client.unary("Ok", b"request").await;
    client.unary("Fail", b"").await;
    let unknown =
        Request::post("http://gw/test.Other/Do").header("content-type", "application/grpc");
    let mut call = client.open(unknown.body(()).expect("a request")).await;
    call.half_close();
    call.answer().await;
    let plain = Request::post("http://gw/test.Plain/Do").header("content-type", "text/plain");
    let mut call = client.open(plain.body(()).expect("a request")).await;
    call.half_close();
    assert_eq!(call.response().await.expect("a response").status(), 415);
    world.quiet().await;
    let (ok, fail) = ("/test.Probe/Ok", "/test.Probe/Fail");
    assert_line(
        &log,
        ok,
        &[
            ("instance", "a"),
            ("code", "0"),
            ("reason", "-"),
            ("received", "12"),
            ("sent", "11"),
        ],
    );
    assert_line(&log, fail, &[("code", "7"), ("reason", "-"), ("sent", "0")]);
    assert_line(
        &log,
        "/test.Other/Do",
        &[
            ("instance", "-"),
            ("code", "12"),
            ("reason", "unknown-service"),
        ],
    );
    assert_line(&log, "/test.Plain/Do", &[("code", "http-415")]);
    assert_eq!(log.len(), 4, "a line a call and no more");
}

#[tokio::test]
async fn a_call_that_its_client_gave_up_is_a_line_too() {
    let (log, _guard) = AccessLog::collect();
    let world = World::with(logging()).await;
    let (handler, mut seen) = silent();
    let _instance = world.instance("a", handler).await;
    let client = world.client().await;
    let mut call = client.call("Gone").await;
    seen.expect(Seen::Started).await;
    call.reset();
    seen.expect(Seen::Dropped).await;
    world.quiet().await;
    assert_line(
        &log,
        "/test.Probe/Gone",
        &[("code", "-"), ("reason", "client-gone")],
    );
}

#[tokio::test]
async fn a_key_in_the_path_is_not_logged() {
    let (log, _guard) = AccessLog::collect();
    let config = GatewayConfig {
        routes: Place::Path.routes(|route| route),
        ..logging()
    };
    let world = World::with(config).await;
    let _instance = world.instance("a", Handler::echo()).await;
    let client = world.client().await;
    for (key, code) in [("a", 0), ("secret", 14)] {
        let answer = client.empty(&format!("/api/v1/{key}/test.Probe/Ask")).await;
        assert_eq!(answer.status(), code);
        if code == 14 {
            let said = text(&answer.trailers, "grpc-message");
            assert_eq!(said, "no live instance serves this call's key");
        }
    }
    world.quiet().await;
    assert_eq!(log.paths(), ["/test.Probe/Ask", "/test.Probe/Ask"]);
}

#[tokio::test]
async fn without_the_setting_no_call_is_logged() {
    let (log, _guard) = AccessLog::collect();
    let (world, client) = World::probe(Handler::echo()).await;
    client.unary("Echo", b"secret").await;
    world.quiet().await;
    assert_eq!(log.len(), 0);
}
