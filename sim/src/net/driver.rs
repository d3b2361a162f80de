//! Steps the simulation from outside: a phase of calls and faults, then everything heals and liveness is
//! demanded, then everything comes to rest, and everyone leaves.

use std::sync::Arc;
use std::time::Duration;

use grpcrouter_core::Time;

use crate::oracle::{Outcome, Rule};
use crate::plan::{CallPlan, Plan};

use super::client::START;
use super::fault::Faults;
use super::node::Node;
use super::rest::{held, is_at_rest, leaks};
use super::stage::Stage;
use super::world::World;

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
pub(super) fn drive(stage: &mut Stage, plan: &Plan, print: bool) -> usize {
    let mut faults = Faults::new(stage.world.clone(), plan, print);
    let end = START + plan.options.span;
    while stage.world.now() < end {
        faults.tick(&mut stage.sim);
        stage.step();
    }
    while faults.last() {
        faults.tick(&mut stage.sim);
        stage.step();
    }
    faults.heal(&mut stage.sim);
    live(stage, &mut faults);
    rest(stage);
    leave(stage, &mut faults);
    faults.counted()
}

/// From each client, each instance answers within the time.
fn live(stage: &mut Stage, faults: &mut Faults) {
    let world = stage.world.clone();
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
            attend(&world, probe);
        }
        faults.supervise(&mut stage.sim);
        stage.step();
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
        let call = state.want(CallPlan::small(probe.client, probe.instance));
        // It may fail: only that none succeeds is wrong.
        let ever = now + LIVE_WITHIN * 2;
        state.ledger.touched(now, call, now..=ever);
        probe.call = Some(call);
    });
}

/// Everything ends by itself, and nothing is left.
fn rest(stage: &mut Stage) {
    let world = stage.world.clone();
    let limit = world.now() + REST;
    while world.now() < limit && !world.with(|state, _| is_at_rest(state)) {
        stage.step();
    }
    world.with(|state, now| {
        for what in leaks(state) {
            state.ledger.report(now, Rule::Leaked, None, what);
        }
        state.ledger.close(now);
    });
}

/// Every client and every instance goes, and gateways hold nothing.
fn leave(stage: &mut Stage, faults: &mut Faults) {
    let world = stage.world.clone();
    for node in Node::all(&world.options) {
        if matches!(node, Node::Client(_) | Node::Instance(_)) {
            faults.stop(&mut stage.sim, node);
        }
    }
    let limit = world.now() + LEFT_WITHIN;
    while world.now() < limit && !held(&world).is_empty() {
        stage.step();
    }
    for what in held(&world) {
        world.with(|state, now| state.ledger.report(now, Rule::Leaked, None, what));
    }
}
