//! What one end of a tunnel said and heard: cases judge frames by it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use grpcrouter_proto::v1::{
    RegisterRequest, RegisterResponse, register_request, register_response,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Frame;
use crate::wait::{LIMIT, now, within};

/// Frames that a tap keeps: those of 10,000 messages both ways, with their grants.
const KEEP: usize = 65_536;

/// A log of frames. Clones are the same log.
#[derive(Debug, Clone)]
pub struct Tap {
    inner: Arc<Inner>,
}

/// One frame.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whether the suite's end said it, or heard it.
    pub way: Way,
    /// Since the tap began.
    pub at: Duration,
    /// The frame, without its data.
    pub frame: Seen,
}

/// Which end a frame came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The suite's.
    Sent,
    /// The subject's.
    Received,
}

/// A frame whose data is gone, and how many bytes that was.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// From an instance.
    Request(RegisterRequest, usize),
    /// From a gateway.
    Response(RegisterResponse, usize),
}

/// What frames of calls have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfCall {
    /// The call.
    pub id: u64,
    /// The sum of its flags.
    pub flags: u32,
    /// The number among its frames with data.
    pub seq: u32,
    /// Credit that it grants, in bytes.
    pub window: u32,
    /// Bytes of data.
    pub data: usize,
    /// With RESET: the code.
    pub reset_code: u32,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    log: Mutex<Log>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Entry>,
    dropped: u64,
}

impl Default for Tap {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                began: now(),
                log: Mutex::default(),
                more: Notify::new(),
            }),
        }
    }
}

impl Tap {
    /// All that it holds, in order.
    pub fn entries(&self) -> Vec<Entry> {
        self.log().entries.iter().cloned().collect()
    }

    /// Frames of calls that came or went this way, in order.
    pub fn calls(&self, way: Way) -> Vec<OfCall> {
        let log = self.log();
        let own = log.entries.iter().filter(|entry| entry.way == way);
        own.filter_map(|entry| entry.frame.of_call()).collect()
    }

    /// How many frames it forgot: the first ones, once it was full. A case that judges all must find 0.
    pub fn dropped(&self) -> u64 {
        self.log().dropped
    }

    /// Waits for a frame, past or to come.
    ///
    /// # Errors
    /// Where none comes.
    pub async fn wait(&self, what: &str, holds: impl Fn(&Entry) -> bool) -> Result<Entry> {
        within(what, LIMIT, async {
            loop {
                let more = self.inner.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if let Some(entry) = self.log().entries.iter().find(|entry| holds(entry)) {
                    return entry.clone();
                }
                more.await;
            }
        })
        .await
    }

    pub(super) fn saw(&self, way: Way, frame: &impl Frame) {
        let entry = Entry {
            way,
            at: self.inner.began.elapsed(),
            frame: frame.seen(),
        };
        let mut log = self.log();
        if log.entries.len() == KEEP {
            log.entries.pop_front();
            log.dropped += 1;
        }
        log.entries.push_back(entry);
        drop(log);
        self.inner.more.notify_waiters();
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.inner
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// What it says of a call; none where it is of none.
    pub fn of_call(&self) -> Option<OfCall> {
        match self {
            Self::Request(frame, data) => match &frame.frame {
                Some(register_request::Frame::RpcResponse(part)) => Some(OfCall {
                    id: part.request_id,
                    flags: part.flags,
                    seq: part.seq,
                    window: part.window,
                    data: *data,
                    reset_code: part.reset_code,
                }),
                _ => None,
            },
            Self::Response(frame, data) => match &frame.frame {
                Some(register_response::Frame::RpcCall(part)) => Some(OfCall {
                    id: part.request_id,
                    flags: part.flags,
                    seq: part.seq,
                    window: part.window,
                    data: *data,
                    reset_code: part.reset_code,
                }),
                _ => None,
            },
        }
    }
}
