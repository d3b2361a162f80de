//! How often a unary call allocates at the gateway, and how often at the instance.
//!
//! Both run in this process, each on a thread and a runtime of its own, over pipes in memory; the counter counts by
//! thread. So what the client allocates is in neither figure, and nothing of the kernel's is.
//!
//! The bounds have some 20 % of room over what was measured when they were set. Where a change needs more, it says why and raises
//! the bound; where it needs less, it lowers it.

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use grpcrouter_bench::in_memory::{Client, gateway, instance, port, registered};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

const CALLS: u64 = 1_000;
/// Calls before, after which buffers and tables have their size.
const WARM_UP: u64 = 300;
/// Allocations of one call.
const AT_GATEWAY: u64 = 23;
const AT_INSTANCE: u64 = 53;
/// No step takes nearly as long.
const LIMIT: Duration = Duration::from_secs(60);

/// What the two ends run through, one after the other, at the client's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    WarmUp,
    Measured,
    Over,
}

#[test]
fn a_unary_call_allocates_no_more_than_its_bound_at_either_end() {
    let (phase, phases) = watch::channel(Phase::WarmUp);
    let (dial_clients, clients) = port();
    let (dial_tunnels, tunnels) = port();
    let at_gateway = end("gateway", phases.clone(), move |runtime| {
        runtime.spawn(gateway(clients, tunnels));
    });
    let (tell, told) = sync_channel(1);
    let at_instance = end("instance", phases, move |runtime| {
        let (run, handle) = runtime.block_on(async { instance(dial_tunnels) });
        runtime.spawn(run);
        tell.send(handle).expect("the test listens");
    });
    let handle = told.recv_timeout(LIMIT).expect("an instance");
    runtime().block_on(async {
        within(registered(&handle)).await;
        let client = within(Client::connect(&dial_clients)).await;
        for _ in 0..WARM_UP {
            within(client.unary()).await;
        }
        phase.send_replace(Phase::Measured);
        for _ in 0..CALLS {
            within(client.unary()).await;
        }
        phase.send_replace(Phase::Over);
    });
    let ends = [
        ("gateway", AT_GATEWAY, at_gateway),
        ("instance", AT_INSTANCE, at_instance),
    ];
    let ends = ends.map(|(end, bound, counted)| {
        let counted = counted.recv_timeout(LIMIT).expect("a count");
        let each = counted.count_total as f64 / CALLS as f64;
        let bytes = counted.bytes_total / CALLS;
        println!("{end}: {each:.2} allocations of together {bytes} bytes a call, at most {bound}");
        (end, bound, each, counted.count_current)
    });
    for (end, bound, each, left) in ends {
        assert!(
            each <= bound as f64,
            "{end}: {each:.2} allocations a call, and {bound} are the bound"
        );
        assert!(
            left.unsigned_abs() < CALLS / 10,
            "{end}: {left} allocations are left of {CALLS} calls"
        );
    }
}

/// Runs one end on a thread of its own; gives what it allocated while it was measured.
fn end(
    name: &str,
    mut phases: watch::Receiver<Phase>,
    start: impl FnOnce(&Runtime) + Send + 'static,
) -> std::sync::mpsc::Receiver<AllocationInfo> {
    let (send, counted) = sync_channel(1);
    let thread = thread::Builder::new().name(name.to_owned());
    let work = move || {
        let runtime = runtime();
        start(&runtime);
        let mut reached = |phase| {
            // Without its own limit: the client has one, and ends the channel.
            let _ = runtime.block_on(phases.wait_for(|now| *now >= phase));
        };
        reached(Phase::Measured);
        let info = measure(|| reached(Phase::Over));
        let _ = send.send(info);
    };
    thread.spawn(work).expect("a thread");
    counted
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

async fn within<T>(step: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, step).await.expect("in time")
}
