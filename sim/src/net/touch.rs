//! Which calls a fault touches, and how much later they may be for it.

use std::time::Duration;

use grpcrouter_core::Time;

use crate::oracle::{Ledger, Slack};

use super::node::{Link, Node};

/// What a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    /// Both ends of a link stay up.
    Link(Link),
    /// A host.
    Host(Node),
    /// The whole network.
    Everything,
}

/// Where a call goes, as far as it is known.
#[derive(Debug, Clone, Copy)]
struct Path {
    client: usize,
    /// The latest gateway that its client tried.
    gateway: Option<usize>,
    /// The instance that it is for, or at which it came.
    instance: Option<usize>,
    /// How much later than without faults it may be: for as long as any fault on it was felt.
    extra: Duration,
    /// Until when the faults so far are felt.
    felt_until: Time,
}

/// A fault that may still be felt.
#[derive(Debug, Clone, Copy)]
struct Shadow {
    hit: Hit,
    until: Time,
    extra: Duration,
    /// When it may be felt first by a call that its handler already had: a drain lets those finish.
    spares: Option<Time>,
}

/// Who was touched, and who will be.
#[derive(Debug, Default)]
pub(crate) struct Touches {
    paths: Vec<Path>,
    shadows: Vec<Shadow>,
    /// The slack of a call that nothing touched.
    base: Slack,
}

impl Touches {
    pub(crate) fn new(base: Slack) -> Self {
        Self {
            paths: Vec::new(),
            shadows: Vec::new(),
            base,
        }
    }

    /// A call that is about to be made, the next one by number.
    pub(crate) fn add(&mut self, client: usize, pinned: Option<usize>) {
        self.paths.push(Path {
            client,
            gateway: None,
            instance: pinned,
            extra: Duration::ZERO,
            felt_until: Time::ZERO,
        });
    }

    /// How much later than at once things may happen to a call.
    pub(crate) fn slack(&self, call: u32) -> Slack {
        self.base + self.paths[call as usize].extra
    }

    /// Its client tries a gateway.
    pub(crate) fn goes_to_gateway(
        &mut self,
        ledger: &mut Ledger,
        now: Time,
        call: u32,
        gateway: usize,
    ) {
        self.paths[call as usize].gateway = Some(gateway);
        self.goes_on(ledger, now, call);
    }

    /// What is felt on its path, as far as that is known, is in its way.
    pub(crate) fn goes_on(&mut self, ledger: &mut Ledger, now: Time, call: u32) {
        self.shadows.retain(|shadow| shadow.until > now);
        for shadow in self.shadows.clone() {
            self.touch(ledger, now, call, shadow);
        }
    }

    /// It came to an instance.
    pub(crate) fn came_to_instance(&mut self, call: u32, instance: usize) {
        self.paths[call as usize].instance = Some(instance);
    }

    /// Calls that are open on what a fault would hit.
    pub(crate) fn open_on(&self, ledger: &Ledger, hit: Hit) -> Vec<u32> {
        let all = self.paths.iter().zip(ledger.records()).zip(0..);
        let open = all.filter(|((path, record), _)| record.is_open() && path.surely(hit));
        open.map(|(_, call)| call).collect()
    }

    /// A fault begins, and is felt until then at the latest. It makes calls `extra` later at most.
    pub(crate) fn begin(
        &mut self,
        ledger: &mut Ledger,
        now: Time,
        hit: Hit,
        until: Time,
        extra: Duration,
    ) {
        let shadow = Shadow {
            hit,
            until,
            extra,
            spares: None,
        };
        self.cast(ledger, now, shadow);
    }

    /// A host drains: calls that it has are cut after `limit` at the earliest, all others may fail of it from
    /// now on.
    pub(crate) fn drain(
        &mut self,
        ledger: &mut Ledger,
        now: Time,
        node: Node,
        limit: Duration,
        extra: Duration,
    ) {
        let shadow = Shadow {
            hit: Hit::Host(node),
            until: now + extra,
            extra,
            spares: Some(now + limit),
        };
        self.cast(ledger, now, shadow);
    }

    fn cast(&mut self, ledger: &mut Ledger, now: Time, shadow: Shadow) {
        self.shadows.push(shadow);
        let hit = shadow.hit;
        for call in 0..self.paths.len() as u32 {
            let record = ledger.record(call);
            if record.is_open() {
                self.touch(ledger, now, call, shadow);
            } else if record
                .ended()
                .is_some_and(|ended| now <= ended + self.slack(call))
            {
                // Its handler may not have heard yet, and then hears that much later.
                let path = &mut self.paths[call as usize];
                if path.may(hit) {
                    path.feel(now, shadow);
                }
            }
        }
    }

    /// What hit this is over, and is felt until then at the latest.
    pub(crate) fn end(&mut self, hit: Hit, until: Time) {
        for shadow in self.shadows.iter_mut().filter(|shadow| shadow.hit == hit) {
            shadow.until = shadow.until.min(until);
        }
    }

    fn touch(&mut self, ledger: &mut Ledger, now: Time, call: u32, shadow: Shadow) {
        let base = self.base;
        let path = &mut self.paths[call as usize];
        if path.may(shadow.hit) {
            let runs = path.surely(shadow.hit) && ledger.record(call).runs() > 0;
            let from = shadow.spares.filter(|_| runs).unwrap_or(now);
            path.feel(now, shadow);
            // Its last word is under way for a while.
            ledger.touched(now, call, from..=shadow.until + base);
        }
    }
}

impl Path {
    /// A fault on it is felt from now on. What several are felt at the same time counts once.
    fn feel(&mut self, now: Time, shadow: Shadow) {
        let from = now.max(self.felt_until);
        if shadow.until > from {
            self.extra += (shadow.until - from).min(shadow.extra);
            self.felt_until = shadow.until;
        }
    }

    /// Whether it goes over what is hit, for all that is known.
    fn may(&self, hit: Hit) -> bool {
        let gateway = |g| self.gateway.is_none_or(|gateway| gateway == g);
        let instance = |i| self.instance.is_none_or(|instance| instance == i);
        match hit {
            Hit::Everything => true,
            Hit::Host(Node::Gateway(g)) => gateway(g),
            Hit::Host(Node::Instance(i) | Node::Server(i) | Node::Rival(i)) => instance(i),
            Hit::Host(Node::Client(c)) => self.client == c,
            Hit::Link(Link(Node::Gateway(g), Node::Client(c))) => self.client == c && gateway(g),
            Hit::Link(Link(Node::Gateway(g), Node::Instance(i) | Node::Rival(i))) => {
                gateway(g) && instance(i)
            }
            Hit::Link(Link(Node::Instance(i), _)) => instance(i),
            Hit::Link(_) => true,
        }
    }

    /// Whether it is known to.
    fn surely(&self, hit: Hit) -> bool {
        let at_gateway = self.gateway.is_some();
        let at_instance = self.instance.is_some();
        let known = match hit {
            Hit::Everything | Hit::Host(Node::Client(_)) => true,
            Hit::Host(Node::Gateway(_)) | Hit::Link(Link(Node::Gateway(_), Node::Client(_))) => {
                at_gateway
            }
            Hit::Host(_) => at_instance,
            Hit::Link(_) => at_gateway && at_instance,
        };
        known && self.may(hit)
    }
}
