//! ZB-7, ZB-8, T12: a link is cut while a sender keeps trying.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::case::{Case, ROUTED};
use crate::link::{Does, Way};
use crate::probe::Script;
use crate::rig::Rig;
use crate::run;
use crate::stage::{Probed, Stage};

use super::stall::{BESIDE, Upload, bounded, under_way};
use super::{CLIENT_STREAM, UNARY, done, heartbeats, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("ZB-7", ROUTED, run!(cut)).with(heartbeats::<HEARTBEAT_MS>),
    Case::new("ZB-8", ROUTED, run!(arrives_in_a_partition)),
    Case::new("T12", ROUTED, run!(lost)).with(heartbeats::<HEARTBEAT_MS>),
];

/// Between two heartbeats. Twice as long is the limit, which a healed cut must keep to on a busy machine too.
const HEARTBEAT_MS: u32 = 1_000;

const UNAVAILABLE: u32 = 14;
const DEADLINE_EXCEEDED: u32 = 4;

/// Which link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Tunnel,
    Clients,
}

async fn cut(rig: Rig) -> Result<()> {
    let mut beside = rig.stage().await?;
    for cut in [Cut::Tunnel, Cut::Clients] {
        for way in [Way::There, Way::Back, Way::Both] {
            healed(&rig, &mut beside, cut, way).await?;
        }
    }
    lost(rig).await
}

/// What was held comes, once and in order.
async fn healed(rig: &Rig, beside: &mut Stage, cut: Cut, way: Way) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut call = stage
        .open(CLIENT_STREAM, &Script::new().head().read_all())
        .await?;
    call.handler.started().await?;
    let mut upload = Upload::of_bytes(3 * stage.bound()?);
    let link = match cut {
        Cut::Tunnel => &stage.tunnel,
        Cut::Clients => &stage.clients,
    };
    link.set(way, Does::Hold);
    let mut quiet = 0;
    while quiet < BESIDE / 4 {
        match upload.now(&mut call.exchange).await? {
            0 => quiet += 1,
            _ => quiet = 0,
        }
        beside.sibling().await?;
    }
    let bytes = under_way(&call.exchange, &call.handler.counts());
    bounded(&format!("{cut:?} cut, {way:?}"), bytes, stage.bound()?)?;
    link.heal();
    upload.all(&mut call.exchange).await?;
    call.exchange.half_close();
    ok(&call.exchange.answer().await?)?;
    let seen = done(&call.handler).await?;
    same("messages", seen.taken.messages, u64::from(upload.messages))?;
    same("checksum", seen.crc, upload.crc())?;
    same("runs of the handler", call.handler.runs(), 1)
}

/// A tunnel that is silent for longer than its limit is over at both ends, whichever way it is silent.
async fn lost(rig: Rig) -> Result<()> {
    let there = past_the_limit(&rig, Way::There);
    let back = past_the_limit(&rig, Way::Back);
    let both = past_the_limit(&rig, Way::Both);
    tokio::try_join!(there, back, both)?;
    Ok(())
}

async fn past_the_limit(rig: &Rig, way: Way) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut beside = rig.stage().await?;
    let mut call = stage
        .open(
            CLIENT_STREAM,
            &Script::new().head().read(1).wait("never").read_all(),
        )
        .await?;
    call.exchange.send(b"before").await?;
    call.handler.waiting("never").await?;
    stage.tunnel.set(way, Does::Hold);
    let mut upload = Upload::of_bytes(2 * stage.bound()?);
    upload.now(&mut call.exchange).await?;
    ends(&mut call).await?;
    call.handler.cancelled().await?;
    let seen = call.handler.counts();
    same("messages that the handler took", seen.taken.messages, 1)?;
    // What the link held comes now, and is nobody's.
    stage.tunnel.heal();
    for _ in 0..BESIDE {
        beside.sibling().await?;
    }
    same("runs of the handler", call.handler.runs(), 1)?;
    same("its counters after the cut", call.handler.counts(), seen)
}

async fn ends(call: &mut Probed) -> Result<()> {
    let answer = call.exchange.answer().await?;
    same("status", answer.status()?, UNAVAILABLE)?;
    same("reason", answer.reason(), "instance-lost")
}

/// Calls that arrive while their instance cannot be reached: they hold what their windows allow, and end.
async fn arrives_in_a_partition(rig: Rig) -> Result<()> {
    const CALLS: usize = 20;
    let mut stage = rig.stage().await?;
    let mut beside = rig.stage().await?;
    let bound = stage.bound()?;
    stage.tunnel.set(Way::Both, Does::Hold);
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let script = Script::new().read_all();
        let timeout = Duration::from_millis(500);
        let mut call = stage
            .open_with(UNARY, &script, |call| call.timeout(timeout))
            .await?;
        let mut upload = Upload::of_bytes(2 * bound);
        // One that has ended takes no more.
        let _ = upload.now(&mut call.exchange).await;
        calls.push((call, upload));
    }
    for _ in 0..BESIDE / 4 {
        for (call, upload) in &mut calls {
            let _ = upload.now(&mut call.exchange).await;
        }
        beside.sibling().await?;
    }
    for (call, _) in &mut calls {
        let answer = call.exchange.answer().await?;
        let status = answer.status()?;
        ensure!(
            [UNAVAILABLE, DEADLINE_EXCEEDED].contains(&status),
            "a call whose instance cannot be reached ended with {status}"
        );
        bounded("request", call.exchange.sending.sent(), bound)?;
        same("handlers that ran", call.handler.runs(), 0)?;
    }
    stage.tunnel.heal();
    stage.sibling().await?;
    // A handler that learns of its call now learns that it is over, too.
    for (call, _) in &calls {
        let runs = call.handler.runs();
        ensure!(runs <= 1, "a handler ran {runs} times for one call");
        if runs == 1 {
            call.handler.cancelled().await?;
        }
    }
    stage.sibling().await
}
