//! What is left when everything should have ended.

use crate::oracle::{Record, Rule};

use super::node::Node;
use super::world::{State, World};

/// Whether every call has ended, at both edges and in between, and every instance is registered.
pub(crate) fn is_at_rest(state: &State) -> bool {
    let open = state.ledger.records().iter().any(Record::is_open);
    !open && state.gateways.len() == whole(state) && state.running() == 0
}

/// Gateways that have no calls, and one tunnel of every instance.
fn whole(state: &State) -> usize {
    let instances = state.handlers.len();
    let gateways = state.gateways.iter();
    let running = gateways.filter_map(|host| host.gateway.as_ref());
    let whole = running.filter(|gateway| {
        let gauges = gateway.gauges();
        let tunnels = [gauges.tunnels.get(), gateway.instances()];
        gauges.calls.get() == 0 && tunnels == [instances; 2]
    });
    whole.count()
}

/// Everything that is left, one line for each host.
pub(crate) fn leaks(state: &State) -> Vec<String> {
    let mut left = Vec::new();
    let instances = state.handlers.len();
    for (number, host) in state.gateways.iter().enumerate() {
        let Some(gateway) = &host.gateway else {
            continue;
        };
        let (calls, tunnels) = (gateway.gauges().calls.get(), gateway.gauges().tunnels.get());
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
    left
}

/// Tasks of a gateway that nobody is connected to: its two ports.
const SERVING: usize = 2;

/// What gateways hold once everyone has gone, one line for each that does.
pub(super) fn held(world: &World) -> Vec<String> {
    let counts: Vec<_> = world.with(|state, _| {
        let gateways = state.gateways.iter().enumerate();
        let gateways = gateways.filter_map(|(n, host)| Some((n, host, host.gateway.as_ref()?)));
        gateways
            .map(|(number, host, gateway)| {
                let gauges = gateway.gauges();
                let tasks = host
                    .tasks
                    .as_ref()
                    .map_or(0, tokio::runtime::RuntimeMetrics::num_alive_tasks);
                let counts = [
                    gauges.calls.get(),
                    gauges.tunnels.get(),
                    gauges.connections.get(),
                    gateway.instances(),
                    tasks.saturating_sub(SERVING),
                ];
                (Node::Gateway(number), counts)
            })
            .collect()
    });
    let held = counts.into_iter().filter(|(_, counts)| *counts != [0; 5]);
    held.map(|(node, [calls, tunnels, connections, instances, tasks])| {
        format!(
            "{node}, with everyone gone: {calls} calls, {tunnels} tunnels, {connections} connections, \
             {instances} instances, {tasks} tasks"
        )
    })
    .collect()
}

/// Nothing in a gateway outlives the tunnels that it has.
pub(super) fn outlived(world: &World) {
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
