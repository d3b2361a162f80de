//! One run of a handler: its script, step by step.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;

use super::action::{Action, Finish};
use super::handler::Lie;
use super::inbound::{Fault, Inbound};
use super::outbound::{Gone, Outbound};
use super::payload;
use super::side::Run;

/// Why a script was not played to its end.
enum Stop {
    Fault(Fault),
    Gone,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

/// Plays a script. The task ends earlier when the response is dropped.
pub(super) async fn play<B: Body<Data = Bytes>>(
    actions: Vec<Action>,
    mut inbound: Inbound<B>,
    mut outbound: Outbound,
    run: Arc<Run>,
    lie: Option<Lie>,
) {
    let played = steps(actions, &mut inbound, &mut outbound, &run, lie).await;
    match played {
        Ok(()) => outbound.finish(Finish::with(0, "")).await,
        Err(Stop::Fault(Fault::Broken(finish))) => outbound.finish(finish).await,
        Err(Stop::Fault(Fault::Cut)) => {
            run.cancelled();
            outbound
                .finish(Finish::with(1, "the request was cut"))
                .await;
        }
        Err(Stop::Gone) => {}
    }
    // The request stays with the handler until its response is over: letting go of it earlier would
    // tell some transports to reset the call.
    std::future::pending::<()>().await;
}

async fn steps<B: Body<Data = Bytes>>(
    actions: Vec<Action>,
    inbound: &mut Inbound<B>,
    outbound: &mut Outbound,
    run: &Arc<Run>,
    lie: Option<Lie>,
) -> Result<(), Stop> {
    for action in actions {
        match action {
            Action::Head(metadata) => outbound.head(metadata),
            Action::Read(messages) if lie == Some(Lie::Unread) => pretend(run, messages),
            Action::Read(messages) => {
                let mut left = messages;
                while left != Some(0) && inbound.message().await?.is_some() {
                    left = left.map(|left| left - 1);
                }
            }
            Action::Wait(gate) => run.wait(&gate).await,
            Action::Send { first, count, size } => {
                for n in 0..count {
                    let framed = payload::framed_message(first.wrapping_add(n), size);
                    outbound.send(framed).await?;
                }
            }
            Action::Echo(messages) => {
                let mut left = messages;
                while left != Some(0)
                    && let Some(raw) = inbound.message().await?
                {
                    outbound.send(payload::framed(raw.flag, &raw.data)).await?;
                    left = left.map(|left| left - 1);
                }
            }
            Action::Sleep(time) => tokio::time::sleep(time).await,
            Action::Finish(finish) => {
                outbound.finish(finish).await;
                std::future::pending::<()>().await;
            }
            Action::Abort => {
                outbound.abort().await;
                std::future::pending::<()>().await;
            }
        }
    }
    Ok(())
}

/// Says that messages were taken, and leaves them where they are.
fn pretend(run: &Run, messages: Option<u32>) {
    let n = u64::from(messages.unwrap_or(1));
    run.count(|counts| {
        for amount in [&mut counts.handed, &mut counts.taken] {
            amount.messages += n;
            amount.bytes += n * 1024;
        }
        counts.half_closed |= messages.is_none();
    });
}
