//! K5, K6, K8, K28: messages in order, none lost, none twice, and none that waits for another.

use anyhow::{Context, Result, ensure};

use crate::case::{CALLS, Case};
use crate::client::Exchange;
use crate::probe::{Script, payload};
use crate::rig::Rig;
use crate::run;

use super::{BIDI, CLIENT_STREAM, SERVER_STREAM, done, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("K5", CALLS, run!(in_order)),
    Case::new("K6", CALLS, run!(ping_pong)),
    Case::new("K8", CALLS, run!(large_and_last)),
    Case::new("K28", CALLS, run!(empty_messages)),
];

/// Messages of one direction.
const MANY: u32 = 10_000;
/// Bytes of each.
const SIZE: usize = 24;

async fn in_order(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    // Up: the handler's checksum is over every byte, in the order in which it took them.
    let script = Script::new().read_all().send(1, 4);
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    for n in 0..MANY {
        call.send(&payload::message(n, SIZE)).await?;
    }
    call.exchange.half_close();
    same(
        "status of the upload",
        call.exchange.answer().await?.status()?,
        0,
    )?;
    let seen = done(&call.handler).await?;
    same("messages taken", seen.taken.messages, u64::from(MANY))?;
    same(
        "their checksum",
        seen.crc,
        payload::crc_of_made(0, MANY, SIZE),
    )?;
    // Down.
    let script = Script::new().read_all().send(MANY, SIZE as u32);
    let mut call = stage.open(SERVER_STREAM, &script).await?;
    call.send(b"x").await?;
    call.exchange.half_close();
    numbered(&mut call.exchange, "download").await?;
    // Both at once, the reader so many messages behind.
    const BEHIND: u32 = 64;
    let mut call = stage.open(BIDI, &Script::new().echo_all()).await?;
    for n in 0..MANY {
        call.send(&payload::message(n, SIZE)).await?;
        if let Some(due) = n.checked_sub(BEHIND) {
            next(&mut call.exchange, due, "echo").await?;
        }
    }
    call.exchange.half_close();
    for due in MANY - BEHIND..MANY {
        next(&mut call.exchange, due, "echo").await?;
    }
    same(
        "status of the echo",
        call.exchange.answer().await?.status()?,
        0,
    )
}

async fn ping_pong(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut call = stage.open(BIDI, &Script::new().echo_all()).await?;
    for n in 0..1_000 {
        let message = payload::message(n, 16);
        call.send(&message).await?;
        let back = call
            .exchange
            .message()
            .await
            .with_context(|| format!("reply {n}"))?;
        same("the reply", back.context("an end")?.bytes, message)?;
    }
    call.exchange.half_close();
    same("status", call.exchange.answer().await?.status()?, 0)
}

async fn large_and_last(rig: Rig) -> Result<()> {
    const LARGE: usize = 3 << 20;
    let mut stage = rig.stage().await?;
    let script = Script::new().read_all().send(1, 4);
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    call.send(&payload::message(0, 100)).await?;
    let whole = payload::framed_message(1, LARGE);
    // In pieces that end nowhere near those of anybody else.
    let mut at = 0;
    while at < whole.len() {
        let piece = whole.slice(at..whole.len().min(at + 10_007));
        at += piece.len();
        call.exchange.sending.send_raw(piece).await?;
    }
    call.exchange.half_close();
    same("status", call.exchange.answer().await?.status()?, 0)?;
    let seen = done(&call.handler).await?;
    same("messages taken", seen.taken.messages, 2)?;
    let all = [payload::message(0, 100), payload::message(1, LARGE)];
    let crc = payload::crc(all.iter().map(|message| &message[..]));
    same("their checksum", seen.crc, crc)?;
    ensure!(seen.half_closed, "the handler saw no end of the request");
    Ok(())
}

async fn empty_messages(rig: Rig) -> Result<()> {
    const COUNT: u32 = 1_000;
    let mut stage = rig.stage().await?;
    let script = Script::new().read_all().send(COUNT, 0);
    let mut call = stage.open(BIDI, &script).await?;
    for _ in 0..COUNT {
        call.send(b"").await?;
    }
    call.exchange.half_close();
    let answer = call.exchange.answer().await?;
    ok(&answer)?;
    same(
        "messages that came back",
        answer.messages.len(),
        COUNT as usize,
    )?;
    let empty = answer
        .messages
        .iter()
        .all(|message| message.bytes.is_empty());
    ensure!(empty, "some of them have bytes");
    let seen = done(&call.handler).await?;
    same(
        "messages that the handler took",
        seen.taken.messages,
        u64::from(COUNT),
    )
}

/// Reads messages to the end: each is the one that is due.
async fn numbered(exchange: &mut Exchange, what: &str) -> Result<()> {
    for due in 0..MANY {
        next(exchange, due, what).await?;
    }
    let answer = exchange.answer().await?;
    same("messages beyond the last one", answer.messages.len(), 0)?;
    ok(&answer)
}

async fn next(exchange: &mut Exchange, due: u32, what: &str) -> Result<()> {
    let message = exchange.message().await;
    let message = message.with_context(|| format!("{what}, message {due}"))?;
    let message = message.with_context(|| format!("{what}: an end instead of message {due}"))?;
    ensure!(
        message.bytes == payload::message(due, SIZE),
        "{what}: instead of message {due} one of {} bytes that begins with {:02x?}",
        message.bytes.len(),
        &message.bytes[..message.bytes.len().min(4)]
    );
    Ok(())
}
