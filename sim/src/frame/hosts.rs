//! Hosts that stop and start. Clients and instances are numbered together, clients first; gateways from
//! [`GATEWAYS`] on.

use super::link::HostId;
use super::world::World;

/// The first gateway's number among hosts.
pub(super) const GATEWAYS: HostId = 1_000;

impl World<'_> {
    /// A host that runs and has calls.
    pub(super) fn busy_host(&mut self, may: impl Fn(HostId) -> bool) -> Option<HostId> {
        let dialling = self.plan.options.clients + self.instances.len();
        let gateways = GATEWAYS..GATEWAYS + self.gateways.len();
        let hosts = (0..dialling).chain(gateways).filter(|host| may(*host));
        let busy = hosts.filter(|host| self.host_is_up(*host) && self.calls_of_host(*host) > 0);
        let busy: Vec<HostId> = busy.collect();
        self.rng.choice(busy)
    }

    fn host_is_up(&self, host: HostId) -> bool {
        match self.place_of(host) {
            Place::Client(client) => self.clients[client].alive,
            Place::Instance(instance) => self.instances[instance].alive,
            Place::Gateway(gateway) => self.gateways[gateway].alive,
        }
    }

    fn place_of(&self, host: HostId) -> Place {
        let clients = self.plan.options.clients;
        match host {
            gateway if gateway >= GATEWAYS => Place::Gateway(gateway - GATEWAYS),
            client if client < clients => Place::Client(client),
            instance => Place::Instance(instance - clients),
        }
    }

    /// Calls that are open at a host.
    pub(super) fn calls_of_host(&self, host: HostId) -> usize {
        match self.place_of(host) {
            Place::Client(client) => self.clients[client].calls.len(),
            Place::Gateway(gateway) => self.gateways[gateway].calls.len(),
            Place::Instance(instance) => {
                let conns = self.instances[instance].conns.iter().flatten();
                conns.map(|conn| self.calls_on(*conn).len()).sum()
            }
        }
    }

    /// A fault is on a host, and so on all that it is connected to. Gives how many calls were open on it.
    pub(super) fn strike_host(&mut self, host: HostId) -> usize {
        let calls = self.calls_of_host(host);
        match self.place_of(host) {
            Place::Gateway(gateway) => self.strike_gateway(gateway),
            Place::Client(_) | Place::Instance(_) => {
                for conn in 0..self.conns.len() {
                    if self.conns[conn].hosts[0] == host {
                        self.strike_conn(conn);
                    }
                }
                let gateways = self.plan.options.gateways;
                for gateway in 0..gateways {
                    self.touch_link(host * gateways + gateway);
                }
            }
        }
        calls
    }

    pub(super) fn strike_gateway(&mut self, gateway: usize) {
        for conn in 0..self.conns.len() {
            if self.conns[conn].hosts[1] == gateway {
                self.strike_conn(conn);
            }
        }
        let gateways = self.plan.options.gateways;
        for link in (gateway..self.links.len()).step_by(gateways) {
            self.touch_link(link);
        }
        let calls: Vec<u32> = self.gateways[gateway].calls.keys().copied().collect();
        for call in calls {
            self.touch(call);
        }
    }

    fn strike_conn(&mut self, conn: usize) {
        if self.conns[conn].open.contains(&true) {
            self.touch_conn(conn);
            self.sick[conn] = true;
        }
    }

    /// A host is gone. `quietly`: nobody is told.
    pub(super) fn kill(&mut self, host: HostId, quietly: bool) {
        match self.place_of(host) {
            Place::Client(client) => self.kill_client(client, quietly),
            Place::Instance(instance) => self.kill_instance(instance, quietly),
            Place::Gateway(gateway) => self.kill_gateway(gateway, quietly),
        }
    }

    /// A host that was killed runs again.
    pub(super) fn revive(&mut self, host: HostId) {
        match self.place_of(host) {
            Place::Client(client) => self.clients[client].alive = true,
            Place::Instance(instance) if !self.instances[instance].alive => {
                self.restart_instance(instance);
            }
            Place::Instance(_) => {}
            Place::Gateway(gateway) => self.gateways[gateway].alive = true,
        }
    }
}

enum Place {
    Client(usize),
    Instance(usize),
    Gateway(usize),
}
