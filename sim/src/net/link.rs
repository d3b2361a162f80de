//! What faults do to connections beyond what the network itself can: one-way holds, drips, cuts in the
//! middle of a frame, and ends that neither read nor write any more.

use std::collections::BTreeMap;
use std::task::{Context, Waker};

use super::node::{Link, Node};

/// Bytes that a dripping link carries each way in one step of the simulation.
const DRIP: usize = 300;

/// The ends of all connections.
#[derive(Debug, Default)]
pub(crate) struct Links {
    ends: BTreeMap<u64, End>,
    next: u64,
    /// One-way holds, by who sends and who would receive.
    held: BTreeMap<(Node, Node), u32>,
    dripping: BTreeMap<Link, u32>,
    /// Links that carry one byte each way in so many steps.
    crawling: BTreeMap<Link, u64>,
    /// Steps so far.
    steps: u64,
    /// Connections that were cut so far, in the middle of what they sent.
    cuts: usize,
}

/// One end of a connection.
#[derive(Debug)]
struct End {
    local: Node,
    remote: Node,
    /// It is reset after so many bytes more.
    cut_after: Option<usize>,
    /// It says that it writes and does not, and reads nothing.
    deaf: bool,
    /// Bytes written in this step.
    written: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Whether an end may read or write now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    /// So many bytes at most.
    Go(usize),
    /// Nothing yet.
    Wait,
    /// All of it, to nowhere.
    Swallow,
    /// The connection was reset.
    Fail,
}

impl Links {
    /// One end of a new connection.
    pub(crate) fn open(&mut self, local: Node, remote: Node) -> u64 {
        self.next += 1;
        let end = End {
            local,
            remote,
            cut_after: None,
            deaf: false,
            written: 0,
            reader: None,
            writer: None,
        };
        self.ends.insert(self.next, end);
        self.next
    }

    /// It was dropped.
    pub(crate) fn close(&mut self, id: u64) {
        self.ends.remove(&id);
    }

    /// A number for what an end reads or writes.
    pub(crate) fn number(&self, id: u64) -> u64 {
        self.ends.get(&id).map_or(0, |end| {
            end.local.number() << 16 | end.remote.number() & 0xffff
        })
    }

    /// Whether an end may write `len` bytes.
    pub(crate) fn may_write(&mut self, id: u64, len: usize, cx: &Context<'_>) -> Permit {
        let Some(end) = self.ends.get_mut(&id) else {
            return Permit::Fail;
        };
        let link = Link::new(end.local, end.remote);
        let drips = self.dripping.get(&link).is_some_and(|n| *n > 0);
        let room = match self.crawling.get(&link) {
            Some(every) if !self.steps.is_multiple_of(*every) => 0,
            Some(_) => 1_usize.saturating_sub(end.written),
            None if drips => DRIP.saturating_sub(end.written),
            None => usize::MAX,
        };
        match end.cut_after {
            _ if end.deaf => Permit::Swallow,
            Some(0) => Permit::Fail,
            _ if room == 0 => {
                end.writer = Some(cx.waker().clone());
                Permit::Wait
            }
            cut => Permit::Go(len.min(room).min(cut.unwrap_or(usize::MAX))),
        }
    }

    /// An end wrote so many bytes.
    pub(crate) fn wrote(&mut self, id: u64, bytes: usize) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.written += bytes;
            if let Some(left) = &mut end.cut_after {
                *left = left.saturating_sub(bytes);
                if *left == 0 && bytes > 0 {
                    self.cuts += 1;
                    wake(&mut end.reader);
                }
            }
        }
    }

    /// Whether an end may read.
    pub(crate) fn may_read(&mut self, id: u64, cx: &Context<'_>) -> Permit {
        let Some(end) = self.ends.get_mut(&id) else {
            return Permit::Fail;
        };
        let held = self.held.get(&(end.remote, end.local));
        if end.cut_after == Some(0) {
            return Permit::Fail;
        }
        // Also where it reads now: a fault may stop it later, with no other waker at hand.
        end.reader = Some(cx.waker().clone());
        match end.deaf || held.is_some_and(|n| *n > 0) {
            true => Permit::Wait,
            false => Permit::Go(usize::MAX),
        }
    }

    /// Nothing is delivered from one host to the other, until released as often.
    pub(crate) fn hold(&mut self, from: Node, to: Node) {
        *self.held.entry((from, to)).or_default() += 1;
    }

    /// The end of one hold.
    pub(crate) fn release(&mut self, from: Node, to: Node) {
        if let Some(held) = self.held.get_mut(&(from, to)) {
            *held = held.saturating_sub(1);
        }
        self.wake(Link::new(from, to));
    }

    /// A link carries few bytes, or one fault less makes it so.
    pub(crate) fn drip(&mut self, link: Link, on: bool) {
        let drips = self.dripping.entry(link).or_default();
        *drips = if on {
            *drips + 1
        } else {
            drips.saturating_sub(1)
        };
        if !on {
            self.wake(link);
        }
    }

    /// A link carries one byte each way in so many steps; or, with none, as much as comes.
    pub(crate) fn crawl(&mut self, link: Link, every: Option<u64>) {
        match every {
            Some(every) => drop(self.crawling.insert(link, every)),
            None => drop(self.crawling.remove(&link)),
        }
    }

    /// A step is over: dripping links may carry something again.
    pub(crate) fn tick(&mut self) {
        self.steps += 1;
        for end in self.ends.values_mut() {
            end.written = 0;
            wake(&mut end.writer);
        }
    }

    /// Ends of connections over a link.
    pub(crate) fn ends(&self, link: Link) -> Vec<u64> {
        let ends = self.ends.iter();
        let over = ends.filter(|(_, end)| Link::new(end.local, end.remote) == link);
        over.map(|(id, _)| *id).collect()
    }

    /// The latest connection's end at one host towards another.
    pub(crate) fn end_at(&self, local: Node, remote: Node) -> Option<u64> {
        let mut ends = self.ends.iter().rev();
        let found = ends.find(|(_, end)| end.local == local && end.remote == remote);
        found.map(|(id, _)| *id)
    }

    /// How many ends there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// An end of a connection is reset once it has written so many bytes more; or never, unless it was.
    pub(crate) fn cut(&mut self, id: u64, after: Option<usize>) {
        if let Some(end) = self.ends.get_mut(&id)
            && end.cut_after != Some(0)
        {
            end.cut_after = after;
        }
    }

    /// How many connections were cut so far, in the middle of what they sent.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts
    }

    /// A process has ended: what it was connected to is reset.
    pub(crate) fn reset(&mut self, gone: Node) {
        for end in self.ends.values_mut().filter(|end| end.remote == gone) {
            end.cut_after = Some(0);
            wake(&mut end.reader);
            wake(&mut end.writer);
        }
    }

    /// An end of a connection is gone without the other one's hearing of it.
    pub(crate) fn deafen(&mut self, id: u64) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.deaf = true;
        }
    }

    fn wake(&mut self, link: Link) {
        for end in self.ends.values_mut() {
            if Link::new(end.local, end.remote) == link {
                wake(&mut end.reader);
                wake(&mut end.writer);
            }
        }
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
