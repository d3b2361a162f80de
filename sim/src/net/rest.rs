//! What is left when everything should have ended.

use crate::oracle::Record;

use super::node::Node;
use super::world::State;

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
