//! Cancels that race with ends.

use std::time::Duration;

use http::HeaderMap;

use super::support::handler::Handler;
use super::support::reports::{Seen, reports};
use super::support::world::World;

/// Proves: R14
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_races_with_the_end_leaves_nothing_behind() {
    const CALLS: usize = 512;
    const AT_ONCE: usize = 16;
    let (reporter, mut seen) = reports();
    let handler = Handler::new(move |mut call| {
        let reporter = reporter.clone();
        async move {
            let _guard = reporter.start();
            let wait = call.headers["wait-us"].to_str().expect("text");
            let wait = Duration::from_micros(wait.parse().expect("a number"));
            tokio::time::sleep(wait).await;
            call.head(HeaderMap::new());
            call.send(b"m").await;
            call.finish(0, "").await;
        }
    });
    let world = World::start().await;
    let mut config = world.config("a");
    // So few that every slot and id is used again and again. More than are under way at once: the
    // instance hears of a cancel after the gateway.
    config.tunnel.max_calls = 4 * AT_ONCE as u32;
    let _instance = world.instance_with(config, handler).await;
    let client = world.client().await;
    let mut random = fastrand::Rng::with_seed(14);
    let (mut cancelled, mut finished) = (0, 0);
    // How late a cancel may come: follows how fast calls finish here, so that it stays a race.
    let mut window_us = 4_000;
    for _ in 0..CALLS / AT_ONCE {
        let mut calls = Vec::new();
        for _ in 0..AT_ONCE {
            let mut request = super::support::client::request("Race");
            let wait = random.u32(0..2_000).into();
            request.headers_mut().insert("wait-us", wait);
            let cancel_after = Duration::from_micros(random.u64(0..window_us));
            let client = client.clone();
            calls.push(tokio::spawn(async move {
                let mut call = client.open(request).await;
                call.half_close();
                let read = async {
                    call.head().await;
                    while call.message().await.is_some() {}
                    assert_eq!(call.trailers().await["grpc-status"], "0");
                };
                let finished = tokio::time::timeout(cancel_after, read).await.is_ok();
                if !finished {
                    call.reset();
                }
                finished
            }));
        }
        let before = finished;
        for call in calls {
            match call.await.expect("no panic") {
                true => finished += 1,
                false => cancelled += 1,
            }
        }
        match finished - before {
            few if few < AT_ONCE / 4 => window_us *= 2,
            many if many > AT_ONCE * 3 / 4 => window_us = (window_us / 2).max(500),
            _ => {}
        }
    }
    world.quiet().await;
    assert!(
        cancelled > 50 && finished > 50,
        "{cancelled} and {finished}: a race"
    );
    // Nothing is open, so the handlers' events come in pairs and end.
    let (mut started, mut dropped) = (0, 0);
    while started < finished || dropped < started {
        match seen.next().await {
            Seen::Started => started += 1,
            Seen::Dropped => dropped += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(started <= CALLS, "no handler ran twice");
    for _ in 0..2 * AT_ONCE {
        let mut request = super::support::client::request("Race");
        request.headers_mut().insert("wait-us", 0.into());
        let mut call = client.open(request).await;
        call.half_close();
        assert_eq!(
            call.answer().await.status(),
            0,
            "every slot can be used again"
        );
    }
}
