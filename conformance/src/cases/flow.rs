//! ZB-1: a message arrives though none follows it.

use anyhow::{Context, Result};

use crate::case::{Case, ROUTED};
use crate::probe::{Script, payload};
use crate::rig::Rig;
use crate::run;
use crate::stage::Stage;

use super::{BIDI, CLIENT_STREAM, SERVER_STREAM, ok, same, stall};

pub(super) const CASES: &[Case] = &[Case::new("ZB-1", ROUTED, run!(lock_step))];

/// Messages one after the other, each way.
const ROUNDS: u32 = 1_000;

/// The size of a round's message, in bytes: of every kind, and a few long ones.
fn size(round: u32) -> usize {
    const SIZES: [usize; 8] = [0, 1, 5, 100, 1_019, 16_379, 16_384, 65_536];
    match round % 100 {
        99 => 1 << 20,
        n => SIZES[n as usize % SIZES.len()],
    }
}

async fn lock_step(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    up(&mut stage, CLIENT_STREAM).await?;
    up(&mut stage, BIDI).await?;
    down(&mut stage).await?;
    both(&mut stage).await?;
    for round in [0, 7, 99] {
        let message = payload::message(round, size(round));
        let (answer, _) = stage.unary(&Script::new().echo_all(), &message).await?;
        ok(&answer)?;
        same("messages", answer.messages.len(), 1)?;
    }
    Ok(())
}

/// A message is sent when the one before it is reported.
async fn up(stage: &mut Stage, method: &str) -> Result<()> {
    let script = Script::new().head().read_all().send(1, 1);
    let mut call = stage.open(method, &script).await?;
    for round in 0..ROUNDS {
        call.exchange
            .send(&payload::message(round, size(round)))
            .await?;
        let taken = call
            .handler
            .until(|seen| seen.taken.messages > u64::from(round));
        taken
            .await
            .with_context(|| format!("{method}: message {round}, and none after it"))?;
    }
    call.exchange.half_close();
    ok(&call.exchange.answer().await?)
}

/// A message is sent when the client has the one before it.
async fn down(stage: &mut Stage) -> Result<()> {
    /// The rounds of a call: its script is in its metadata.
    const EACH: u32 = 250;
    for first in (0..ROUNDS).step_by(EACH as usize) {
        let script = (first..first + EACH).fold(Script::new(), |script, round| {
            script
                .wait(&round.to_string())
                .send_from(round, 1, size(round) as u32)
        });
        let mut call = stage.open(SERVER_STREAM, &script).await?;
        call.exchange.send(b"").await?;
        call.exchange.half_close();
        for round in first..first + EACH {
            call.handler.release(&round.to_string());
            stall::numbered(&mut call.exchange, round..round + 1, size(round)).await?;
        }
        ok(&call.exchange.answer().await?)?;
    }
    Ok(())
}

/// A message is sent when the one before it has come back.
async fn both(stage: &mut Stage) -> Result<()> {
    let mut call = stage.open(BIDI, &Script::new().echo_all()).await?;
    for round in 0..ROUNDS {
        let message = payload::message(round, size(round));
        call.exchange.send(&message).await?;
        stall::numbered(&mut call.exchange, round..round + 1, size(round)).await?;
    }
    call.exchange.half_close();
    ok(&call.exchange.answer().await?)
}
