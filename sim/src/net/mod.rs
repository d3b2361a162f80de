//! The network level: the real gateway, instance and agent libraries on hosts and links of turmoil, with
//! real HTTP/2, and clients that know nothing of the router.
//!
//! - `stage` is the hosts of a run and steps them, `rest` says whether anything is left of it.
//! - `driver` runs what a seed drew, `fault` chooses what each fault hits, `network` does it. Stories
//!   ([`story`](crate::story)) say themselves what happens when.
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
mod rest;
mod stage;
mod stream;
mod touch;
mod wire;
mod world;

use std::time::Duration;

use crate::oracle::{Bounds, Outcome, Trace};
use crate::plan::{Options, Plan};
use crate::report::{Report, Watch};

use handler::PIECE;
use hosts::SERVER_WINDOW;
use stage::FOREVER;

pub(crate) use handler::SERVICE;
pub(crate) use network::{Change, Network};
pub(crate) use node::Link;
pub use node::Node;
pub(crate) use rest::{is_at_rest, leaks};
pub(crate) use stage::Stage;
pub(crate) use touch::Hit;
pub(crate) use world::{TICK, World};

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
    let trace = Trace::new(watch);
    let mut stage = Stage::new(plan.seed, plan.options.clone(), &plan.calls, trace, loss);
    let world = stage.world.clone();
    world.with(|state, _| state.late = watch.wall_clock);
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
    let faults = driver::drive(&mut stage, plan, watch.print);
    if watch.print {
        world.with(|state, _| {
            let records = state.ledger.records().iter();
            let ok = records.filter(|record| record.outcome() == Some(&Outcome::Ok));
            println!("{} calls ended OK", ok.count());
        });
    }
    let layer = if loss.is_some() { "lossy" } else { "net" };
    stage.report(layer, faults)
}

/// What may be under way on a call: what the gateway declares, which has the client's window towards it
/// and the agent's window towards its server in it, and what the endpoints of this simulation hold.
///
/// - Requests: the window of the server behind an agent. A handler tells the ledger of bytes as it takes
///   them.
/// - Responses: the piece that a handler has given and its server has not sent, and the client's window
///   towards the gateway.
pub(crate) fn bounds(options: &Options) -> Bounds {
    let bound = hosts::gateway_config(options).bound();
    let bound = bound.fixed.max(bound.grown) as u64;
    Bounds {
        request: bound + u64::from(SERVER_WINDOW),
        response: bound + PIECE as u64 + u64::from(options.reader_window),
    }
}

/// One way over one link, at the longest: hosts see what came when their turn comes.
pub(crate) fn hop(options: &Options) -> Duration {
    options.latency + options.jitter + TICK * 2
}

/// How long a link takes while a fault makes it slow.
fn spike(options: &Options) -> Duration {
    options.latency * 10 + Duration::from_millis(50)
}
