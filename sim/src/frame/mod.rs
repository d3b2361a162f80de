//! The frame level: gateways, instances and clients made of `grpcrouter-core` alone.
//!
//! Frames go over byte pipes in memory, in virtual time; there is no HTTP/2, and no task. What the product's
//! shell does around the core (pick, open, retry, hand on) is done here in its own words, so that what
//! fails here is the core, or the rule itself.

mod client;
mod fault;
mod gateway;
mod handler;
mod hostile;
mod hosts;
mod instance;
mod link;
mod relay;
mod settle;
mod touch;
mod wire;
mod world;

use crate::plan::Plan;
use crate::report::{EVENTS, Report, Watch};

use world::World;

/// Runs a plan.
pub fn run(plan: &Plan, watch: Watch) -> Report {
    let mut world = World::new(plan, watch);
    world.play();
    let ledger = &world.ledger;
    let violations = ledger.violations().to_vec();
    let about = |call| ledger.trace.about(call, EVENTS);
    Report {
        seed: plan.seed,
        layer: "frame",
        calls: ledger.calls(),
        messages: ledger.messages(),
        faults: world.counted,
        hash: ledger.trace.hash(),
        events: violations.iter().map(|v| about(v.call)).collect(),
        violations,
    }
}
