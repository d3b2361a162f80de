//! ZB-1, ZB-2, ZB-4, ZB-6, Z9: nothing waits on the way, and no more than the declared bound is ever on it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use crate::case::{Case, ROUTED};
use crate::pb::SubjectSettings;
use crate::probe::{Script, payload};
use crate::rig::Rig;
use crate::run;
use crate::stage::{Probed, Stage};

use super::{BIDI, CLIENT_STREAM, SERVER_STREAM, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("ZB-1", ROUTED, run!(lock_step)),
    Case::new("ZB-2", ROUTED, run!(bounded)).with(fixed),
    Case::new("ZB-4", ROUTED, run!(isolated)),
    Case::new("ZB-6", ROUTED, run!(no_residue)).within(Duration::from_secs(90)),
    Case::new("Z9", ROUTED, run!(tiny_and_stalled)),
];

/// A message of the streams that stall, in bytes.
const SIZE: usize = 16 << 10;
/// What an endpoint's own library may hold of a request for a handler that does not read, in bytes: that of any
/// gRPC library with its default window, and a chunk.
const ENDPOINT: u64 = 96 << 10;
/// Short calls beside a stalled one. When they are done, what could still move of it has moved.
const SIBLINGS: usize = 30;

/// Call windows that do not grow, so that the bound is the small one.
fn fixed() -> SubjectSettings {
    SubjectSettings {
        call_window: 80 << 10,
        call_window_max: 80 << 10,
        ..SubjectSettings::default()
    }
}

/// A message is sent only when the one before was reported taken, or was answered.
async fn lock_step(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let sizes = [0, 1, 100, 5_000, 100_000];
    let mut call = stage
        .open(CLIENT_STREAM, &Script::new().read_all().send(1, 1))
        .await?;
    for n in 0..300 {
        let message = payload::message(n, sizes[n as usize % sizes.len()]);
        call.send(&message).await?;
        let taken = |counts: &crate::probe::side::Counts| counts.taken.messages > u64::from(n);
        let reported = call.handler.until(taken).await;
        reported.with_context(|| format!("message {n} of an upload"))?;
    }
    ok(&call.finish(b"last").await?)?;
    // Down: each message waits for its gate.
    let mut script = Script::new().read(1);
    for n in 0..50 {
        let size = sizes[n as usize % sizes.len()] as u32;
        script = script.wait(&format!("g{n}")).send_from(n, 1, size);
    }
    let mut call = stage.open(SERVER_STREAM, &script).await?;
    call.send(b"x").await?;
    call.exchange.half_close();
    for n in 0..50 {
        call.handler.release(&format!("g{n}"));
        let message = call.exchange.message().await;
        let message = message.with_context(|| format!("message {n} of a download"))?;
        let due = payload::message(n, sizes[n as usize % sizes.len()]);
        ensure!(
            message.context("an end")?.bytes == due,
            "message {n} is another one"
        );
    }
    ok(&call.exchange.answer().await?)
}

/// How long room may take to come before there is taken to be none.
const NO_ROOM: Duration = Duration::from_millis(50);

/// Sends a message again and again, so often at the most, while there is room: how many bytes that was.
async fn stuff(call: &mut Probed, message: &Bytes, times: usize) -> Result<u64> {
    let sending = &mut call.exchange.sending;
    let before = sending.sent();
    for _ in 0..times {
        let mut rest = message.clone();
        while !rest.is_empty() {
            match tokio::time::timeout(NO_ROOM, sending.room(rest.len())).await {
                Ok(room) => drop(room?),
                Err(_) => return Ok(sending.sent() - before),
            }
            let sent = sending.send_now(&rest).await?;
            rest = rest.slice(sent..);
        }
    }
    Ok(sending.sent() - before)
}

/// Sends until nothing more is taken: how many bytes that was.
async fn fill(stage: &mut Stage, call: &mut Probed, most: usize) -> Result<u64> {
    let message = payload::framed_message(7, SIZE);
    let mut rest = Bytes::new();
    let mut idle = 0;
    let before = call.exchange.sending.sent();
    // Two rounds of siblings without a byte: the window is shut and stays so.
    while idle < 2 {
        if rest.is_empty() {
            rest = message.clone();
        }
        let sent = call.exchange.sending.send_now(&rest).await?;
        rest = rest.slice(sent..);
        if sent > 0 {
            idle = 0;
        } else {
            for _ in 0..SIBLINGS {
                stage.sibling().await?;
            }
            idle += 1;
        }
        let all = call.exchange.sending.sent() - before;
        ensure!(
            all < most as u64,
            "{all} bytes were taken, and nobody reads"
        );
    }
    Ok(call.exchange.sending.sent())
}

async fn bounded(rig: Rig) -> Result<()> {
    let bound = rig.bound()?;
    let mut stage = rig.stage().await?;
    // Up: what the client could send, of which the handler took nothing.
    let mut call = stage
        .open(CLIENT_STREAM, &Script::new().head().wait("never"))
        .await?;
    call.handler.waiting("never").await?;
    let sent = fill(&mut stage, &mut call, 64 << 20).await?;
    let taken = call.handler.counts().taken.bytes;
    ensure!(
        sent - taken <= bound + ENDPOINT,
        "{sent} bytes of a request are under way, the bound is {bound} and {ENDPOINT} at the endpoint"
    );
    call.exchange.cancel();
    // Down: what the handler could send, of which the client took nothing. Its own window is 1 MiB.
    const READER: u64 = 1 << 20;
    let mut seen = Vec::new();
    for count in [400, 4_000] {
        let script = Script::new().read(1).send(count, SIZE as u32);
        let mut call = stage.open(SERVER_STREAM, &script).await?;
        call.exchange.reading.releases(false);
        call.send(b"x").await?;
        call.exchange.head().await?;
        let mut last = 0;
        loop {
            for _ in 0..SIBLINGS {
                stage.sibling().await?;
            }
            let now = call.handler.counts().sent.bytes;
            if now == last {
                break;
            }
            last = now;
        }
        ensure!(
            last <= bound + READER + ENDPOINT,
            "{last} bytes of a response left the handler, the bound is {bound} and {READER} at the client"
        );
        seen.push(last);
        call.exchange.cancel();
    }
    ensure!(
        seen[1] <= seen[0] + 2 * SIZE as u64,
        "ten times the stream changes what is under way: {seen:?}"
    );
    Ok(())
}

/// Calls beside stalled ones go on, on the same connection and the same tunnel.
async fn isolated(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut stalled = Vec::new();
    for n in 0..50 {
        let mut call = stage
            .open(BIDI, &Script::new().head().wait("never"))
            .await?;
        call.handler.waiting("never").await?;
        let size = if n % 2 == 0 { 5 } else { SIZE };
        let message = payload::framed_message(n, size);
        let sent = stuff(&mut call, &message, 2_000).await?;
        ensure!(
            sent > 1_000,
            "only {sent} bytes of a stalled call were taken"
        );
        stalled.push(call);
        if n == 0 || n == 49 {
            for _ in 0..SIBLINGS {
                stage.sibling().await?;
            }
            // One that moves more than any window.
            let script = Script::new().read_all().send(40, SIZE as u32);
            let (answer, _) = stage.unary(&script, &payload::message(1, 400_000)).await?;
            ok(&answer)?;
            same("its messages", answer.messages.len(), 40)?;
        }
    }
    for call in &mut stalled {
        call.exchange.cancel();
    }
    for call in &stalled {
        call.handler.cancelled().await?;
    }
    Ok(())
}

/// A reader that resumes gets everything in order; after a cancellation nothing more comes.
async fn no_residue(rig: Rig) -> Result<()> {
    const COUNT: u32 = 60;
    let mut stage = rig.stage().await?;
    let script = Script::new().head().wait("go").read_all().send(1, 1);
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    call.handler.waiting("go").await?;
    let all: Vec<u8> = (0..COUNT)
        .flat_map(|n| payload::framed_message(n, SIZE))
        .collect();
    let mut all = Bytes::from(all);
    // So much as is taken while nobody reads, then the rest while it is read.
    let sent = stuff(&mut call, &all, 1).await?;
    ensure!(
        sent > 65_000,
        "only {sent} bytes were taken of a call whose reader stalls"
    );
    all = all.slice(sent as usize..);
    call.handler.release("go");
    call.exchange.sending.send_raw(all).await?;
    call.exchange.half_close();
    ok(&call.exchange.answer().await?)?;
    let counts = super::done(&call.handler).await?;
    same("messages taken", counts.taken.messages, u64::from(COUNT))?;
    same(
        "their checksum",
        counts.crc,
        payload::crc_of_made(0, COUNT, SIZE),
    )?;
    // Cancelled while much of it is on its way.
    let script = Script::new().head().read(1).wait("never").read_all();
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    let message = payload::framed_message(0, SIZE);
    call.exchange.sending.send_raw(message.clone()).await?;
    call.handler.waiting("never").await?;
    stuff(&mut call, &message, 1_000).await?;
    call.exchange.cancel();
    call.handler.cancelled().await?;
    call.handler.release("never");
    stage.runs(&call.handler).await?;
    same(
        "messages taken after the cancellation",
        call.handler.counts().taken.messages,
        1,
    )
}

async fn tiny_and_stalled(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut call = stage
        .open(BIDI, &Script::new().head().wait("go").read_all())
        .await?;
    call.handler.waiting("go").await?;
    let mut sent = 0_u64;
    for n in 0..26 {
        sent += stuff(&mut call, &payload::framed_message(n, 5), 500).await? / 10;
        stage.sibling().await?;
    }
    ensure!(sent > 1_000, "only {sent} messages of 5 bytes were taken");
    for _ in 0..SIBLINGS {
        stage.sibling().await?;
    }
    ensure!(stage.client.is_alive(), "the connection ended");
    call.exchange.cancel();
    call.handler.cancelled().await?;
    Ok(())
}
