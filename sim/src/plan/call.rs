//! The plan of one call: what both of its edges are to do.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::{Options, spread_us, weighted};

/// The kinds of RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One message each way.
    Unary,
    /// Many messages, and one.
    ClientStream,
    /// One message, and many.
    ServerStream,
    /// Many messages each way.
    Bidi,
}

impl Kind {
    /// All four.
    pub const ALL: [Self; 4] = [
        Self::Unary,
        Self::ClientStream,
        Self::ServerStream,
        Self::Bidi,
    ];
}

/// What a handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handler {
    /// It reads nothing for so long.
    pub stall: Duration,
    /// Then it takes this many bytes at a time, ...
    pub take: usize,
    /// ... so long after one another.
    pub pause: Duration,
    /// It answers each message as it comes; otherwise all of them after the request's end.
    pub echoes: bool,
    /// It answers before it has read anything.
    pub early: bool,
    /// Its status.
    pub status: u32,
}

/// The plan of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallPlan {
    /// Its kind.
    pub kind: Kind,
    /// The client that makes it.
    pub client: usize,
    /// When it begins.
    pub start: Duration,
    /// The instance that it is for; none for any.
    pub pinned: Option<usize>,
    /// Sizes of the request's messages, in bytes.
    pub request: Arc<[u32]>,
    /// Sizes of the response's messages, in bytes.
    pub response: Arc<[u32]>,
    /// The key that it carries in its metadata.
    pub key: Option<Arc<str>>,
    /// Between messages of the request.
    pub gap: Duration,
    /// Each message of either side, and each piece of a long one, waits until what was before it is delivered.
    pub lock_step: bool,
    /// The client takes nothing of the response for so long.
    pub reader_stall: Duration,
    /// What the handler does.
    pub handler: Handler,
    /// The call's timeout.
    pub timeout: Option<Duration>,
    /// When the client gives up.
    pub cancel: Option<Duration>,
}

impl CallPlan {
    /// A small unary call of one client to one instance, which answers at once.
    pub fn small(client: usize, instance: usize) -> Self {
        Self {
            kind: Kind::Unary,
            client,
            start: Duration::ZERO,
            pinned: Some(instance),
            request: [100].into(),
            response: [100].into(),
            key: None,
            gap: Duration::ZERO,
            lock_step: false,
            reader_stall: Duration::ZERO,
            handler: Handler::PROMPT,
            timeout: None,
            cancel: None,
        }
    }
}

impl Handler {
    /// Reads all, answers all, and says OK.
    pub const PROMPT: Self = Self {
        stall: Duration::ZERO,
        take: usize::MAX,
        pause: Duration::ZERO,
        echoes: false,
        early: false,
        status: 0,
    };
}

pub(super) fn draw(rng: &mut Rng, options: &Options) -> Vec<CallPlan> {
    (0..options.calls).map(|_| one(rng, options)).collect()
}

fn one(rng: &mut Rng, options: &Options) -> CallPlan {
    let kind = weighted(rng, &Kind::ALL.map(|kind| (1, kind)));
    let tiny = options.tiny && rng.u8(..12) == 0;
    let echoes = kind == Kind::Bidi && rng.bool();
    let many = |rng: &mut Rng| sizes(rng, options, tiny);
    let (request, mut response) = match kind {
        Kind::Unary => (vec![size(rng, options)], vec![size(rng, options)]),
        Kind::ClientStream => (many(rng), vec![size(rng, options)]),
        Kind::ServerStream => (vec![size(rng, options)], many(rng)),
        Kind::Bidi => (many(rng), many(rng)),
    };
    if echoes {
        response.clone_from(&request);
    }
    let failed = rng.u32(1..=16);
    let status = weighted(rng, &[(9, 0), (1, failed)]);
    // An instance that fails a call at once may still have much to read.
    let early = rng.u8(..10) == 0;
    if status != 0 || early {
        response.truncate(rng.usize(0..=response.len()));
    }
    // OK after too few messages of a unary answer is for endpoints to judge, not for a gateway.
    let slow = rng.u8(..5) == 0;
    let messages = request.len() as u64;
    let us = |us: u64| Duration::from_micros(us);
    let rtt_us = 4 * (options.latency + options.jitter).as_micros() as u64;
    let near = |rng: &mut Rng| us(rtt_us / 2 + rng.u64(..rtt_us * 4 + 2_000));
    let timeout = match rng.u8(..6) {
        0 if options.tight_deadlines => Some(near(rng)),
        0..3 => Some(us(spread_us(rng, 50_000, 20_000_000))),
        _ => None,
    };
    let cancel = match rng.u8(..10) {
        0 if options.tight_cancels => Some(near(rng)),
        1 => Some(us(spread_us(rng, 500, 2_000_000))),
        _ => None,
    };
    CallPlan {
        kind,
        client: rng.usize(..options.clients),
        start: us(rng.u64(..options.span.as_micros() as u64)),
        pinned: rng.bool().then(|| rng.usize(..options.instances)),
        request: request.into(),
        response: response.into(),
        key: None,
        // Three seconds in all, however many messages there are.
        gap: if slow {
            us(rng.u64(..20_000).min(3_000_000 / (messages + 1)))
        } else {
            Duration::ZERO
        },
        lock_step: false,
        reader_stall: if rng.u8(..6) == 0 {
            us(spread_us(rng, 1_000, 3_000_000))
        } else {
            Duration::ZERO
        },
        handler: Handler {
            stall: if rng.u8(..4) == 0 || tiny {
                us(spread_us(rng, 1_000, options.stall.as_micros() as u64))
            } else {
                Duration::ZERO
            },
            take: weighted(rng, &[(4, usize::MAX), (1, 4_096), (1, 700)]),
            pause: if slow {
                us(rng.u64(..2_000))
            } else {
                Duration::ZERO
            },
            echoes: echoes && !early && status == 0,
            early,
            status,
        },
        timeout,
        cancel,
    }
}

fn sizes(rng: &mut Rng, options: &Options, tiny: bool) -> Vec<u32> {
    if tiny {
        return vec![rng.u32(0..8); rng.usize(300..1_200)];
    }
    (0..rng.usize(0..26)).map(|_| size(rng, options)).collect()
}

fn size(rng: &mut Rng, options: &Options) -> u32 {
    const MIB: u32 = 1024 * 1024;
    let most = weighted(
        rng,
        &[
            (2, 1),
            (8, 200),
            (3, 4_200),
            (1, 40_000),
            (u32::from(options.bulk), 3 * MIB + 1),
        ],
    );
    rng.u32(..most)
}
