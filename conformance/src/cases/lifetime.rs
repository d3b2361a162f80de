//! R9-R17: how calls end: deadlines, cancellation, and the loss of whoever is at their ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::case::{AT_GATEWAY, CALLS, Case, ROUTED};
use crate::link::{Does, Way};
use crate::probe::{Script, payload};
use crate::rig::Rig;
use crate::run;
use crate::stage::{Stage, stages};

use super::{BIDI, CLIENT_STREAM, UNARY, same};

pub(super) const CASES: &[Case] = &[
    Case::new("R9", ROUTED, run!(deadline)),
    Case::new("R10", AT_GATEWAY, run!(deadline_in_a_partition)),
    Case::new("R11", CALLS, run!(cancelled)),
    Case::new("R12", ROUTED, run!(client_lost)),
    Case::new("R13", ROUTED, run!(handler_aborts)),
    Case::new("R14", CALLS, run!(races)),
    Case::new("R15", ROUTED, run!(instance_lost)),
    Case::new("R16", AT_GATEWAY, run!(never_twice)).alone(),
];

const DEADLINE_EXCEEDED: u32 = 4;
const UNAVAILABLE: u32 = 14;

async fn deadline(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let time = Duration::from_millis(300);
    let mut call = stage
        .open_with(BIDI, &Script::new().head().wait("never"), |call| {
            call.timeout(time)
        })
        .await?;
    call.handler.started().await?;
    let limit = time + Duration::from_millis(100);
    let answer = rig
        .in_time("answer", limit, call.exchange.answer())
        .await??;
    same("status", answer.status()?, DEADLINE_EXCEEDED)?;
    let limit = Duration::from_millis(100);
    rig.in_time(
        "cancellation of the handler",
        limit,
        call.handler.cancelled(),
    )
    .await??;
    Ok(())
}

async fn deadline_in_a_partition(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let time = Duration::from_millis(400);
    let mut call = stage
        .open_with(BIDI, &Script::new().head().wait("never"), |call| {
            call.timeout(time)
        })
        .await?;
    call.handler.waiting("never").await?;
    stage.tunnel.set(Way::Both, Does::Hold);
    let limit = time + Duration::from_millis(100);
    let answer = rig
        .in_time("answer", limit, call.exchange.answer())
        .await??;
    same("status", answer.status()?, DEADLINE_EXCEEDED)?;
    same("reason", answer.reason(), "deadline")?;
    stage.tunnel.heal();
    call.handler.cancelled().await?;
    Ok(())
}

async fn cancelled(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let before = Script::new().wait("never");
    let within = Script::new().head().read(1).wait("never");
    let after = Script::new().head().read_all().wait("never");
    for (script, half_closes) in [(before, false), (within, false), (after, true)] {
        let mut call = stage.open(BIDI, &script).await?;
        call.send(b"one").await?;
        if half_closes {
            call.exchange.half_close();
        }
        call.handler.waiting("never").await?;
        call.exchange.cancel();
        let limit = Duration::from_millis(100);
        rig.in_time(
            "cancellation of the handler",
            limit,
            call.handler.cancelled(),
        )
        .await??;
    }
    stage.sibling().await
}

/// Every call of a connection that dies is cancelled, and no other one.
async fn client_lost(rig: Rig) -> Result<()> {
    for reset in [false, true] {
        let mut stage = rig.stage().await?;
        let other = stage.another_client().await?;
        let script = Script::new().head().wait("never");
        let mut calls = Vec::new();
        for _ in 0..5 {
            let call = stage.open(BIDI, &script).await?;
            call.handler.waiting("never").await?;
            calls.push(call);
        }
        let (request, kept) = stage.request(BIDI, &Script::new().head().wait("go"))?;
        let mut survivor = other.open(request.build()?, false).await?;
        kept.waiting("go").await?;
        match reset {
            true => stage.clients.reset(),
            false => stage.clients.close(),
        }
        for call in &calls {
            call.handler.cancelled().await?;
        }
        ensure!(
            kept.all_runs()[0].ended.is_none(),
            "another client's call ended too"
        );
        kept.release("go");
        survivor.half_close();
        same("its status", survivor.answer().await?.status()?, 0)?;
    }
    Ok(())
}

async fn handler_aborts(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    for script in [
        Script::new().read(1).abort(),
        Script::new().head().read(1).abort(),
    ] {
        let mut call = stage.open(BIDI, &script).await?;
        call.send(b"x").await?;
        match call.exchange.answer().await {
            Ok(answer) => ensure!(answer.status()? != 0, "an aborted handler's call is OK"),
            // A reset is one stream's end, too.
            Err(_) => ensure!(stage.client.is_alive(), "the connection ended with it"),
        }
        // What its handler reported may come behind the answer.
        same("handlers that ran", stage.runs(&call.handler).await?, 1)?;
    }
    Ok(())
}

/// A cancellation at any moment of a call: it has one end, and its place is free again.
async fn races(rig: Rig) -> Result<()> {
    const ROUNDS: u32 = 10_000;
    /// Calls at a time.
    const AT_ONCE: u32 = 50;
    let mut stage = rig.stage().await?;
    let mut random = rig.random();
    let script = Script::new().echo_all();
    for _ in 0..crate::wait::rounds(ROUNDS) / AT_ONCE {
        let mut calls = Vec::new();
        for _ in 0..AT_ONCE {
            let mut call = stage.open(UNARY, &script).await?;
            call.send(b"race").await?;
            if random.bool() {
                call.exchange.half_close();
            }
            calls.push(call);
        }
        for (n, call) in calls.iter_mut().enumerate() {
            if random.bool() {
                // So many turns of this runtime later.
                for _ in 0..random.usize(..4) {
                    tokio::task::yield_now().await;
                }
                call.exchange.cancel();
            } else {
                call.exchange.half_close();
                let answer = call.exchange.answer().await?;
                same(&format!("call {n}'s status"), answer.status()?, 0)?;
            }
        }
        for call in &calls {
            let runs = call.handler.runs();
            ensure!(runs <= 1, "a handler ran {runs} times for one call");
            if runs == 1 {
                call.handler.ended().await?;
            }
        }
    }
    stage.sibling().await
}

async fn instance_lost(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut calls = Vec::new();
    for _ in 0..5 {
        let call = stage
            .open(BIDI, &Script::new().head().wait("never"))
            .await?;
        call.handler.waiting("never").await?;
        calls.push(call);
    }
    stage.instance.kill().await?;
    for call in &mut calls {
        let answer = call.exchange.answer().await?;
        same("status", answer.status()?, UNAVAILABLE)?;
        same("reason", answer.reason(), "instance-lost")?;
        same("runs of the handler", call.handler.runs(), 1)?;
    }
    Ok(())
}

/// Calls whose instance is lost when they have begun are not begun elsewhere.
async fn never_twice(rig: Rig) -> Result<()> {
    const SIZES: [usize; 3] = [0, 10, 100_000];
    // All at once: one that has just gone would get calls until the gateway has noticed.
    let mut stages = stages(&rig, SIZES.len() + 1).await?;
    for size in SIZES {
        // Whoever gets it has it when its tunnel breaks.
        let script = Script::new().read(1).wait("never");
        let mut call = stages[0].open_anywhere(CLIENT_STREAM, &script).await?;
        call.send(&payload::message(0, size)).await?;
        call.handler.waiting("never").await?;
        let run = call.handler.all_runs().remove(0);
        let hit = |stage: &Stage| stage.instance.id() == run.instance;
        let hit = stages.iter().position(hit);
        let hit = hit.context("an instance of this case")?;
        stages[hit].tunnel.reset();
        let answer = call.exchange.answer().await?;
        same("status", answer.status()?, UNAVAILABLE)?;
        stages.remove(hit);
        for other in &mut stages {
            same("runs of the handler", other.runs(&call.handler).await?, 1)?;
        }
    }
    Ok(())
}
