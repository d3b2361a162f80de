//! Steps the simulation from outside: a phase of calls and faults, then everything heals and liveness is
//! demanded, then everything comes to rest, and everyone leaves.

use std::sync::Arc;
use std::time::Duration;

use grpcrouter_core::Time;
use turmoil::Sim;
use turmoil_net::EnterGuard;

use crate::oracle::{Outcome, Record, Rule};
use crate::plan::{CallPlan, Handler, Kind, Plan};

use super::client::START;
use super::fault::Faults;
use super::node::Node;
use super::world::{Wanted, World};

/// How long after all is whole again a new call may take to succeed.
const LIVE_WITHIN: Duration = Duration::from_secs(5);
/// Between two attempts at the same.
const RETRY: Duration = Duration::from_millis(100);
/// How long calls may take to end by themselves: the slowest that a plan draws takes two minutes.
const REST: Duration = Duration::from_secs(240);

/// How long after everyone has gone gateways may take to notice.
const LEFT_WITHIN: Duration = Duration::from_secs(10);

/// A probe of one instance from one client.
struct Probe {
    client: usize,
    instance: usize,
    call: Option<u32>,
    again: Time,
    done: bool,
}

/// Runs all phases. Gives how many faults were counted: none
/// begins but where a call is open on what it hits.
pub(super) fn drive(
    sim: &mut Sim<'_>,
    world: &Arc<World>,
    guard: Option<&EnterGuard>,
    plan: &Plan,
    print: bool,
) -> usize {
    let mut faults = Faults::new(world.clone(), plan, print);
    let end = START + plan.options.span;
    while world.now() < end {
        faults.tick(sim);
        step(sim, world, guard);
    }
    while faults.last() {
        faults.tick(sim);
        step(sim, world, guard);
    }
    faults.heal(sim);
    live(sim, world, guard, &mut faults);
    rest(sim, world, guard);
    leave(sim, world, guard, &mut faults);
    faults.counted
}

fn step(sim: &mut Sim<'_>, world: &Arc<World>, guard: Option<&EnterGuard>) {
    world.with(|state, _| state.links.tick());
    look(world);
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

/// Nothing in a gateway outlives the tunnels that it has.
fn look(world: &World) {
    world.with(|state, now| {
        for (number, host) in state.gateways.iter_mut().enumerate() {
            let Some(gateway) = &host.gateway else {
                continue;
            };
            let (tunnels, instances) = (gateway.gauges().tunnels.get(), gateway.instances());
            if instances > tunnels && !std::mem::replace(&mut host.told, true) {
                let node = Node::Gateway(number);
                let what = format!("{node}: {instances} instances, and {tunnels} tunnels");
                state.ledger.report(now, Rule::Leaked, None, what);
            }
        }
    });
}

/// From each client, each instance answers within the time.
fn live(sim: &mut Sim<'_>, world: &Arc<World>, guard: Option<&EnterGuard>, faults: &mut Faults) {
    let healed = world.now();
    let options = &world.options;
    let clients = 0..options.clients;
    let pairs = clients.flat_map(|c| (0..options.instances).map(move |i| (c, i)));
    let mut probes: Vec<Probe> = pairs
        .map(|(client, instance)| Probe {
            client,
            instance,
            call: None,
            again: healed,
            done: false,
        })
        .collect();
    while world.now() <= healed + LIVE_WITHIN && probes.iter().any(|probe| !probe.done) {
        for probe in &mut probes {
            attend(world, probe);
        }
        faults.supervise(sim);
        step(sim, world, guard);
    }
    for probe in probes.iter().filter(|probe| !probe.done) {
        world.with(|state, now| {
            let Probe {
                client, instance, ..
            } = probe;
            let what = format!(
                "client {client} cannot call instance {instance} {} ms after all was healed",
                LIVE_WITHIN.as_millis()
            );
            state.ledger.report(now, Rule::Unavailable, None, what);
        });
    }
}

/// Begins the probe's next attempt where the last one failed.
fn attend(world: &Arc<World>, probe: &mut Probe) {
    world.with(|state, now| {
        if let Some(call) = probe.call {
            match state.ledger.record(call).outcome() {
                Some(Outcome::Ok) => probe.done = true,
                Some(_) => {
                    probe.call = None;
                    probe.again = now + RETRY;
                }
                None => {}
            }
        }
        if probe.done || probe.call.is_some() || now < probe.again {
            return;
        }
        let plan = Arc::new(probe_plan(probe.client, probe.instance));
        let call = state.ledger.add(plan.clone());
        state.touches.add(probe.client, Some(probe.instance));
        // It may fail: only that none succeeds is wrong.
        state.ledger.touched(now, call);
        state.wanted.push(Wanted {
            client: probe.client,
            call,
        });
        probe.call = Some(call);
    });
}

fn probe_plan(client: usize, instance: usize) -> CallPlan {
    CallPlan {
        kind: Kind::Unary,
        client,
        start: Duration::ZERO,
        pinned: Some(instance),
        request: [100].into(),
        response: [100].into(),
        gap: Duration::ZERO,
        reader_stall: Duration::ZERO,
        handler: Handler {
            stall: Duration::ZERO,
            take: usize::MAX,
            pause: Duration::ZERO,
            echoes: false,
            early: false,
            status: 0,
        },
        timeout: None,
        cancel: None,
    }
}

/// Everything ends by itself, and nothing is left.
fn rest(sim: &mut Sim<'_>, world: &Arc<World>, guard: Option<&EnterGuard>) {
    let limit = world.now() + REST;
    while world.now() < limit && !is_at_rest(world) {
        step(sim, world, guard);
    }
    world.with(|state, now| {
        let mut left = Vec::new();
        for (number, host) in state.gateways.iter().enumerate() {
            let Some(gateway) = &host.gateway else {
                continue;
            };
            let (calls, tunnels) = (gateway.gauges().calls.get(), gateway.gauges().tunnels.get());
            let instances = world.options.instances;
            if calls != 0 || tunnels != instances || gateway.instances() != instances {
                left.push(format!(
                    "{}: {calls} calls, {tunnels} tunnels, {} instances registered of {instances}",
                    Node::Gateway(number),
                    gateway.instances()
                ));
            }
        }
        for (number, running) in state.handlers.iter().enumerate() {
            if !running.is_empty() {
                let calls: Vec<_> = running.keys().collect();
                left.push(format!(
                    "{}: handlers of calls {calls:?}",
                    Node::Instance(number)
                ));
            }
        }
        for what in left {
            state.ledger.report(now, Rule::Leaked, None, what);
        }
        state.ledger.close(now);
    });
}

/// Every client and every instance goes, and gateways hold nothing.
fn leave(sim: &mut Sim<'_>, world: &Arc<World>, guard: Option<&EnterGuard>, faults: &mut Faults) {
    for node in Node::all(&world.options) {
        if matches!(node, Node::Client(_) | Node::Instance(_)) {
            faults.stop(sim, node);
        }
    }
    let limit = world.now() + LEFT_WITHIN;
    while world.now() < limit && held(world).next().is_some() {
        step(sim, world, guard);
    }
    for what in held(world) {
        world.with(|state, now| state.ledger.report(now, Rule::Leaked, None, what));
    }
}

/// What gateways hold, one line for each that does.
fn held(world: &World) -> impl Iterator<Item = String> {
    let lines: Vec<_> = world.with(|state, _| {
        let gateways = state.gateways.iter().enumerate();
        let gateways = gateways.filter_map(|(n, host)| Some((n, host.gateway.as_ref()?)));
        gateways
            .map(|(number, gateway)| {
                let gauges = gateway.gauges();
                let counts = [
                    gauges.calls.get(),
                    gauges.tunnels.get(),
                    gauges.connections.get(),
                    gateway.instances(),
                ];
                (Node::Gateway(number), counts)
            })
            .collect()
    });
    let held = lines.into_iter().filter(|(_, counts)| *counts != [0; 4]);
    held.map(|(node, [calls, tunnels, connections, instances])| {
        format!(
            "{node}, with everyone gone: {calls} calls, {tunnels} tunnels, {connections} connections, \
             {instances} instances"
        )
    })
}

fn is_at_rest(world: &Arc<World>) -> bool {
    world.with(|state, _| {
        let open = state.ledger.records().iter().any(Record::is_open);
        let instances = world.options.instances;
        let whole = state.gateways.iter().all(|host| {
            host.gateway.as_ref().is_some_and(|gateway| {
                let gauges = gateway.gauges();
                gauges.calls.get() == 0
                    && gauges.tunnels.get() == instances
                    && gateway.instances() == instances
            })
        });
        !open && whole && state.running() == 0
    })
}
