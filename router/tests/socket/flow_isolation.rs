//! Calls that stall, and calls beside them.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use http::Request;

use crate::support::client::{Answer, Client, Exchange, request};
use crate::support::far::{self, FarCall, Path, Way, fixed};
use crate::support::handler::Handler;
use crate::support::source::{Source, pour};
use crate::support::wire::Wire;
use crate::support::within;
use crate::support::world::World;

const ACTIVE: usize = 99;
const CALLS_EACH: usize = 20;
const STREAM: usize = 32 << 20;

/// Stalls some calls on a path: full to the client's window, their readers idle.
async fn stall(path: &mut Path, count: usize, size: usize) -> Vec<(Exchange, FarCall, usize)> {
    let mut stalled = Vec::new();
    for _ in 0..count {
        let (mut call, far) = path.open().await;
        let mut source = Source::new(size);
        let mut sent = 0;
        // Whatever there is window for now; `pour` below finds the rest.
        while let Some(room) = call.room(STREAM).now_or_never() {
            let piece = source.next(room.expect("the stream is open"));
            sent += piece.len();
            call.send.send_data(piece, false).expect("has window");
        }
        stalled.push((call, far, sent));
    }
    if let Some((call, _, sent)) = stalled.last_mut() {
        *sent += pour(path, call, &mut Source::new(size), STREAM).await;
    }
    stalled
}

/// Proves: ZB-4
#[tokio::test]
async fn calls_beside_stalled_ones_complete() {
    for way in [Way::Library, Way::Agent] {
        for (count, size) in [(1, 16 * 1024), (50, 16 * 1024), (1, 5), (50, 5)] {
            let mut path = Path::start(way).await;
            let stalled = stall(&mut path, count, size).await;
            let active = (0..ACTIVE).map(|_| path.siblings(CALLS_EACH));
            within("the active calls", join_all(active)).await;
            let world = path.world.as_ref().expect("a gateway");
            assert_eq!(
                world.gateway.gauges().calls.get(),
                count,
                "{way:?}: the stalled calls are still there, and no other"
            );
            for (_, far, sent) in stalled {
                assert!(sent > 0);
                assert_eq!(far.read(), 0, "{way:?}: nobody read");
            }
        }
    }
}

/// Proves: ZB-4
#[tokio::test]
async fn clients_that_do_not_read_their_answers_stop_nobody_else() {
    for way in [Way::Library, Way::Agent] {
        // Room on the client's own connection for all of them: what it lacks there, no path can give.
        let mut path = Path::with(way, fixed(), |settings| {
            settings.initial_connection_window_size(1 << 30);
        })
        .await;
        let mut stalled = Vec::new();
        for _ in 0..50 {
            let (mut call, far) = path.open().await;
            call.head().await;
            let given = far.begin_give(Source::new(16 * 1024).take(4 << 20)).await;
            stalled.push((call, far, given));
        }
        let active = (0..ACTIVE).map(|_| path.siblings(CALLS_EACH));
        within("the active calls", join_all(active)).await;
    }
}

fn pinned(instance: &str, method: &str) -> Request<()> {
    let mut request = request(method);
    let headers = request.headers_mut();
    headers.insert("grpcrouter-instance", instance.parse().expect("a header"));
    request
}

async fn ask(client: &Client, instance: &str) -> Answer {
    let mut call = client.open(pinned(instance, "Echo")).await;
    call.send(b"sibling").await;
    call.half_close();
    call.answer().await
}

/// Proves: ZB-8
#[tokio::test]
async fn calls_to_a_partitioned_instance_are_kept_within_limits_and_then_fail() {
    const CALLS: usize = 200;
    let mut config = fixed();
    config.tunnel.tunnel_queue = 1 << 20;
    config.tunnel.heartbeat_interval = Duration::from_secs(2);
    let (window, queue) = (config.client_window as usize, config.tunnel.tunnel_queue);
    let world = World::with(config).await;
    let wire = Wire::to(world.tunnels).await;
    let (far, mut ends) = tokio::sync::mpsc::channel(CALLS);
    let mut a = world.config("a");
    a.gateways = vec![format!("http://{}", wire.addr).parse().expect("an address")];
    world.instance_with(a, far::handler(far)).await;
    world.instance("b", Handler::echo()).await;
    let client = world.client().await;
    assert_eq!(ask(&client, "a").await.status(), 0);

    wire.hold();
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        calls.push(client.open(pinned("a", "Step")).await);
    }
    // Each sends what it has window for, until none has any while siblings elsewhere complete.
    let (mut taken, mut quiet) = (0, 0);
    while quiet < 50 {
        quiet += 1;
        for call in &mut calls {
            while let Some(Ok(room)) = call.room(STREAM).now_or_never() {
                let piece = bytes::Bytes::from(vec![0; room]);
                taken += room;
                quiet = 0;
                if call.send.send_data(piece, false).is_err() {
                    break;
                }
            }
        }
        assert_eq!(ask(&client, "b").await.status(), 0, "others are served");
    }
    // Beyond the clients' windows: the tunnel's queue, and what HTTP/2 and two sockets hold of a tunnel.
    let transport = 8 << 20;
    eprintln!("partition: {CALLS} calls, {taken} B taken");
    assert!(
        taken <= CALLS * window + queue + transport,
        "{taken} B of {CALLS} calls were taken"
    );
    for call in calls {
        let answer = call.answer().await;
        assert_eq!(answer.status(), 14, "UNAVAILABLE: {answer:?}");
        assert_eq!(answer.reason(), "instance-lost");
    }
    let late = ask(&client, "a").await;
    assert_eq!((late.status(), late.reason()), (14, "no-instance"));
    world.quiet().await;
    assert!(ends.try_recv().is_err(), "nothing reached the handler");
}
