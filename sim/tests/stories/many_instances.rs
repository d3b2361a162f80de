//! Many instances at one gateway.

use std::time::Duration;

use grpcrouter::routing::{Balance, Route, ServiceRoutes};
use grpcrouter_sim::story::Node::Gateway;
use grpcrouter_sim::story::{Call, Fault, Kind, SERVICE, Settings, Story};

use super::{HOP, UNAVAILABLE, failed, ms};

const MANY: usize = 64;

/// Proves: R1, T8
#[test]
fn a_gateway_that_comes_back_meets_its_instances_one_after_another() {
    let settings = Settings {
        instances: MANY,
        rivals: false,
        // All of them dial at once when the world begins.
        link_bytes: 2 * MANY * 8 * 1024,
        ..Settings::default()
    };
    let mut story = Story::new(settings);
    let by_key = Route::new().metadata("x-key").balance(Balance::Pinned);
    let by_key = ServiceRoutes::new(SERVICE).default_route(by_key);
    story.route(&by_key);
    each_to_its_own(&mut story);

    let running = Call::new(Kind::Unary).handler_stalls(ms(60_000));
    let running = story.call(running.keyed("site-7"));
    story.run_for(ms(100));
    let killed = Fault::Kill(Gateway(0));
    story.begin(killed);
    story.run_for(HOP);
    assert_eq!(story.failure(running), failed(UNAVAILABLE, ""));
    // After three attempts everybody waits between nothing and 400 ms: 100, 200 and 400 ms and then always
    // 400 ms.
    story.run_for(Duration::from_secs(2));
    story.end(killed);
    let mut times = Vec::new();
    story.run_while("they come", Duration::from_secs(1), |story| {
        times.push(story.registered(0));
        true
    });
    story.route(&by_key);
    assert_eq!(times.last(), Some(&MANY));
    // In steps of 5 ms: 64 are 8 in ten, where they spread over all of the 400 ms.
    let reached = |n: usize| times.iter().position(|there| *there >= n);
    let tenth = reached(MANY / 10).expect("some");
    let nineteenth = reached(MANY * 9 / 10).expect("most");
    let spread = ms(5) * (nineteenth - tenth) as u32;
    assert!(spread >= ms(240), "four fifths of them within {spread:?}");
    let most = times.windows(11).map(|ten| ten[10] - ten[0]).max();
    assert!(most <= Some(MANY * 2 / 5), "{most:?} within 50 ms");
    each_to_its_own(&mut story);
    story.rest();
}

/// A call with the key of each instance goes to that one.
fn each_to_its_own(story: &mut Story) {
    let keyed = |n| Call::new(Kind::Unary).keyed(&format!("site-{n}"));
    let calls: Vec<u32> = (0..MANY).map(|n| story.call(keyed(n))).collect();
    story.run_for(ms(20) + HOP * 8);
    story.assert_ok(&calls);
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(story.ran_at(call), Some(n));
    }
}
