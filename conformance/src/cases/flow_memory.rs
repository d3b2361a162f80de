//! ZB-5, Z11: what stalled calls cost a gateway in memory, and the bound that it declares of them.

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};

use crate::case::{AT_GATEWAY, Case, GATEWAY};
use crate::client::Client;
use crate::pb::SubjectSettings;
use crate::probe::Script;
use crate::rig::Rig;
use crate::run;
use crate::stage::{Probed, Stage};
use crate::tunnel::limits;

use super::stall::{BESIDE, Upload, bounded, under_way};
use super::{CLIENT_STREAM, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("ZB-5", GATEWAY, run!(memory)).with(fixed).alone(),
    Case::new("Z11", AT_GATEWAY, run!(declared)).alone(),
];

/// Call windows that do not grow: the bound is then that of every call.
fn fixed() -> SubjectSettings {
    SubjectSettings {
        call_window: limits::CALL_WINDOW,
        call_window_max: limits::CALL_WINDOW,
        ..SubjectSettings::default()
    }
}

/// Sizes of messages, in bytes.
const SIZES: [usize; 2] = [16 * 1024, 5];
/// Tiny messages share a DATA frame of so many bytes: one each is a flood.
const TINY: usize = 512;
/// What a stalled call may cost beside its bytes.
const BESIDE_BYTES: u64 = 16 << 10;
/// Calls on one connection.
const CALLS_EACH: usize = 125;
/// Bytes that are sent on one call before the next one has its turn.
const POUR: usize = 1 << 20;
/// What a stream a hundred times as long may change.
const CHANGE: u64 = 2 << 20;

/// Rounds of stalled calls. Memory that a gateway gives back may stay with its process, by its allocator's
/// choice; so what is judged of it is that a last round needs no more than those before it left.
async fn memory(rig: Rig) -> Result<()> {
    let bound = rig.bound()?;
    let mut stage = rig.stage().await?;
    rig.memory().await?;
    // First, while no memory is left over that could hide it.
    for size in SIZES {
        long_stream(&mut stage, size)
            .await
            .with_context(|| format!("messages of {size} B"))?;
    }
    let base = rig.memory().await?;
    let mut highest = base;
    for size in SIZES {
        let mut stalled = Vec::new();
        for count in [250, 500] {
            while stalled.len() * CALLS_EACH < count {
                stalled.push(stall(&mut stage, size, bound).await?);
            }
            let now = rig.memory().await?;
            highest = highest.max(now);
            let each = now.saturating_sub(base) / count as u64;
            ensure!(
                each <= bound + BESIDE_BYTES,
                "{count} calls stalled on messages of {size} B: {each} B each, {bound} B were declared"
            );
        }
        cancel(stalled).await?;
    }
    let last = [
        stall(&mut stage, SIZES[0], bound).await?,
        stall(&mut stage, SIZES[0], bound).await?,
    ];
    let now = rig.memory().await?;
    ensure!(
        now <= highest + highest / 10,
        "250 calls more, and {now} B are resident: {highest} B were at most before, with 500"
    );
    cancel(last).await
}

/// Ends calls, and waits until their handlers were told.
async fn cancel(stalled: impl IntoIterator<Item = Stalled>) -> Result<()> {
    for mut own in stalled {
        for call in &mut own.calls {
            call.exchange.cancel();
        }
        for call in &own.calls {
            call.handler.cancelled().await?;
        }
    }
    Ok(())
}

/// Calls on a connection of their own.
struct Stalled {
    calls: Vec<Probed>,
    _client: Client,
}

/// Opens calls whose handlers read nothing, and sends on each until its window stops, which must be soon: this case is
/// about memory, and not to use up all.
async fn stall(stage: &mut Stage, size: usize, bound: u64) -> Result<Stalled> {
    let client = stage.another_client().await?;
    let script = Script::new().head().wait("never");
    let mut calls = Vec::with_capacity(CALLS_EACH);
    for _ in 0..CALLS_EACH {
        let (call, handler) = stage.request(CLIENT_STREAM, &script)?;
        let exchange = client.open(call.build()?, false).await?;
        handler.waiting("never").await?;
        calls.push(Probed { exchange, handler });
    }
    let piece = piece(size);
    let mut rests = vec![Bytes::new(); CALLS_EACH];
    let mut quiet = 0;
    while quiet < BESIDE {
        let mut sent = 0;
        for (call, rest) in calls.iter_mut().zip(&mut rests) {
            sent += pour(call, &piece, rest).await?;
            let all = call.exchange.sending.sent();
            ensure!(all <= 2 * bound, "nothing stopped a sender after {all} B");
        }
        match sent {
            0 => quiet += 1,
            _ => quiet = 0,
        }
        stage.sibling().await?;
    }
    Ok(Stalled {
        calls,
        _client: client,
    })
}

/// Sends what there is room for now.
async fn pour(call: &mut Probed, piece: &Bytes, rest: &mut Bytes) -> Result<usize> {
    let mut sent = 0;
    loop {
        if rest.is_empty() {
            *rest = piece.clone();
        }
        let some = call.exchange.sending.send_now(rest).await?;
        sent += some;
        *rest = rest.slice(some..);
        if some == 0 || sent > POUR {
            return Ok(sent);
        }
    }
}

/// One message, or as many tiny ones as go into a small DATA frame.
fn piece(size: usize) -> Bytes {
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(size as u32);
    message.put_bytes(7, size);
    let times = (TINY / message.len()).max(1);
    Bytes::from(message.repeat(times))
}

/// A stream whose reader goes on costs the same however long it is.
async fn long_stream(stage: &mut Stage, size: usize) -> Result<()> {
    let short = match size {
        0..=TINY => 200,
        _ => 20,
    };
    // What the first streams cost is the tunnel's and the allocator's.
    flow(stage, 10 * short, size).await?;
    let once = flow(stage, short, size).await?;
    let hundredfold = flow(stage, 100 * short, size).await?;
    ensure!(
        hundredfold <= once + CHANGE,
        "{once} B are resident where {short} frames flow, and {hundredfold} B where it is 100 times as many"
    );
    Ok(())
}

/// Sends so many frames to a handler that reads them all: what was resident at most.
async fn flow(stage: &mut Stage, frames: usize, size: usize) -> Result<u64> {
    /// How often it is looked at.
    const LOOKS: usize = 20;
    let piece = piece(size);
    let script = Script::new().read_all();
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    let mut most = 0;
    for _ in 0..LOOKS {
        for _ in 0..frames / LOOKS {
            call.exchange.sending.send_raw(piece.clone()).await?;
        }
        most = most.max(stage.rig.memory().await?);
    }
    call.exchange.half_close();
    ok(&call.exchange.answer().await?)?;
    Ok(most)
}

/// With a subject's defaults: it declares a bound before any call, the same whenever it starts, and a stalled call keeps
/// to it.
async fn declared(rig: Rig) -> Result<()> {
    let bound = rig.bound()?;
    let other = rig.host.gateway(&rig.settings, false).await;
    let other = other.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    same("the bound of another start", other.bound, Some(bound))?;
    let mut stage = rig.stage().await?;
    let mut beside = rig.stage().await?;
    let bound = stage.bound()?;
    let script = Script::new().head().wait("never");
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    call.handler.waiting("never").await?;
    let mut upload = Upload::of_bytes(bound + (512 << 10));
    upload.stand(&mut call.exchange, &mut beside).await?;
    let bytes = under_way(&call.exchange, &call.handler.counts());
    bounded("request", bytes, bound)?;
    call.exchange.cancel();
    call.handler.cancelled().await?;
    stage.sibling().await
}
