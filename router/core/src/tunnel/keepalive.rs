//! Heartbeats: what proves that the peer lives, and how far away it is.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sabotage::{self, Sabotage};
use crate::time::Time;

/// Round trips older than this no longer count.
const RTT_MEMORY: Duration = Duration::from_secs(60);
/// A round trip as old as this is measured anew by a side that leaves its heartbeats out.
const RTT_STALE: Duration = Duration::from_secs(30);
/// Round trips remembered at most.
const RTT_SAMPLES: usize = 64;

#[derive(Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    /// Whether the peer's questions stand for this side's own. Only one side may: two that wait for each other
    /// would ask at the same time.
    yields: bool,
    last_heard: Time,
    next_beat: Time,
    nonce: u64,
    /// The heartbeat that waits for its answer.
    waiting: Option<(u64, Time)>,
    /// What is to be sent with the next batch: one of each at most, however many the peer sends.
    beat_due: bool,
    answer_due: Option<u64>,
    rtts: VecDeque<(Time, Duration)>,
}

impl Keepalive {
    pub(super) fn new(now: Time, interval: Duration, yields: bool) -> Self {
        Self {
            interval,
            yields,
            last_heard: now,
            next_beat: now,
            nonce: 0,
            waiting: None,
            beat_due: false,
            answer_due: None,
            rtts: VecDeque::new(),
        }
    }

    /// Bytes came: the peer lives.
    pub(super) fn heard(&mut self, now: Time) {
        self.last_heard = now;
    }

    /// A heartbeat came. Zero is no number: nothing was asked, or nothing answered.
    /// Gives the round trip that it ends.
    pub(super) fn on_heartbeat(
        &mut self,
        now: Time,
        nonce: u64,
        reply_to: u64,
    ) -> Option<Duration> {
        let answered = self.waiting.take_if(|(waiting, _)| *waiting == reply_to);
        let rtt = answered.map(|(_, sent)| now - sent);
        if let Some(rtt) = rtt {
            if self.rtts.len() == RTT_SAMPLES {
                self.rtts.pop_front();
            }
            self.rtts.push_back((now, rtt));
        }
        if nonce != 0 {
            self.answer_due = Some(nonce);
            if self.yields {
                self.leave_out(now);
            }
        }
        rtt
    }

    /// The peer asks, so its silence shows without a question of this side's own. The next one goes with an
    /// answer when the round trip is to be measured, else where the peer's questions stay away for half an
    /// interval.
    fn leave_out(&mut self, now: Time) {
        let measured = self.rtts.back().map(|(at, _)| *at);
        if measured.is_none_or(|at| now - at >= RTT_STALE) {
            self.beat_due = true;
        }
        self.next_beat = now + self.interval + self.interval / 2;
    }

    /// When something is to be done.
    pub(super) fn timeout(&self) -> Time {
        if sabotage::is(Sabotage::HeartbeatIgnored) {
            return self.next_beat;
        }
        self.next_beat.min(self.last_heard + self.interval * 2)
    }

    /// Time passed. Fails with the length of the silence when the peer is to be given up.
    pub(super) fn on_timeout(&mut self, now: Time) -> Result<(), Duration> {
        let silence = now - self.last_heard;
        if silence >= self.interval * 2 && !sabotage::is(Sabotage::HeartbeatIgnored) {
            return Err(silence);
        }
        if now >= self.next_beat {
            self.beat_due = true;
            self.next_beat = now + self.interval;
        }
        Ok(())
    }

    pub(super) fn is_due(&self) -> bool {
        self.beat_due || self.answer_due.is_some()
    }

    /// What to send now: (nonce, reply_to), either of them zero for none.
    pub(super) fn take_due(&mut self, now: Time) -> Option<(u64, u64)> {
        if !self.is_due() {
            return None;
        }
        let mut nonce = 0;
        if std::mem::take(&mut self.beat_due) {
            self.nonce += 1;
            nonce = self.nonce;
            self.waiting = Some((nonce, now));
        }
        Some((nonce, self.answer_due.take().unwrap_or(0)))
    }

    /// The smallest round trip of the last minute.
    pub(super) fn rtt(&self, now: Time) -> Option<Duration> {
        let recent = self.rtts.iter().filter(|(at, _)| now - *at <= RTT_MEMORY);
        recent.map(|(_, rtt)| *rtt).min()
    }
}
