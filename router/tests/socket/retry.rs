//! The one case in which a call is sent again: it provably reached no handler.

use bytes::Bytes;
use grpcrouter::routing::{Route, Routes, ServiceRoutes};
use grpcrouter_core::tunnel::ResponseHead;
use http::HeaderMap;

use super::support::client::{Answer, text};
use super::support::framed;
use super::support::handler::Handler;
use super::support::reports::{Seen, silent};
use super::support::scripted::Scripted;
use super::support::world::World;

/// A tunnel's HTTP/2 window that never matters.
const WIDE: u32 = 1 << 20;

/// A world with a scripted instance, whose turn is next, and after it one that echoes.
async fn with_scripted(window: u32) -> (World, Scripted) {
    let world = World::start().await;
    let scripted = Scripted::register(world.tunnels, "a", window).await;
    world.instance("b", Handler::echo()).await;
    (world, scripted)
}

/// Proves: R17
#[tokio::test]
async fn a_refused_call_is_answered_by_another_instance_as_if_nothing_was() {
    let (world, mut scripted) = with_scripted(WIDE).await;
    let client = world.client().await;
    for size in [0, 1, 8 * 1024] {
        let message = vec![7; size];
        let mut call = client.call("Echo").await;
        call.send(&message).await;
        call.half_close();
        let key = scripted.incoming().await;
        scripted.readable(key, size + 5).await;
        scripted.tunnel.refuse_call(key);
        scripted.tunnel.release(key);
        scripted.flush();
        let answer = call.answer().await;
        assert_eq!(answer.status(), 0, "{answer:?}");
        assert_eq!(
            answer.messages,
            [message],
            "all of the request was sent again"
        );
    }
    world.quiet().await;
}

/// Proves: R17
#[tokio::test]
async fn a_request_goes_on_after_it_was_sent_again() {
    let (world, mut scripted) = with_scripted(WIDE).await;
    let client = world.client().await;
    let mut call = client.call("Echo").await;
    call.send(b"first").await;
    let key = scripted.incoming().await;
    scripted.readable(key, 10).await;
    scripted.tunnel.refuse_call(key);
    scripted.flush();
    call.head().await;
    assert_eq!(call.message().await.expect("an answer"), "first");
    let rest = vec![1; 100_000];
    call.send(&rest).await;
    assert_eq!(call.message().await.expect("an answer"), rest);
    call.half_close();
    assert_eq!(call.message().await, None);
    assert_eq!(call.trailers().await["grpc-status"], "0");
    world.quiet().await;
}

/// Refused after so many bytes: what the client gets.
async fn refused_after(sent: usize) -> Answer {
    let (world, mut scripted) = with_scripted(WIDE).await;
    let client = world.client().await;
    let mut call = client.call("Echo").await;
    call.send(&vec![7; sent]).await;
    let key = scripted.incoming().await;
    scripted.readable(key, sent + 5).await;
    scripted.tunnel.refuse_call(key);
    scripted.flush();
    let answer = call.answer().await;
    world.quiet().await;
    answer
}

/// Proves: R17
#[tokio::test]
async fn a_refusal_after_sixteen_kibibytes_is_the_clients_to_deal_with() {
    for sent in [16 * 1024 - 4, 60 * 1024] {
        let answer = refused_after(sent).await;
        assert_eq!(
            (answer.status(), answer.reason()),
            (14, "refused"),
            "{sent}"
        );
    }
}

/// Proves: R16, R17
#[tokio::test]
async fn nothing_is_sent_again_after_a_byte_of_the_response() {
    let headers = HeaderMap::new();
    let head = ResponseHead {
        content_type: None,
        headers: &headers,
    };
    // Whether the client has the head already, or it arrives together with the refusal.
    for seen in [true, false] {
        let (world, mut scripted) = with_scripted(WIDE).await;
        let client = world.client().await;
        let mut call = client.call("Echo").await;
        call.half_close();
        let key = scripted.incoming().await;
        let responded = scripted.tunnel.respond(key, Some(head), Bytes::new(), None);
        responded.expect("it fits");
        scripted.flush();
        if seen {
            call.head().await;
        }
        scripted.tunnel.refuse_call(key);
        scripted.flush();
        let trailers = if seen {
            assert_eq!(
                call.message().await,
                None,
                "no other answer follows the head"
            );
            call.trailers().await
        } else {
            call.answer().await.trailers
        };
        assert_eq!(text(&trailers, "grpc-status"), "14");
        assert_eq!(text(&trailers, "grpcrouter-reason"), "instance-reset");
        world.quiet().await;
    }
}

/// Proves: R17
#[tokio::test]
async fn a_call_is_sent_again_once_and_not_twice() {
    let world = World::start().await;
    let mut first = Scripted::register(world.tunnels, "a", WIDE).await;
    let mut second = Scripted::register(world.tunnels, "b", WIDE).await;
    let (handler, mut seen) = silent();
    world.instance("c", handler).await;
    let client = world.client().await;
    let mut call = client.call("Echo").await;
    call.half_close();
    for scripted in [&mut first, &mut second] {
        let key = scripted.incoming().await;
        scripted.tunnel.refuse_call(key);
        scripted.flush();
    }
    let answer = call.answer().await;
    assert_eq!((answer.status(), answer.reason()), (14, "refused"));
    seen.nothing();
    world.quiet().await;
}

/// Proves: R17
#[tokio::test]
async fn an_instance_that_is_full_leaves_the_call_to_another() {
    let world = World::start().await;
    let mut config = world.config("a");
    config.tunnel.max_calls = 1;
    let (handler, mut seen) = silent();
    world.instance_with(config, handler).await;
    let client = world.client().await;
    let mut held = client.call("Do").await;
    seen.expect(Seen::Started).await;
    let answer = client.unary("Do", b"").await;
    assert_eq!(
        (answer.status(), answer.reason()),
        (8, "limit"),
        "nobody else is there"
    );

    world.instance("b", Handler::echo()).await;
    // The longer one arrives with more than is kept for a second try; nothing of it may be missing.
    for size in [0, 4_000, 20_000, 20_000] {
        let message = vec![7; size];
        let mut call = client.call("Do").await;
        call.send_raw(framed(&message).slice(..size.min(4_000)))
            .await;
        call.send_raw(framed(&message).slice(size.min(4_000)..))
            .await;
        call.half_close();
        let answer = call.answer().await;
        assert_eq!(answer.status(), 0, "{answer:?}");
        assert_eq!(answer.messages, [message]);
    }
    seen.nothing();
    held.reset();
    world.quiet().await;
}

/// Lost after it had the call: what the client gets, and how often the other instance ran it.
async fn lost_with_the_call(route: Route) -> (Answer, usize) {
    let (world, mut scripted) = with_scripted(WIDE).await;
    let routes = ServiceRoutes::new("test.Probe").default_route(route);
    world.gateway.set_routes(Routes::new().with(routes));
    let client = world.client().await;
    let mut call = client.call("Echo").await;
    call.send(b"again").await;
    call.half_close();
    let key = scripted.incoming().await;
    scripted.readable(key, 10).await;
    drop(scripted);
    let answer = call.answer().await;
    world.quiet().await;
    let runs = answer.messages.len();
    (answer, runs)
}

/// Proves: R16
#[tokio::test]
async fn a_call_that_may_have_started_is_sent_again_only_where_a_second_run_does_no_harm() {
    let (answer, _) = lost_with_the_call(Route::new()).await;
    assert_eq!((answer.status(), answer.reason()), (14, "instance-lost"));
    let (answer, runs) = lost_with_the_call(Route::new().idempotent()).await;
    assert_eq!((answer.status(), runs), (0, 1), "{answer:?}");
}
