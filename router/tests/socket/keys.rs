//! Routing by a key: every strategy with every balancer, judged from the handlers' own logs.
//!
//! Each request has other keys in all the places that its route does not name, and they belong to other
//! instances, so that a route that is ignored shows.

use std::collections::{BTreeMap, BTreeSet};

use grpcrouter::routing::{Balance, Route};

use super::support::arms::Arm;
use super::support::keyed::{Asked, Keyed, PLACES, Place, ask, make};

const INSTANCES: usize = 8;
const CLIENTS: usize = 8;

/// Calls of a test: all of them on the gateway's own listeners; mounted it is the same code behind another
/// server, and a fifth will do.
fn calls() -> usize {
    match Arm::of_this_test() {
        Arm::Listeners => 10_000,
        Arm::Mounted | Arm::Sharded => 2_000,
    }
}

/// Makes all calls, from several connections at once. `keys` gives the key of a call and the key that
/// stands in its other places.
async fn all_calls(
    keyed: &Keyed,
    place: Place,
    keys: impl Fn(usize) -> (String, String) + Clone + Send + 'static,
) {
    let calls = calls();
    let mut clients = Vec::new();
    for first in 0..CLIENTS {
        let client = keyed.world.client().await;
        let keys = keys.clone();
        clients.push(tokio::spawn(async move {
            for n in (first..calls).step_by(CLIENTS) {
                let (key, other) = keys(n);
                let answer = make(&client, ask(place, &key, &other, n as u64)).await;
                assert_eq!(answer.status(), 0, "{place:?}: {answer:?}");
            }
        }));
    }
    for client in clients {
        client.await.expect("no panic");
    }
}

/// Which calls were logged.
fn nonces(logged: &[(String, Asked)]) -> BTreeSet<u64> {
    logged.iter().map(|(_, asked)| asked.nonce).collect()
}

async fn pinned(place: Place) {
    let keyed = Keyed::start(place.routes(|route| route), INSTANCES).await;
    let of = |n: usize| {
        (
            format!("i{}", n % INSTANCES),
            format!("i{}", (n + 3) % INSTANCES),
        )
    };
    all_calls(&keyed, place, of).await;
    let logged = keyed.logged();
    assert_eq!(nonces(&logged).len(), calls(), "{place:?}: each call ran");
    assert_eq!(logged.len(), calls(), "{place:?}: and ran once");
    let misrouted = logged
        .iter()
        .filter(|(name, asked)| *name != of(asked.nonce as usize).0)
        .count();
    assert_eq!(misrouted, 0, "{place:?}");
}

async fn hashed(place: Place) {
    const KEYS: usize = 500;
    let keyed = Keyed::start(
        place.routes(|route| route.balance(Balance::ConsistentHash)),
        INSTANCES,
    )
    .await;
    // The other keys are different ones in each call of a key.
    let of = |n: usize| (format!("key-{}", n % KEYS), format!("other-{n}"));
    all_calls(&keyed, place, of).await;
    let logged = keyed.logged();
    assert_eq!(nonces(&logged).len(), calls(), "{place:?}: each call ran");
    assert_eq!(logged.len(), calls(), "{place:?}: and ran once");
    let mut owners = BTreeMap::<String, BTreeSet<String>>::new();
    for (name, asked) in logged {
        let key = of(asked.nonce as usize).0;
        owners.entry(key).or_default().insert(name);
    }
    let scattered = owners.values().filter(|names| names.len() > 1).count();
    assert_eq!(scattered, 0, "{place:?}: keys with more than one instance");
    let used: BTreeSet<_> = owners.into_values().flatten().collect();
    assert_eq!(used.len(), INSTANCES, "{place:?}: every instance has keys");
}

/// A key that is there and names an instance is not used where calls are taken in turn, or by load.
async fn not_by_key(place: Place, balance: Balance) -> Vec<usize> {
    let keyed = Keyed::start(place.routes(|route| route.balance(balance)), INSTANCES).await;
    all_calls(&keyed, place, |_| ("i0".to_owned(), "i0".to_owned())).await;
    let logged = keyed.logged();
    assert_eq!(nonces(&logged).len(), calls(), "{place:?}: each call ran");
    assert_eq!(logged.len(), calls(), "{place:?}: and ran once");
    let mut counts = BTreeMap::<String, usize>::new();
    for (name, _) in logged {
        *counts.entry(name).or_default() += 1;
    }
    counts.into_values().collect()
}

macro_rules! each_place {
    ($($place:ident: $pinned:ident, $hashed:ident;)*) => {$(
        /// Proves: R1, R19
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $pinned() {
            pinned(Place::$place).await;
        }

        /// Proves: R1, R19
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $hashed() {
            hashed(Place::$place).await;
        }
    )*};
}

each_place! {
    Metadata: metadata_pins_its_call, metadata_is_hashed;
    Header: a_header_pins_its_call, a_header_is_hashed;
    Authority: the_authority_pins_its_call, the_authority_is_hashed;
    Path: a_segment_of_the_path_pins_its_call, a_segment_of_the_path_is_hashed;
    Field: a_field_pins_its_call, a_field_is_hashed;
    Hook: a_function_of_the_message_pins_its_call, a_function_of_the_message_is_hashed;
}

/// Proves: R18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_turn_are_spread_evenly_whatever_keys_they_have() {
    for place in PLACES {
        let counts = not_by_key(place, Balance::RoundRobin).await;
        assert_eq!(counts, [calls() / INSTANCES; INSTANCES], "{place:?}");
    }
}

/// Proves: R18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_by_load_use_every_instance_whatever_keys_they_have() {
    for place in PLACES {
        let counts = not_by_key(place, Balance::LeastLoaded).await;
        assert_eq!(counts.len(), INSTANCES, "{place:?}");
        // Each of eight is among two distinct picks in a quarter of the draws.
        let fewest = counts.iter().min().copied().expect("eight of them");
        assert!(fewest > calls() / INSTANCES / 4, "{place:?}: {counts:?}");
    }
}

/// Proves: R1
#[tokio::test]
async fn without_a_prefix_the_name_of_the_service_or_the_method_is_the_key() {
    for (route, key) in [
        (Route::new().service_name(), "test.Probe"),
        (Route::new().method_name(), "Ask"),
    ] {
        let routes = grpcrouter::routing::Routes::new().with(
            grpcrouter::routing::ServiceRoutes::new("test.Probe")
                .path_prefix("/api/v1")
                .default_route(route),
        );
        let keyed = Keyed::with(routes, 3, |n, config| {
            config.keys = vec![["test.Probe", "Ask", "Other"][n].to_owned()];
        })
        .await;
        let client = keyed.world.client().await;
        for n in 0..10 {
            let answer = make(&client, ask(Place::Metadata, "i2", "i2", n)).await;
            assert_eq!(answer.status(), 0, "{answer:?}");
        }
        let owner = if key == "Ask" { "i1" } else { "i0" };
        let logged = keyed.logged();
        assert_eq!(logged.len(), 10);
        assert!(logged.iter().all(|(name, _)| name == owner), "{logged:?}");
    }
}
