//! An instance that is lost in the middle of calls, by every way in which one can be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grpcrouter::{GatewayConfig, InstanceConfig};
use http::HeaderMap;

use super::support::client::{Client, Exchange, request, text};
use super::support::handler::Handler;
use super::support::proxy::{Proxy, Way};
use super::support::reports::{Reports, Seen, endless, silent};
use super::support::until;
use super::support::world::{Running, World};

fn behind(world: &World, proxy: &Proxy, id: &str) -> InstanceConfig {
    let mut config = world.config(id);
    config.gateways = vec![format!("http://{}", proxy.addr).parse().expect("a target")];
    config
}

/// A link that stops and heals within the heartbeats' limit loses nothing.
#[tokio::test]
async fn a_link_that_heals_in_time_goes_on_where_it_stopped() {
    let world = World::start().await;
    let proxy = Proxy::before(world.tunnels).await;
    let config = behind(&world, &proxy, "a");
    let _instance = world.instance_with(config, Handler::echo()).await;
    let client = world.client().await;
    for way in [Way::There, Way::Back, Way::Both] {
        let mut call = client.call("Echo").await;
        call.send(b"before").await;
        call.head().await;
        assert_eq!(call.message().await.expect("an answer"), "before");
        proxy.stop(way);
        call.send(b"while stopped").await;
        proxy.heal();
        assert_eq!(call.message().await.expect("an answer"), "while stopped");
        call.half_close();
        assert_eq!(call.message().await, None, "{way:?}");
    }
    world.quiet().await;
}

/// Two instances, one of which is going to be lost; three calls on it, and one on the other.
struct Doomed {
    world: World,
    client: Client,
    proxy: Proxy,
    instance: Running,
    /// Of the instance that is going to be lost.
    seen: Reports,
    /// Before the head, after it, and in the middle of a message.
    calls: [Exchange; 3],
    elsewhere: Exchange,
    _other: Running,
}

impl Doomed {
    async fn new(config: GatewayConfig) -> Self {
        let world = World::with(config).await;
        let proxy = Proxy::before(world.tunnels).await;
        let (handler, seen) = doomed();
        let config = behind(&world, &proxy, "a");
        let instance = world.instance_with(config, handler).await;
        let other = world.instance("b", Handler::echo()).await;
        let client = world.client().await;
        let before = open_on(&client, "a", "Silent").await;
        let mut after = open_on(&client, "a", "Head").await;
        after.head().await;
        let mut amid = open_on(&client, "a", "Half").await;
        amid.head().await;
        assert_eq!(
            amid.data().await.expect("bytes").expect("bytes"),
            "\0\0\0\0\x09half"
        );
        let mut elsewhere = open_on(&client, "b", "Echo").await;
        elsewhere.send(b"1").await;
        elsewhere.head().await;
        let mut seen = seen;
        seen.expect_all(Seen::Started, 3).await;
        let calls = [before, after, amid];
        Self {
            world,
            client,
            proxy,
            instance,
            seen,
            calls,
            elsewhere,
            _other: other,
        }
    }

    /// Every call on the lost instance ends, once, with its reason; no other does.
    async fn all_are_told(self) {
        let Self {
            world,
            client,
            calls,
            mut elsewhere,
            ..
        } = self;
        let [before, mut after, mut amid] = calls;
        let answer = before.answer().await;
        assert_eq!((answer.status(), answer.reason()), (14, "instance-lost"));
        assert!(answer.head.is_none(), "nothing but the status");
        assert_eq!(after.message().await, None);
        while let Some(data) = amid.data().await {
            assert_eq!(data.expect("a clean end"), "", "nothing is made up");
        }
        for call in [&mut after, &mut amid] {
            let trailers = call.trailers().await;
            assert_eq!(text(&trailers, "grpc-status"), "14");
            assert_eq!(text(&trailers, "grpcrouter-reason"), "instance-lost");
        }
        assert_eq!(elsewhere.message().await.expect("an answer"), "1");
        elsewhere.send(b"2").await;
        assert_eq!(elsewhere.message().await.expect("an answer"), "2");
        elsewhere.half_close();
        assert_eq!(elsewhere.message().await, None);
        assert_eq!(
            client.unary("Echo", b"x").await.status(),
            0,
            "the other takes all"
        );
        world.quiet().await;
    }
}

/// Never ends, by three ways.
fn doomed() -> (Handler, Reports) {
    let (reporter, reports) = super::support::reports::reports();
    let handler = Handler::new(move |mut call| {
        let reporter = reporter.clone();
        async move {
            let _guard = reporter.start();
            if !call.method.ends_with("Silent") {
                call.head(HeaderMap::new());
            }
            if call.method.ends_with("Half") {
                call.send_raw("\0\0\0\0\x09half".into()).await;
            }
            std::future::pending::<()>().await;
        }
    });
    (handler, reports)
}

async fn open_on(client: &Client, id: &str, method: &str) -> Exchange {
    let mut request = request(method);
    let id = id.parse().expect("a value");
    request.headers_mut().insert("grpcrouter-instance", id);
    client.open(request).await
}

/// Proves: R15
#[tokio::test]
async fn an_instance_whose_process_ends_costs_its_own_calls_a_status() {
    let mut doomed = Doomed::new(GatewayConfig::default()).await;
    doomed.instance.task.abort();
    doomed.seen.expect_all(Seen::Dropped, 3).await;
    doomed.all_are_told().await;
}

/// Proves: R15
#[tokio::test]
async fn an_instance_whose_connection_is_cut_costs_its_own_calls_a_status() {
    for reset in [false, true] {
        let mut doomed = Doomed::new(GatewayConfig::default()).await;
        // It would be back at once.
        doomed.proxy.stop(Way::Both);
        if reset {
            doomed.proxy.reset();
        } else {
            doomed.proxy.close();
        }
        doomed.seen.expect_all(Seen::Dropped, 3).await;
        doomed.all_are_told().await;
    }
}

/// Proves: R15
#[tokio::test]
async fn an_instance_that_falls_silent_is_lost_after_two_heartbeats() {
    let mut config = GatewayConfig::default();
    config.tunnel.heartbeat_interval = Duration::from_millis(250);
    let mut doomed = Doomed::new(config).await;
    doomed.proxy.stop(Way::Both);
    doomed.seen.expect_all(Seen::Dropped, 3).await;
    doomed.all_are_told().await;
}

/// The handler of a lost tunnel stops even where its instance's process goes on.
#[tokio::test]
async fn no_handler_outlives_its_instance() {
    for answers in [false, true] {
        let world = World::start().await;
        let (handler, mut seen) = if answers { endless() } else { silent() };
        let instance = world.instance("a", handler).await;
        let client = world.client().await;
        let _call = client.call("Do").await;
        seen.expect(Seen::Started).await;
        instance.task.abort();
        seen.expect(Seen::Dropped).await;
        world.quiet().await;
    }
}

/// Proves: R16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_runs_twice_however_often_its_instances_are_lost() {
    const WORKERS: usize = 8;
    const KILLS: usize = 30;
    let runs = Arc::new(Mutex::new(BTreeMap::<Vec<u8>, usize>::new()));
    let counting = runs.clone();
    let handler = Handler::new(move |mut call| {
        let runs = counting.clone();
        async move {
            let nonce = call.headers["nonce"].as_bytes().to_vec();
            *runs.lock().unwrap().entry(nonce).or_default() += 1;
            // Long enough to be lost in the middle.
            tokio::time::sleep(Duration::from_millis(2)).await;
            call.trailers_only(HeaderMap::new(), 0, "");
        }
    });
    let world = World::start().await;
    let mut proxies = Vec::new();
    for id in ["a", "b"] {
        let proxy = Proxy::before(world.tunnels).await;
        let mut config = behind(&world, &proxy, id);
        config.backoff.first = Duration::from_millis(5);
        config.backoff.cap = Duration::from_millis(5);
        let instance = world.instance_with(config, handler.clone()).await;
        proxies.push((proxy, instance));
    }
    let done = Arc::new(Mutex::new(BTreeMap::<Vec<u8>, (u32, String)>::new()));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (client, done, stopped) = (world.client().await, done.clone(), stopped.clone());
        workers.push(tokio::spawn(async move {
            let mut n = 0;
            while !*stopped.borrow() {
                let nonce = format!("{worker}-{n}");
                n += 1;
                let mut request = request("Once");
                let value = nonce.parse().expect("a value");
                request.headers_mut().insert("nonce", value);
                let mut call = client.open(request).await;
                // No data: a call that is lost at once has no stream left for it.
                call.half_close();
                let answer = call.answer().await;
                let outcome = (answer.status(), answer.reason().to_owned());
                done.lock().unwrap().insert(nonce.into_bytes(), outcome);
            }
        }));
    }
    for kill in 0..KILLS {
        until("calls are under way", || {
            world.gateway.gauges().calls.get() >= 2
        })
        .await;
        let (proxy, instance) = &proxies[kill % proxies.len()];
        let mut registered = instance.handle.registrations();
        let before = registered.borrow()[0];
        if kill % 4 < 2 {
            proxy.reset();
        } else {
            proxy.close();
        }
        let again = registered.wait_for(|counts| counts[0] > before);
        super::support::within("it is back", again)
            .await
            .expect("it runs");
    }
    stop.send_replace(true);
    for worker in workers {
        super::support::within("a worker", worker)
            .await
            .expect("no panic");
    }
    world.quiet().await;
    let (runs, done) = (runs.lock().unwrap(), done.lock().unwrap());
    let mut lost = 0;
    for (nonce, (status, reason)) in done.iter() {
        let ran = runs.get(nonce).copied().unwrap_or(0);
        assert!(ran <= 1, "a call ran {ran} times");
        match (status, reason.as_str()) {
            (0, "") => assert_eq!(ran, 1, "who says OK has run"),
            (14, "instance-lost") => lost += 1,
            (14, "no-instance" | "refused") => assert_eq!(ran, 0, "{reason}: it was not sent"),
            other => panic!("{other:?}"),
        }
    }
    assert!(lost > 0, "calls were lost in the middle");
}
