//! T5-T7, T14: how tunnels end, and what of their calls does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use grpcrouter_proto::v1::{register_request, register_response};

use crate::case::{AT_GATEWAY, Case, INSTANCE, ROUTED};
use crate::link::{Does, Way};
use crate::pb::SubjectSettings;
use crate::probe::Script;
use crate::rig::{Rig, Skip};
use crate::run;
use crate::stage::{Hosted, Stage};
use crate::tunnel::flags;
use crate::tunnel::tap::{self, Seen};
use crate::wait::{LIMIT, within};

use super::{BIDI, UNARY, heartbeats, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("T5", ROUTED, run!(silent)).with(heartbeats::<HEARTBEAT_MS>),
    Case::new("T6", ROUTED, run!(instance_drains)),
    Case::new("T7", AT_GATEWAY, run!(gateway_drains)).alone(),
    Case::new("T14", INSTANCE, run!(flaps)).with(dials_at_once),
];

const UNAVAILABLE: u32 = 14;

/// Between two heartbeats.
const HEARTBEAT_MS: u32 = 500;

/// A tunnel lives while it is busy, and is over when it is silent.
async fn silent(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    busy(&mut stage).await?;
    let mut call = stage
        .open(BIDI, &Script::new().head().wait("never"))
        .await?;
    call.handler.waiting("never").await?;
    stage.tunnel.set(Way::Both, Does::Hold);
    let limit = Duration::from_millis(2 * u64::from(HEARTBEAT_MS) + 100);
    let answer = rig.in_time("answer", limit, call.exchange.answer());
    let cancelled = rig.in_time("cancellation", limit, call.handler.cancelled());
    let (answer, cancelled) = tokio::join!(answer, cancelled);
    let answer = answer??;
    cancelled??;
    same("status", answer.status()?, UNAVAILABLE)?;
    same("reason", answer.reason(), "instance-lost")
}

/// Keeps a tunnel full for some heartbeats' time, which its own end of the subject still sends.
async fn busy(stage: &mut Stage) -> Result<()> {
    const BEATS: usize = 6;
    let Some(tap) = stage.tap() else {
        return Ok(());
    };
    let message = vec![7; 256 << 10];
    let mut call = stage.open(BIDI, &Script::new().echo_all()).await?;
    within("heartbeats through a busy tunnel", LIMIT, async {
        while beats(&tap.entries()) < BEATS {
            call.exchange.send(&message).await?;
            call.exchange.message().await?.context("an end")?;
        }
        anyhow::Ok(())
    })
    .await??;
    call.exchange.half_close();
    ok(&call.exchange.answer().await?)
}

/// Heartbeats that the subject sent: of its own, or in answer.
fn beats(entries: &[tap::Entry]) -> usize {
    let beats = |entry: &&tap::Entry| {
        let beat = match &entry.frame {
            Seen::Request(frame, _) => match &frame.frame {
                Some(register_request::Frame::Heartbeat(beat)) => Some(beat),
                _ => None,
            },
            Seen::Response(frame, _) => match &frame.frame {
                Some(register_response::Frame::Heartbeat(beat)) => Some(beat),
                _ => None,
            },
        };
        entry.way == tap::Way::Received
            && beat.is_some_and(|beat| beat.nonce != 0 || beat.reply_to != 0)
    };
    entries.iter().filter(beats).count()
}

/// An instance unregisters: its calls finish, and it gets no more.
async fn instance_drains(rig: Rig) -> Result<()> {
    for _ in 0..5 {
        let mut stage = rig.stage().await?;
        let mut running = Vec::new();
        for _ in 0..3 {
            let call = stage.open(BIDI, &Script::new().head().wait("go")).await?;
            call.handler.waiting("go").await?;
            running.push(call);
        }
        let id = stage.instance.id().to_owned();
        let tap = stage.tap();
        match &stage.instance {
            Hosted::Suite(served) => served.drain().await?,
            _ => rig.host.side.drain(&id),
        }
        // Calls go on until the gateway has answered, and are never given to a handler after that.
        loop {
            let (answer, handler) = stage.unary(&Script::new().echo_all(), b"").await?;
            if answer.status()? == 0 {
                continue;
            }
            same("status while it drains", answer.status()?, UNAVAILABLE)?;
            let reason = answer.reason();
            ensure!(
                ["draining", "no-instance"].contains(&reason),
                "the reason is {reason}"
            );
            same("handlers that ran", handler.runs(), 0)?;
            break;
        }
        for call in &mut running {
            call.handler.release("go");
            call.exchange.half_close();
            ok(&call.exchange.answer().await?).context("a call that ran")?;
        }
        match &mut stage.instance {
            Hosted::Suite(served) => {
                let end = served.ended().await?;
                same("status of the tunnel", end.status(), Some(0))?;
                same("rules broken", served.breaches(), Vec::<&str>::new())?;
            }
            Hosted::Subject { running, .. } => {
                let status = running.exited(LIMIT).await?;
                ensure!(status.success(), "the instance ended with {status}");
            }
            Hosted::Direct => {}
        }
        if let Some(tap) = tap {
            no_open_behind_drain(&tap)?;
        }
    }
    Ok(())
}

fn no_open_behind_drain(tap: &tap::Tap) -> Result<()> {
    let entries = tap.entries();
    let drain = entries.iter().position(|entry| match &entry.frame {
        Seen::Response(frame, _) => matches!(frame.frame, Some(register_response::Frame::Drain(_))),
        Seen::Request(..) => false,
    });
    let behind = &entries[drain.context("the drain was not answered")?..];
    let opens = |entry: &&tap::Entry| match &entry.frame {
        Seen::Response(..) => {
            let call = entry.frame.of_call();
            call.is_some_and(|call| call.flags & flags::OPEN != 0)
        }
        Seen::Request(..) => false,
    };
    same("OPENs behind Drain", behind.iter().filter(opens).count(), 0)
}

/// A gateway that is asked to end says so, finishes its calls, and ends.
async fn gateway_drains(rig: Rig) -> Result<()> {
    let gateway = rig.gateway.clone();
    let mut process = gateway.process.lock().await;
    let Some(process) = process.as_mut() else {
        return Err(Skip("the suite did not start the gateway".to_owned()).into());
    };
    let mut stage = rig.stage().await?;
    let mut running = Vec::new();
    for _ in 0..3 {
        let call = stage.open(BIDI, &Script::new().head().wait("go")).await?;
        call.handler.waiting("go").await?;
        running.push(call);
    }
    let tap = stage.tap();
    process.terminate();
    stage.client.closing().await?;
    if let Some(tap) = tap {
        tap.wait("Drain", |entry| match &entry.frame {
            Seen::Response(frame, _) => {
                matches!(&frame.frame, Some(register_response::Frame::Drain(drain)) if !drain.answer)
            }
            Seen::Request(..) => false,
        })
        .await?;
    }
    for call in &mut running {
        call.handler.release("go");
        call.exchange.half_close();
        ok(&call.exchange.answer().await?).context("a call that ran")?;
    }
    let status = process.exited(LIMIT).await?;
    ensure!(status.success(), "the gateway ended with {status}");
    Ok(())
}

fn dials_at_once() -> SubjectSettings {
    SubjectSettings {
        backoff_ms: 1,
        backoff_max_ms: 5,
        ..SubjectSettings::default()
    }
}

/// A link that comes and goes leaves an instance that serves, and nothing else.
async fn flaps(rig: Rig) -> Result<()> {
    const TIMES: u32 = 100;
    let mut stage = rig.stage().await?;
    for n in 0..TIMES {
        let mut call = stage
            .open(UNARY, &Script::new().head().wait("never"))
            .await?;
        call.handler.waiting("never").await?;
        match n % 2 {
            0 => stage.tunnel.reset(),
            _ => stage.tunnel.close(),
        }
        let answer = call.exchange.answer().await?;
        same("status", answer.status()?, UNAVAILABLE)?;
        call.handler.cancelled().await?;
        stage
            .registered()
            .await
            .with_context(|| format!("after {n} flaps"))?;
    }
    for _ in 0..TIMES {
        stage.sibling().await?;
    }
    let naive = rig.gateway.naive.as_ref().context("the suite's gateway")?;
    naive.instances(1).await?;
    crate::wait::until("end of all calls", LIMIT, || naive.calls_open() == 0).await
}
