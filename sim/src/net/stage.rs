//! A world on its network: all hosts of a run, and what steps them from outside.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use turmoil::Sim;
use turmoil_net::EnterGuard;

use crate::oracle::{Ledger, Trace};
use crate::plan::{CallPlan, Options};
use crate::report::{EVENTS, Report};

use super::lossy::Air;
use super::node::Node;
use super::rest::outlived;
use super::touch::Touches;
use super::world::{TICK, World};
use super::{bounds, client, hop, hosts, stream};

/// Longer than any run.
pub(super) const FOREVER: Duration = Duration::from_secs(86_400);

/// A run, as its driver holds it.
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    // Dropped before the guard: sockets are closed on the network that they are of.
    pub(crate) sim: Sim<'static>,
    guard: Option<EnterGuard>,
}

impl Stage {
    /// Hosts that are about to start, with the calls that their clients will make. `loss`: on the network
    /// that loses that many packets of a hundred.
    pub(crate) fn new(
        seed: u64,
        options: Options,
        calls: &[Arc<CallPlan>],
        trace: Trace,
        loss: Option<u8>,
    ) -> Self {
        let ledger = Ledger::new(calls, bounds(&options), trace);
        // Both ways over three links, and the steps in which hosts take turns.
        let mut touches = Touches::new(hop(&options) * 8);
        for call in calls {
            touches.add(call.client, call.pinned);
        }
        let entered = loss.map(|loss| Air::enter(&options, seed, loss));
        let (air, guard) = entered.unzip();
        let world = Arc::new(World::new(seed, options, ledger, touches, air));
        let sim = build(&world);
        Self { world, sim, guard }
    }

    /// Runs all hosts for one step.
    pub(crate) fn step(&mut self) {
        let Self { world, sim, guard } = self;
        world.with(|state, _| state.links.tick());
        outlived(world);
        world.step(|| {
            // Hosts run for ever: an error is one in the making of the simulation.
            if let Err(error) = sim.step() {
                panic!("a host cannot run: {error}");
            }
        });
        if let (Some(air), Some(guard)) = (&world.air, guard) {
            air.tick(guard, world.now(), &world.options);
        }
    }

    /// What the run has found so far.
    pub(crate) fn report(&self, layer: &'static str, faults: usize) -> Report {
        self.world.with(|state, _| {
            let violations = state.ledger.violations().to_vec();
            let about = |call| state.ledger.trace.about(call, EVENTS);
            Report {
                seed: self.world.seed,
                layer,
                calls: state.ledger.calls(),
                messages: state.ledger.messages(),
                faults,
                hash: state.ledger.trace.hash(),
                events: violations.iter().map(|v| about(v.call)).collect(),
                violations,
            }
        })
    }
}

fn build(world: &Arc<World>) -> Sim<'static> {
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
