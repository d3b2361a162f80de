//! The hosts of a run, and the links between them.

use std::fmt;

use crate::plan::Options;

/// A host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A gateway.
    Gateway(usize),
    /// An instance, or an agent.
    Instance(usize),
    /// The server of an agent.
    Server(usize),
    /// Another process with an instance's id.
    Rival(usize),
    /// A client.
    Client(usize),
}

/// Every third instance is an agent.
pub(crate) fn is_agent(instance: usize) -> bool {
    instance % 3 == 1
}

impl Node {
    /// All hosts.
    pub(crate) fn all(options: &Options) -> Vec<Self> {
        let instances = 0..options.instances;
        let servers = instances.clone().filter(|i| is_agent(*i));
        let mut all: Vec<_> = (0..options.gateways).map(Node::Gateway).collect();
        all.extend(servers.map(Node::Server));
        all.extend(instances.clone().map(Node::Instance));
        all.extend(instances.filter(|_| options.rivals).map(Node::Rival));
        all.extend((0..options.clients).map(Node::Client));
        all
    }

    /// A number of its own.
    pub(crate) fn number(self) -> u64 {
        let (kind, n) = match self {
            Self::Gateway(n) => (0, n),
            Self::Instance(n) => (1, n),
            Self::Server(n) => (2, n),
            Self::Rival(n) => (3, n),
            Self::Client(n) => (4, n),
        };
        kind << 8 | n as u64
    }
}

/// Its name on the network.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(n) => write!(f, "gateway-{n}"),
            Self::Instance(n) => write!(f, "instance-{n}"),
            Self::Server(n) => write!(f, "server-{n}"),
            Self::Rival(n) => write!(f, "rival-{n}"),
            Self::Client(n) => write!(f, "client-{n}"),
        }
    }
}

/// The link between two hosts: whose lower end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link(pub(crate) Node, pub(crate) Node);

impl Link {
    pub(crate) fn new(a: Node, b: Node) -> Self {
        if a < b { Self(a, b) } else { Self(b, a) }
    }

    /// A number of its own.
    pub(crate) fn number(self) -> u64 {
        self.0.number() << 16 | self.1.number()
    }

    /// All links on which connections may be made.
    pub(crate) fn all(options: &Options) -> Vec<Self> {
        let mut all = Vec::new();
        for node in Node::all(options) {
            match node {
                Node::Server(n) => all.push(Self::new(Node::Instance(n), node)),
                Node::Gateway(_) => {}
                _ => all.extend((0..options.gateways).map(|g| Self::new(Node::Gateway(g), node))),
            }
        }
        all
    }
}
