//! Calls without a key, with a bad one, or whose key comes late or never.

use std::time::Duration;

use bytes::Bytes;
use grpcrouter::routing::{Balance, FieldKind, Route, Routes, ServiceRoutes};
use http::{HeaderMap, Request};
use prost::Message;

use super::support::client::{Answer, Client, assert_status, request};
use super::support::framed;
use super::support::handler::Handler;
use super::support::keyed::{Asked, Keyed, PLACES, Place, ask, make};
use super::support::world::World;

fn probe(route: Route) -> Routes {
    Routes::new().with(ServiceRoutes::new("test.Probe").default_route(route))
}

fn site(site: &str) -> Vec<u8> {
    let asked = Asked {
        site: site.to_owned(),
        ..Asked::default()
    };
    asked.encode_to_vec()
}

fn by_site() -> Route {
    Route::new().field(3, FieldKind::String)
}

async fn asked(client: &Client, request: Request<()>) -> Answer {
    make(client, (request, site("i0"))).await
}

/// Proves: R3
#[tokio::test]
async fn a_call_without_its_key_is_balanced_or_rejected_as_the_route_says() {
    for balance in [Balance::Pinned, Balance::ConsistentHash] {
        let by_metadata = Route::new().metadata("instanceid").balance(balance);
        let keyed = Keyed::start(probe(by_metadata.clone()), 4).await;
        let client = keyed.world.client().await;
        for _ in 0..8 {
            assert_eq!(asked(&client, request("Ask")).await.status(), 0);
        }
        let mut names: Vec<_> = keyed.logged().into_iter().map(|(name, _)| name).collect();
        names.sort();
        let turns = ["i0", "i0", "i1", "i1", "i2", "i2", "i3", "i3"];
        assert_eq!(names, turns, "in turn: {balance:?}");

        let keyed = Keyed::start(probe(by_metadata.reject_missing()), 1).await;
        let client = keyed.world.client().await;
        assert_status(&asked(&client, request("Ask")).await, 3, "bad-key");
        let mut empty = request("Ask");
        empty
            .headers_mut()
            .insert("instanceid", "".parse().expect("a header"));
        assert_status(&asked(&client, empty).await, 3, "bad-key");
        assert!(keyed.logged().is_empty(), "no handler saw them");
    }
}

/// Proves: R3
#[tokio::test]
async fn every_place_that_can_lack_its_key_rejects_a_call_without_it() {
    for place in [Place::Metadata, Place::Path, Place::Field, Place::Hook] {
        let keyed = Keyed::start(place.routes(Route::reject_missing), 1).await;
        let client = keyed.world.client().await;
        let mut call = request("Ask");
        *call.uri_mut() = "http://i0/api/v1/test.Probe/Ask".parse().expect("a path");
        let answer = make(&client, (call, Vec::new())).await;
        // The function of a message says `Some` for an empty text, which is no key either.
        assert_status(&answer, 3, "bad-key");
        assert!(keyed.logged().is_empty(), "{place:?}");
    }
}

/// Proves: R4
#[tokio::test]
async fn a_key_without_a_live_instance_is_unavailable_and_an_undeclared_one_not_found() {
    for place in [Place::Metadata, Place::Path, Place::Field] {
        let keyed = Keyed::start(place.routes(|route| route), 2).await;
        let client = keyed.world.client().await;
        let answer = make(&client, ask(place, "i9", "i0", 1)).await;
        assert_status(&answer, 14, "no-instance");

        let declared = place.routes(|route| route.declared_keys(["i9", "i0"]));
        keyed.world.gateway.set_routes(declared);
        let answer = make(&client, ask(place, "i9", "i0", 2)).await;
        assert_status(&answer, 14, "no-instance");
        let answer = make(&client, ask(place, "i1", "i0", 3)).await;
        assert_status(&answer, 5, "unknown-key");
        let answer = make(&client, ask(place, "i0", "i1", 4)).await;
        assert_eq!(answer.status(), 0, "{answer:?}");
        assert_eq!(keyed.logged().len(), 1, "{place:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_too_long_is_the_clients_mistake() {
    let keyed = Keyed::start(probe(Route::new().metadata("instanceid")), 1).await;
    let client = keyed.world.client().await;
    for (length, code) in [(256, 14), (257, 3)] {
        let mut call = request("Ask");
        let key = "k".repeat(length).parse().expect("a header");
        call.headers_mut().insert("instanceid", key);
        assert_eq!(asked(&client, call).await.status(), code, "{length}");
    }
}

/// Proves: S14
#[tokio::test]
async fn a_path_that_hides_something_is_refused_before_and_after_its_key_is_decoded() {
    let keyed = Keyed::start(Place::Path.routes(|route| route), 1).await;
    let client = keyed.world.client().await;
    let empty = async |path: &str| client.empty(path).await;
    assert_eq!(empty("/api/v1/i0/test.Probe/Ask").await.status(), 0);
    assert_eq!(empty("/api/v1/%69%30/test.Probe/Ask").await.status(), 0);
    for hidden in ["i0%2f", "%2e%2e", "i0%00", "%2569", "i0%5c", "i0%"] {
        let answer = empty(&format!("/api/v1/{hidden}/test.Probe/Ask")).await;
        assert_status(&answer, 3, "bad-key");
    }
    for elsewhere in [
        "/api/v1//test.Probe/Ask",
        "/api/v2/i0/test.Probe/Ask",
        "/api/v1/i0/i0/test.Probe/Ask",
        "/i0/test.Probe/Ask",
        "//test.Probe/Ask",
    ] {
        let answer = empty(elsewhere).await;
        assert_ne!(answer.status(), 0, "{elsewhere}");
        assert_ne!(answer.status(), 14, "{elsewhere}: refused before routing");
    }
}

/// A call whose message comes as a test says.
async fn in_pieces(client: &Client, pieces: &[&[u8]], ended: bool) -> Answer {
    let mut call = client.call("Ask").await;
    for piece in pieces {
        call.send_raw(Bytes::copy_from_slice(piece)).await;
    }
    if ended {
        call.half_close();
    }
    call.answer().await
}

/// Proves: R1, R3
#[tokio::test]
async fn a_key_in_a_message_is_found_however_the_message_is_cut() {
    let keyed = Keyed::start(probe(by_site().reject_missing()), 2).await;
    let client = keyed.world.client().await;
    let whole = framed(&site("i1"));
    let bytes: Vec<&[u8]> = whole.chunks(1).collect();
    assert_eq!(in_pieces(&client, &bytes, true).await.status(), 0);
    let logged = keyed.logged();
    assert_eq!(logged.len(), 1);
    assert_eq!(
        (logged[0].0.as_str(), logged[0].1.site.as_str()),
        ("i1", "i1")
    );

    let mut compressed = whole.to_vec();
    compressed[0] = 1;
    for (what, pieces) in [
        ("compressed", vec![&compressed[..]]),
        ("cut short", vec![&whole[..whole.len() - 2]]),
        ("no message", vec![]),
        ("another field", vec![&framed(&[0x0a, 1, b'k'])[..]]),
    ] {
        let answer = in_pieces(&client, &pieces, true).await;
        assert_eq!((answer.status(), answer.reason()), (3, "bad-key"), "{what}");
    }
    let large = Asked {
        padding: "p".repeat(20 * 1024),
        site: "i1".to_owned(),
        ..Asked::default()
    };
    let answer = in_pieces(&client, &[&framed(&large.encode_to_vec())], false).await;
    assert_status(&answer, 3, "bad-key");
    assert!(keyed.logged().is_empty(), "no handler saw them");
}

/// Proves: R1
#[tokio::test]
async fn a_large_message_with_its_key_at_the_front_passes_whole() {
    let keyed = Keyed::start(probe(by_site()), 2).await;
    let client = keyed.world.client().await;
    let mut message = site("i1");
    let rest = Asked {
        padding: "p".repeat(1 << 20),
        ..Asked::default()
    };
    message.extend(rest.encode_to_vec());
    let answer = make(&client, (request("Ask"), message)).await;
    assert_eq!(answer.status(), 0, "{answer:?}");
    let logged = keyed.logged();
    assert_eq!(logged[0].0, "i1");
    assert_eq!(logged[0].1.padding.len(), 1 << 20);
}

/// Proves: R1
#[tokio::test]
async fn a_key_that_decides_nothing_is_not_waited_for() {
    // The handler speaks first, and the client not at all.
    let greeter = || {
        Handler::new(|mut call| async move {
            call.head(HeaderMap::new());
            while call.message().await.is_some() {}
            call.finish(0, "").await;
        })
    };
    let soon = || by_site().key_timeout(Duration::from_millis(100));
    let world = World::start().await;
    let _instance = world.instance("i0", greeter()).await;
    let client = world.client().await;
    let named = || {
        let mut call = request("Ask");
        let pin = "i0".parse().expect("a header");
        call.headers_mut().insert("grpcrouter-instance", pin);
        call
    };
    let rejecting = || soon().reject_missing();
    for (route, call) in [
        (rejecting(), named()),
        (soon().balance(Balance::RoundRobin), request("Ask")),
        (soon().balance(Balance::LeastLoaded), request("Ask")),
    ] {
        world.gateway.set_routes(probe(route));
        let mut call = client.open(call).await;
        let head = call.head().await;
        assert!(!head.contains_key("grpc-status"), "{head:?}");
        call.half_close();
        assert_eq!(call.message().await, None);
        assert_eq!(call.trailers().await["grpc-status"], "0");
    }
    for route in [
        soon(),
        soon().balance(Balance::ConsistentHash),
        rejecting().balance(Balance::RoundRobin),
        soon().declared_keys(["i0"]).balance(Balance::LeastLoaded),
    ] {
        world.gateway.set_routes(probe(route));
        let call = client.open(request("Ask")).await;
        assert_status(&call.answer().await, 4, "bad-key");
    }
}

/// Proves: R1
#[tokio::test]
async fn nothing_is_opened_before_the_key_is_known_and_the_wait_has_a_limit() {
    let soon = by_site().key_timeout(Duration::from_millis(100));
    let keyed = Keyed::start(probe(soon), 1).await;
    let client = keyed.world.client().await;
    let mut call = client.call("Ask").await;
    call.send_raw(framed(&site("i0")).slice(..6)).await;
    assert_status(&call.answer().await, 4, "bad-key");

    // The call's own deadline is sooner than the ten seconds of the default.
    keyed.world.gateway.set_routes(probe(by_site()));
    let mut hurried = request("Ask");
    let timeout = "100m".parse().expect("a header");
    hurried.headers_mut().insert("grpc-timeout", timeout);
    assert_status(&client.open(hurried).await.answer().await, 4, "deadline");

    // A client that goes away while it is waited for leaves nothing behind.
    let mut gone = client.call("Ask").await;
    gone.send_raw(framed(&site("i0")).slice(..6)).await;
    let gauges = keyed.world.gateway.gauges();
    super::support::until("the call is there", || gauges.calls.get() == 1).await;
    gone.reset();
    keyed.world.quiet().await;
    assert!(keyed.logged().is_empty(), "no handler saw any of them");
}

/// Proves: R2, R5
#[tokio::test]
async fn a_service_that_is_known_whole_has_no_other_methods() {
    let known = ServiceRoutes::new("test.Probe")
        .method("Ask", Route::new())
        .only_these_methods();
    let keyed = Keyed::start(Routes::new().with(known), 1).await;
    let client = keyed.world.client().await;
    assert_eq!(asked(&client, request("Ask")).await.status(), 0);
    assert_status(
        &asked(&client, request("Other")).await,
        12,
        "unknown-method",
    );
    assert_eq!(keyed.logged().len(), 1);
}

/// A pin in the metadata is stronger than any route.
#[tokio::test]
async fn an_instance_that_is_named_gets_the_call_whatever_its_key_says() {
    let keyed = Keyed::start(Place::Field.routes(Route::reject_missing), 2).await;
    let client = keyed.world.client().await;
    let (mut call, message) = ask(Place::Field, "i0", "i0", 1);
    let pin = "i1".parse().expect("a header");
    call.headers_mut().insert("grpcrouter-instance", pin);
    assert_eq!(make(&client, (call, message)).await.status(), 0);
    assert_eq!(keyed.logged()[0].0, "i1");
}

/// Proves: R5, R6
#[tokio::test]
async fn without_an_instance_every_route_says_so_at_once() {
    for place in PLACES {
        for balance in [
            Balance::Pinned,
            Balance::ConsistentHash,
            Balance::RoundRobin,
            Balance::LeastLoaded,
        ] {
            let keyed = Keyed::start(place.routes(|route| route.balance(balance)), 0).await;
            let client = keyed.world.client().await;
            let answer = make(&client, ask(place, "i0", "i1", 1)).await;
            assert_status(&answer, 14, "no-instance");
            // Somebody is there, but has not declared this service.
            let mut config = keyed.world.config("a");
            config.services = vec!["test.Other".to_owned()];
            let _other = keyed.world.instance_with(config, Handler::echo()).await;
            let answer = make(&client, ask(place, "i0", "i1", 2)).await;
            assert_status(&answer, 12, "unknown-service");
        }
    }
}
