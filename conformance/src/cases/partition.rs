//! T11, T13, T15, T16: links that are cut one way, that jitter, and that crawl.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::case::{AT_GATEWAY, Case, ROUTED};
use crate::link::{Does, Way};
use crate::pb::SubjectSettings;
use crate::probe::{Script, payload};
use crate::rig::Rig;
use crate::run;
use crate::stage::Probed;

use super::{BIDI, SERVER_STREAM, done, heartbeats, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("T11", AT_GATEWAY, run!(client_lost)).with(keepalive),
    Case::new("T13", ROUTED, run!(one_way)).with(heartbeats::<LIMIT_MS>),
    Case::new("T15", ROUTED, run!(jitter)),
    Case::new("T16", ROUTED, run!(crawls)).with(heartbeats::<HEARTBEAT_MS>),
];

const UNAVAILABLE: u32 = 14;

/// How long a client, or the end of a tunnel, may be silent before it is asked, and may then take to answer.
const LIMIT_MS: u32 = 500;

fn keepalive() -> SubjectSettings {
    SubjectSettings {
        client_keepalive_ms: LIMIT_MS,
        ..SubjectSettings::default()
    }
}

const HEARTBEAT_MS: u32 = 1_000;

/// The two limits of a silence, and a little more.
const SILENCE: Duration = Duration::from_millis(2 * LIMIT_MS as u64 + 100);

/// A client that cannot be reached has its calls cancelled, whichever way its link is cut, and nobody else has.
async fn client_lost(rig: Rig) -> Result<()> {
    for way in [Way::Both, Way::There, Way::Back] {
        let mut stage = rig.stage().await?;
        let mut other = rig.stage().await?;
        let script = Script::new().head().wait("go");
        let call = stage.open(BIDI, &script).await?;
        let mut kept = other.open(BIDI, &script).await?;
        call.handler.waiting("go").await?;
        kept.handler.waiting("go").await?;
        stage.clients.set(way, Does::Swallow);
        let cancelled = rig.in_time("cancellation", SILENCE, call.handler.cancelled());
        cancelled.await??;
        kept.handler.release("go");
        kept.exchange.half_close();
        ok(&kept.exchange.answer().await?)?;
    }
    Ok(())
}

/// A tunnel that passes nothing one way is over at both ends.
async fn one_way(rig: Rig) -> Result<()> {
    for way in [Way::There, Way::Back] {
        let mut stage = rig.stage().await?;
        let mut beside = rig.stage().await?;
        let script = Script::new().head().wait("never");
        let mut call = stage.open(BIDI, &script).await?;
        call.handler.waiting("never").await?;
        stage.tunnel.set(way, Does::Swallow);
        // Who hears nothing gives up first, and the other end has the same time once it hears nothing.
        let answer = rig.in_time("answer", SILENCE * 2, call.exchange.answer());
        let cancelled = rig.in_time("cancellation", SILENCE * 2, call.handler.cancelled());
        let (answer, cancelled) = tokio::join!(answer, cancelled);
        cancelled??;
        let answer = answer??;
        same("status", answer.status()?, UNAVAILABLE)?;
        same("reason", answer.reason(), "instance-lost")?;
        beside.sibling().await?;
    }
    Ok(())
}

/// Whatever the links' latency, messages of a call keep their order, and none is lost.
async fn jitter(rig: Rig) -> Result<()> {
    const MOST_MS: u64 = 500;
    const MANY: u32 = 500;
    let mut stage = rig.stage().await?;
    stage.tunnel.set(Way::Both, Does::Jitter(MOST_MS));
    stage.clients.set(Way::Both, Does::Jitter(MOST_MS));
    let mut down = stage
        .open(SERVER_STREAM, &Script::new().read_all().send(MANY, 24))
        .await?;
    let mut both = stage.open(BIDI, &Script::new().echo_all()).await?;
    down.exchange.half_close();
    for n in 0..MANY {
        both.send(&payload::message(n, 24)).await?;
    }
    both.exchange.half_close();
    for (name, call) in [("download", &mut down), ("echo", &mut both)] {
        let answer = call.exchange.answer().await?;
        ok(&answer)?;
        same(
            &format!("messages of the {name}"),
            answer.messages.len(),
            MANY as usize,
        )?;
        for (n, message) in (0..).zip(&answer.messages) {
            let due = payload::message(n, 24);
            ensure!(message.bytes == due, "{name}: message {n} is another one");
        }
    }
    let seen = done(&both.handler).await?;
    same("checksum", seen.crc, payload::crc_of_made(0, MANY, 24))?;
    same("runs of the handler", both.handler.runs(), 1)
}

/// A slow link is no dead one while frames pass in time; one that passes next to nothing is.
async fn crawls(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut call = stage.open(BIDI, &Script::new().head().echo_all()).await?;
    call.handler.started().await?;
    // A frame of some 60 bytes takes more than half a second, and a heartbeat a quarter of one.
    stage.tunnel.set(Way::There, Does::Drip(1, 10));
    let before = stage.tunnel.passed();
    echoed(&mut call, "slow").await?;
    let there = stage.tunnel.passed()[0] - before[0];
    ensure!(there >= 10, "only {there} bytes went over the slow link");
    echoed(&mut call, "once more").await?;
    // One byte in more than two intervals.
    let slower = Does::Drip(1, u64::from(HEARTBEAT_MS) * 3);
    stage.tunnel.set(Way::Both, slower);
    let limit = Duration::from_millis(u64::from(HEARTBEAT_MS) * 5);
    let answer = rig
        .in_time("answer", limit, call.exchange.answer())
        .await??;
    same("status", answer.status()?, UNAVAILABLE)?;
    same("reason", answer.reason(), "instance-lost")?;
    call.handler.cancelled().await?;
    Ok(())
}

async fn echoed(call: &mut Probed, message: &'static str) -> Result<()> {
    call.send(message.as_bytes()).await?;
    let back = call.exchange.message().await?;
    let back = back.map(|message| message.bytes);
    same("the echo", back, Some(message.into()))
}
