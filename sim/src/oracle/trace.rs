//! What happened, in order: the last of it for people, and a hash of all of it.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use crate::report::Watch;

/// Where something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// At a call's client.
    Client,
    /// At a call's handler.
    Handler,
    /// At a gateway.
    Gateway,
    /// On the network, or to a host: mostly a fault.
    World,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names say it")]
pub enum What {
    Started,
    Handed,
    Delivered,
    RequestEnd,
    Finished,
    Cancelled,
    Ended,
    Abandoned,
    Touched,
    Dialled,
    Registered,
    Refused,
    TunnelEnded,
    Opened,
    Retried,
    Segment,
    Fault,
    Mended,
    Healed,
}

/// One thing that happened.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// Virtual time, in microseconds.
    pub at_us: u64,
    /// Where.
    pub edge: Edge,
    /// What.
    pub what: What,
    /// The call that it is about; `u32::MAX` for none.
    pub call: u32,
    /// Bytes, a host's number, a status: what belongs to `what`.
    pub n: u64,
}

/// The call of an event that is about none.
pub(super) const NO_CALL: u32 = u32::MAX;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at_us as f64 / 1e3;
        let edge = format!("{:?}", self.edge).to_lowercase();
        write!(f, "{at:>12.3} ms  {edge:<8}{:?} {}", self.what, self.n)?;
        if self.call != NO_CALL {
            write!(f, "  call {}", self.call)?;
        }
        Ok(())
    }
}

/// Events kept for people.
const KEPT: usize = 8_192;

/// What happened so far.
#[derive(Debug)]
pub struct Trace {
    last: VecDeque<Event>,
    hash: DefaultHasher,
    /// Whether the bytes of segments are hashed too, not only their lengths.
    whole: bool,
    print: bool,
}

impl Trace {
    /// An empty trace, watched so.
    pub fn new(watch: Watch) -> Self {
        Self {
            last: VecDeque::new(),
            hash: DefaultHasher::new(),
            whole: watch.whole,
            print: watch.print,
        }
    }

    /// Something happened.
    pub fn push(&mut self, event: Event) {
        let Event {
            at_us,
            edge,
            what,
            call,
            n,
        } = event;
        self.hash.write_u64(at_us);
        self.hash.write_u64(n);
        self.hash
            .write_u64(u64::from(call) << 16 | (edge as u64) << 8 | what as u64);
        if self.print {
            println!("{event}");
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(event);
    }

    /// Bytes went over the network.
    pub fn segment(&mut self, at_us: u64, link: u64, bytes: &[u8]) {
        self.hash.write_u64(at_us);
        self.hash.write_u64(link << 32 | bytes.len() as u64);
        if self.whole {
            self.hash.write(bytes);
        }
    }

    /// Of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// The last events at both edges of a call and in the world, at most `max` of each.
    pub fn about(&self, call: Option<u32>, max: usize) -> Vec<Event> {
        let of_call = |event: &&Event| call.is_some() && Some(event.call) == call;
        let of_world = |event: &&Event| event.call == NO_CALL;
        let recent = self.last.iter().rev();
        let mut events: Vec<Event> = recent.clone().filter(of_call).take(max).copied().collect();
        events.extend(recent.filter(of_world).take(max));
        events.sort_by_key(|event| event.at_us);
        events
    }
}
