//! What happens to links and hosts.

use std::fmt;
use std::time::Duration;

use crate::net::{Change, Hit, Link, Node, TICK};

/// What goes from one host to another, or both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    from: Node,
    to: Node,
    both: bool,
}

/// The link between two hosts, both ways.
pub fn between(a: Node, b: Node) -> Line {
    Line {
        from: a,
        to: b,
        both: true,
    }
}

/// The link between two hosts, only from the first to the second.
pub fn one_way(from: Node, to: Node) -> Line {
    Line {
        from,
        to,
        both: false,
    }
}

/// Something that happens to a link or a host, until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A link delivers nothing, and once it is over all of it.
    Hold(Line),
    /// What a link carries is gone, and is not sent again: a connection that lost something stays silent
    /// when this is over.
    Part(Line),
    /// A link carries 300 bytes each way in a step: 60 KB/s.
    Drip(Line),
    /// A link carries one byte each way in so long; in whole steps of 5 ms.
    Crawl(Line, Duration),
    /// A host is gone without a word, until it starts anew.
    Crash(Node),
    /// A process is killed, and its host resets its connections, until it starts anew.
    Kill(Node),
    /// Another process takes an instance's id, with a later epoch. The instance that it replaces has ended,
    /// and starts anew when this is over.
    Replace(usize),
    /// Another process asks for an instance's id, with an earlier epoch.
    Stale(usize),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.both { "<->" } else { "->" };
        write!(f, "{} {arrow} {}", self.from, self.to)
    }
}

impl Line {
    fn link(self) -> Link {
        Link::new(self.from, self.to)
    }

    /// The changes that one way takes, for each way that is meant.
    fn ways(self, change: impl Fn(Node, Node) -> Change) -> Vec<Change> {
        let mut ways = vec![change(self.from, self.to)];
        if self.both {
            ways.push(change(self.to, self.from));
        }
        ways
    }
}

impl Fault {
    pub(super) fn begins(self) -> Vec<Change> {
        match self {
            Self::Hold(line) if line.both => vec![Change::Hold(line.link())],
            Self::Hold(line) => line.ways(Change::HoldOneWay),
            Self::Part(line) => line.ways(Change::Part),
            Self::Drip(line) => vec![Change::Drip(line.link(), true)],
            Self::Crawl(line, every) => {
                let steps = every.as_micros() / TICK.as_micros();
                vec![Change::Crawl(line.link(), Some(steps.max(1) as u64))]
            }
            Self::Crash(node) => vec![Change::Crash(node)],
            Self::Kill(node) => vec![Change::Stop(node)],
            Self::Replace(instance) => vec![Change::Rival(instance, true)],
            Self::Stale(instance) => vec![Change::Rival(instance, false)],
        }
    }

    pub(super) fn ends(self) -> Vec<Change> {
        match self {
            Self::Hold(line) if line.both => vec![Change::Release(line.link())],
            Self::Hold(line) => line.ways(Change::ReleaseOneWay),
            Self::Part(line) => line.ways(Change::Join),
            Self::Drip(line) => vec![Change::Drip(line.link(), false)],
            Self::Crawl(line, _) => vec![Change::Crawl(line.link(), None)],
            Self::Crash(node) | Self::Kill(node) => vec![Change::Start(node)],
            Self::Replace(instance) | Self::Stale(instance) => vec![Change::NoRival(instance)],
        }
    }

    /// What it hits; none where it may hurt nobody.
    pub(super) fn hit(self) -> Option<Hit> {
        match self {
            Self::Hold(line) | Self::Part(line) | Self::Drip(line) | Self::Crawl(line, _) => {
                Some(Hit::Link(line.link()))
            }
            Self::Crash(node) | Self::Kill(node) => Some(Hit::Host(node)),
            Self::Replace(instance) => Some(Hit::Host(Node::Instance(instance))),
            Self::Stale(_) => None,
        }
    }
}
