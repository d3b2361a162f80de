//! The network level: the real gateway, instance and agent libraries on hosts and links of turmoil, with
//! real HTTP/2, and clients that know nothing of the router.
//!
//! - [`driver`](self): `driver` steps the simulation, `fault` chooses what each fault hits, `network` does it.
//! - `hosts` are the router's processes, `client` and `call` the callers, `handler` what every call reaches.
//! - `wire` is the network behind the libraries' listener and dialer, `lossy` another one; `stream` and `link` are where faults
//!   get at a connection, and where the trace sees every segment.
//! - `touch` knows which calls a fault may have hurt, and `world` is what all of them share.
//!
//! All of it runs on the calling thread, in virtual time. turmoil seeds tokio's own random numbers only
//! when built with `--cfg tokio_unstable`; without it two runs of a seed may differ.

mod call;
mod client;
mod driver;
mod fault;
mod handler;
mod hosts;
mod link;
mod lossy;
mod network;
mod node;
mod stream;
mod touch;
mod wire;
mod world;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::oracle::{Bounds, Ledger, Outcome, Trace};
use crate::plan::{Options, Plan};
use crate::report::{EVENTS, Report, Watch};

use handler::PIECE;
use hosts::SERVER_WINDOW;
use node::Node;
use touch::{Hit, Touches};
use world::{TICK, World};

/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(3_600);

/// Runs a plan, on this thread.
pub fn run(plan: &Plan, watch: Watch) -> Report {
    run_over(plan, watch, None)
}

/// Runs a plan over turmoil-net's sockets, which count bytes, and send again what the network loses: that
/// many packets of a hundred.
pub fn run_lossy(plan: &Plan, watch: Watch, loss: u8) -> Report {
    run_over(plan, watch, Some(loss))
}

fn run_over(plan: &Plan, watch: Watch, loss: Option<u8>) -> Report {
    let options = plan.options.clone();
    let trace = Trace::new(watch);
    let ledger = Ledger::new(&plan.calls, bounds(&options), trace);
    // Both ways over three links, and the steps in which hosts take turns.
    let mut touches = Touches::new(hop(&options) * 8);
    for call in &plan.calls {
        touches.add(call.client, call.pinned);
    }
    let entered = loss.map(|loss| lossy::Air::enter(&options, plan.seed, loss));
    let (air, guard) = entered.unzip();
    let late = watch.wall_clock;
    let world = Arc::new(World::new(plan.seed, options, ledger, touches, air, late));
    if loss.is_some() {
        // A connection is given up where too much of it is lost in a row.
        let late = world.options.heartbeat * 2 + hosts::DIAL + hop(&world.options) * 24;
        world.with(|state, now| {
            let (ledger, ever) = (&mut state.ledger, now + FOREVER);
            state
                .touches
                .begin(ledger, now, Hit::Everything, ever, late);
        });
    }
    // Dropped before the guard: sockets are closed on the network that they are of.
    let mut sim = build(&world);
    let faults = driver::drive(&mut sim, &world, guard.as_ref(), plan, watch.print);
    world.with(|state, _| {
        let violations = state.ledger.violations().to_vec();
        if watch.print {
            let records = state.ledger.records().iter();
            let ok = records.filter(|record| record.outcome() == Some(&Outcome::Ok));
            println!("{} calls ended OK", ok.count());
        }
        let about = |call| state.ledger.trace.about(call, EVENTS);
        Report {
            seed: plan.seed,
            layer: if loss.is_some() { "lossy" } else { "net" },
            calls: state.ledger.calls(),
            messages: state.ledger.messages(),
            faults,
            hash: state.ledger.trace.hash(),
            events: violations.iter().map(|v| about(v.call)).collect(),
            violations,
        }
    })
}

fn build<'a>(world: &Arc<World>) -> turmoil::Sim<'a> {
    let options = &world.options;
    let mut sim = turmoil::Builder::new()
        .rng_seed(world.seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .tick_duration(TICK)
        .simulation_duration(FOREVER)
        .min_message_latency(options.latency)
        .max_message_latency(options.latency + options.jitter)
        .tcp_capacity((options.link_bytes / stream::SEGMENT).clamp(16, 256))
        .enable_random_order()
        .build();
    for node in Node::all(options) {
        let world = world.clone();
        let name = node.to_string();
        match node {
            Node::Gateway(n) => sim.host(name, move || hosts::gateway(world.clone(), n)),
            Node::Instance(n) => sim.host(name, move || hosts::instance(world.clone(), n)),
            Node::Server(n) => sim.host(name, move || hosts::server(world.clone(), n)),
            Node::Rival(n) => sim.host(name, move || hosts::rival(world.clone(), n)),
            Node::Client(n) => sim.host(name, move || client::run(world.clone(), n)),
        }
    }
    sim
}

/// What may be under way on a call: what the gateway declares, which has the client's window towards it
/// and the agent's window towards its server in it, and what the endpoints of this simulation hold.
///
/// - Requests: the window of the server behind an agent. A handler tells the ledger of bytes as it takes
///   them.
/// - Responses: the piece that a handler has given and its server has not sent, and the client's window
///   towards the gateway.
fn bounds(options: &Options) -> Bounds {
    let bound = hosts::gateway_config(options).bound();
    let bound = bound.fixed.max(bound.grown) as u64;
    Bounds {
        request: bound + u64::from(SERVER_WINDOW),
        response: bound + PIECE as u64 + u64::from(options.reader_window),
    }
}

/// One way over one link, at the longest: hosts see what came when their turn comes.
fn hop(options: &Options) -> Duration {
    options.latency + options.jitter + TICK * 2
}

/// How long a link takes while a fault makes it slow.
fn spike(options: &Options) -> Duration {
    options.latency * 10 + Duration::from_millis(50)
}
