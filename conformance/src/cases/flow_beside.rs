//! ZB-4, ZB-6, Z9: calls beside stalled ones, and what is left of a stall.

use anyhow::{Context, Result, ensure};

use crate::case::{Case, ROUTED};
use crate::probe::{Script, payload};
use crate::rig::Rig;
use crate::run;
use crate::stage::{Probed, Stage};

use super::stall::{self, Upload};
use super::{BIDI, CLIENT_STREAM, SERVER_STREAM, done, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("ZB-4", ROUTED, run!(isolated)),
    Case::new("ZB-6", ROUTED, run!(no_residue)),
    Case::new("Z9", ROUTED, run!(tiny)),
];

/// Calls that are active beside those that stall.
const ACTIVE: usize = 99;

async fn isolated(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    stage.client = stall::narrow(&stage).await?;
    for (stalled, size) in [(1, 16_379), (50, 16_379), (1, 0), (50, 0)] {
        let mut calls = Vec::new();
        for n in 0..stalled {
            let call = match n % 2 {
                0 => fills(&mut stage, size).await,
                _ => overflows(&mut stage, size).await,
            };
            calls.push(call.with_context(|| format!("stalled call {n}"))?);
        }
        active(&mut stage)
            .await
            .with_context(|| format!("beside {stalled} stalled calls of {size} B messages"))?;
        for call in &mut calls {
            call.exchange.cancel();
        }
        for call in &calls {
            call.handler.cancelled().await?;
        }
    }
    Ok(())
}

/// A request that nobody reads.
async fn fills(stage: &mut Stage, size: usize) -> Result<Probed> {
    let script = Script::new().head().wait("never");
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    call.handler.waiting("never").await?;
    // Small ones are many by their number, whether or not they fill the windows.
    let messages = if size < 100 { 2_000 } else { 1_000 };
    let mut upload = Upload::new(messages, size);
    let mut quiet = 0;
    while quiet < 3 {
        match upload.now(&mut call.exchange).await? {
            0 => quiet += 1,
            _ => quiet = 0,
        }
        stage.sibling().await?;
    }
    Ok(call)
}

/// A response that nobody reads.
async fn overflows(stage: &mut Stage, size: usize) -> Result<Probed> {
    let script = Script::new().head().send(1_000, size as u32).wait("never");
    let mut call = stage.open(SERVER_STREAM, &script).await?;
    call.exchange.half_close();
    call.handler.until(|seen| seen.sent.messages > 0).await?;
    Ok(call)
}

/// Many calls at once, of several messages each.
async fn active(stage: &mut Stage) -> Result<()> {
    const MESSAGES: u32 = 5;
    const SIZE: usize = 1_024;
    let mut calls = Vec::new();
    for _ in 0..ACTIVE {
        calls.push(stage.open(BIDI, &Script::new().echo_all()).await?);
    }
    for n in 0..MESSAGES {
        for call in &mut calls {
            call.exchange.send(&payload::message(n, SIZE)).await?;
        }
        for call in &mut calls {
            stall::numbered(&mut call.exchange, n..n + 1, SIZE).await?;
        }
    }
    for call in &mut calls {
        call.exchange.half_close();
        ok(&call.exchange.answer().await?)?;
    }
    Ok(())
}

/// Readers that go on get all of it; those that have gone get nothing more.
async fn no_residue(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    stage.client = stall::narrow(&stage).await?;
    let long = 3 * stage.bound()?;
    // Up.
    let script = Script::new().head().wait("go").read_all();
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    let mut upload = Upload::of_bytes(long);
    upload.stand(&mut call.exchange, &mut stage).await?;
    call.handler.release("go");
    upload.all(&mut call.exchange).await?;
    let sent = call.exchange.sending.sent();
    call.handler
        .until(|seen| seen.handed.bytes + seen.handed.messages * payload::PREFIX as u64 == sent)
        .await
        .context("all of it, at the handler")?;
    call.exchange.half_close();
    ok(&call.exchange.answer().await?)?;
    let seen = done(&call.handler).await?;
    same("messages", seen.taken.messages, u64::from(upload.messages))?;
    same("checksum", seen.crc, upload.crc())?;
    // Down.
    const SIZE: usize = 10_000;
    let messages = (long / SIZE as u64) as u32;
    let script = Script::new().head().send(messages, SIZE as u32);
    let mut call = stage.open(SERVER_STREAM, &script).await?;
    call.exchange.half_close();
    stall::stopped(&call.handler, &mut stage).await?;
    stall::numbered(&mut call.exchange, 0..messages, SIZE).await?;
    ok(&call.exchange.answer().await?)?;
    // Cancelled: what was under way is gone.
    let script = Script::new().head().read(1).wait("go").read_all();
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    let mut upload = Upload::of_bytes(long);
    upload.stand(&mut call.exchange, &mut stage).await?;
    call.exchange.cancel();
    call.handler.cancelled().await?;
    let seen = call.handler.counts();
    call.handler.release("go");
    let runs = stage.runs(&call.handler).await?;
    same("runs of the handler", runs, 1)?;
    same("its counters", call.handler.counts(), seen)?;
    same("messages that it took", seen.taken.messages, 1)
}

/// Small messages are no more than their bytes, however many they are.
async fn tiny(rig: Rig) -> Result<()> {
    /// With 5 bytes each they fit the smallest window of HTTP/2.
    const MESSAGES: u32 = 13_000;
    let mut stage = rig.stage().await?;
    let script = Script::new().head().wait("go").read_all();
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    call.handler.waiting("go").await?;
    for n in 0..MESSAGES {
        call.exchange.send(b"").await?;
        if n % 1_000 == 0 {
            stage.sibling().await?;
        }
    }
    for _ in 0..stall::BESIDE {
        stage.sibling().await?;
    }
    ensure!(stage.client.is_alive(), "the client's connection ended");
    call.handler.release("go");
    call.exchange.half_close();
    ok(&call.exchange.answer().await?)?;
    let taken = done(&call.handler).await?.taken.messages;
    same("messages taken", taken, u64::from(MESSAGES))
}
