//! Readers that stall: filling a call until its sender must wait, and seeing that it does.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use crate::client::{Client, Exchange};
use crate::probe::payload;
use crate::probe::side::{Counts, Watched};
use crate::stage::Stage;

/// Calls beside a stalled one, one after the other, while nothing of it moves: then it stands. Each of them
/// went there and back by the same connections, behind all that was under way.
pub(super) const BESIDE: usize = 20;

/// A stream window of clients that is no more than HTTP/2's own, in bytes: what a stalled reader holds itself.
pub(super) const CLIENT_WINDOW: u32 = 65_535;

/// A client that holds no more than [`CLIENT_WINDOW`] of each response.
pub(super) async fn narrow(stage: &Stage) -> Result<Client> {
    Client::with(stage.clients.addr(), |builder| {
        builder.initial_window_size(CLIENT_WINDOW);
    })
    .await
}

/// A request of messages of one size, of which a case sends as much as there is room for.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) messages: u32,
    pub(super) size: usize,
    at: u32,
    rest: Bytes,
}

impl Upload {
    pub(super) fn new(messages: u32, size: usize) -> Self {
        Self {
            messages,
            size,
            at: 0,
            rest: Bytes::new(),
        }
    }

    /// At least so many bytes, in messages of 16 KiB with their prefixes.
    pub(super) fn of_bytes(bytes: u64) -> Self {
        const SIZE: usize = 16 * 1024 - payload::PREFIX;
        let messages = bytes.div_ceil((SIZE + payload::PREFIX) as u64);
        Self::new(messages as u32, SIZE)
    }

    /// Sends what there is room for now: how many bytes.
    pub(super) async fn now(&mut self, exchange: &mut Exchange) -> Result<usize> {
        let mut sent = 0;
        while self.next() {
            let some = exchange.sending.send_now(&self.rest).await?;
            if some == 0 {
                break;
            }
            sent += some;
            self.rest = self.rest.slice(some..);
        }
        Ok(sent)
    }

    /// Sends all that is left, as there is room for it.
    pub(super) async fn all(&mut self, exchange: &mut Exchange) -> Result<()> {
        while self.next() {
            let rest = std::mem::take(&mut self.rest);
            exchange.sending.send_raw(rest).await?;
        }
        Ok(())
    }

    /// Sends until the sender must wait, and goes on waiting.
    pub(super) async fn stand(
        &mut self,
        exchange: &mut Exchange,
        beside: &mut Stage,
    ) -> Result<()> {
        let mut quiet = 0;
        while quiet < BESIDE {
            match self.now(exchange).await? {
                0 => quiet += 1,
                _ => quiet = 0,
            }
            beside.sibling().await?;
        }
        Ok(())
    }

    /// The checksum of all of it.
    pub(super) fn crc(&self) -> u32 {
        payload::crc_of_made(0, self.messages, self.size)
    }

    fn next(&mut self) -> bool {
        if self.rest.is_empty() && self.at < self.messages {
            self.rest = payload::framed_message(self.at, self.size);
            self.at += 1;
        }
        !self.rest.is_empty()
    }
}

/// Waits until a handler has stopped sending: what it has sent by then, in bytes of messages.
pub(super) async fn stopped(handler: &Watched, beside: &mut Stage) -> Result<u64> {
    let mut quiet = 0;
    let mut sent = handler.counts().sent.bytes;
    while quiet < BESIDE {
        beside.sibling().await?;
        let by_now = handler.counts().sent.bytes;
        match by_now == sent {
            true => quiet += 1,
            false => quiet = 0,
        }
        sent = by_now;
    }
    Ok(sent)
}

/// What is under way of a request, in bytes: its sender's transport has accepted them, and the handler's has not
/// given them to it.
pub(super) fn under_way(exchange: &Exchange, seen: &Counts) -> u64 {
    let prefixes = seen.handed.messages * payload::PREFIX as u64;
    let handed = seen.handed.bytes + prefixes;
    exchange.sending.sent().saturating_sub(handed)
}

/// No more is under way than was declared.
pub(super) fn bounded(what: &str, bytes: u64, bound: u64) -> Result<()> {
    ensure!(
        bytes <= bound,
        "{what}: {bytes} bytes are under way, {bound} were declared"
    );
    Ok(())
}

/// Reads so many messages of a response, each of which is the one that is due.
pub(super) async fn numbered(
    exchange: &mut Exchange,
    numbers: std::ops::Range<u32>,
    size: usize,
) -> Result<()> {
    for n in numbers {
        let message = exchange.message().await;
        let message = message.with_context(|| format!("message {n}"))?;
        let message = message.with_context(|| format!("an end instead of message {n}"))?;
        ensure!(
            message.bytes == payload::message(n, size),
            "another message instead of message {n}"
        );
    }
    Ok(())
}
