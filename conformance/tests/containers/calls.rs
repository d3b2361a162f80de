//! Calls of a world's client, each with both of its edges.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use grpcrouter_conformance::probe::Script;
use grpcrouter_conformance::probe::payload::{PREFIX, crc_of_made};
use grpcrouter_conformance::probe::side::{Counts, Watched};
use grpcrouter_conformance::remote::command::RemoteCall;
use grpcrouter_conformance::remote::{End, Open};
use grpcrouter_conformance::wait::within;

use crate::world::{World, ids};

pub(crate) const UNAVAILABLE: u32 = 14;
pub(crate) const DEADLINE_EXCEEDED: u32 = 4;

/// How long an instance may take to be registered.
const REGISTERED: Duration = Duration::from_secs(20);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(50);

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    /// What the client sees.
    pub(crate) edge: RemoteCall,
    /// What the handler sees.
    pub(crate) handler: Watched,
    messages: u32,
    size: u32,
}

impl World {
    /// Has the client make a call of this instance, or of whichever.
    pub(crate) async fn open(
        &mut self,
        instance: Option<usize>,
        method: &str,
        script: &Script,
        change: impl FnOnce(&mut Open),
    ) -> Result<Call> {
        self.calls += 1;
        let mut open = Open {
            call: format!("{method}-{}", self.calls),
            method: method.to_owned(),
            script: script.header(),
            instance: instance.map(|n| ids()[n].to_owned()),
            ..Open::default()
        };
        change(&mut open);
        Ok(Call {
            handler: self.side.call(&open.call),
            messages: open.messages,
            size: open.size,
            edge: self.remote.open(open).await?,
        })
    }

    /// A short call of this instance: how it ended.
    pub(crate) async fn short(&mut self, instance: Option<usize>) -> Result<(End, Call)> {
        let echo = Script::new().echo_all();
        let call = self.open(instance, "Unary", &echo, |open| {
            (open.messages, open.size) = (1, 16);
        });
        let call = call.await?;
        Ok((call.edge.ended().await?.0, call))
    }

    /// A short call of this instance, which must succeed.
    pub(crate) async fn sibling(&mut self, instance: usize) -> Result<()> {
        match self.short(Some(instance)).await?.0 {
            End::Status { code: 0, .. } => Ok(()),
            end => bail!("a short call of {} ended with {end:?}", ids()[instance]),
        }
    }

    /// Waits until this instance takes calls.
    pub(crate) async fn registered(&mut self, instance: usize) -> Result<()> {
        within("registration of an instance", REGISTERED, async {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                looks.tick().await;
                match self.short(Some(instance)).await?.0 {
                    End::Status { code: 0, .. } => return Ok(()),
                    // Not there yet, or not the last tunnel any more.
                    End::Status {
                        code: UNAVAILABLE, ..
                    }
                    | End::Lost(_) => {}
                    end => bail!("a first call ended with {end:?}"),
                }
            }
        })
        .await?
    }

    /// An upload, whose handler reads the first message and then nothing until its gate "go" is opened. The client
    /// sends for as long as it gets window.
    pub(crate) async fn stalled(&mut self, instance: usize, bytes: u64) -> Result<Call> {
        let script = Script::new().head().read(1).wait("go").read_all();
        let call = self.open(Some(instance), "ClientStream", &script, upload(bytes));
        let call = call.await?;
        call.handler.waiting("go").await?;
        Ok(call)
    }
}

/// Messages of together so many bytes.
pub(crate) fn upload(bytes: u64) -> impl FnOnce(&mut Open) {
    const SIZE: u32 = 10_000;
    move |open| {
        open.messages = (bytes / u64::from(SIZE)) as u32 + 1;
        open.size = SIZE;
    }
}

impl Call {
    /// Bytes that the client has handed over and the handler's process has not got.
    pub(crate) fn under_way(&self) -> u64 {
        // First the reader: what comes in between is counted as under way, not the other way round.
        let handed = self.handler.counts().handed;
        let got = handed.bytes + handed.messages * PREFIX as u64;
        self.edge.seen().sent.saturating_sub(got)
    }

    /// Waits for the call's end with OK, and compares what was sent and what the handler took.
    pub(crate) async fn complete(&self) -> Result<()> {
        let end = self.edge.ended().await?.0;
        let name = self.edge.name();
        ensure!(
            matches!(end, End::Status { code: 0, .. }),
            "{name} ended with {end:?}"
        );
        let code = self.handler.finished().await?;
        ensure!(code == 0, "{name}: its handler finished with {code}");
        let Counts { taken, crc, .. } = self.handler.counts();
        ensure!(
            taken.messages == u64::from(self.messages)
                && crc == crc_of_made(0, self.messages, self.size as usize),
            "{name}: its handler took {taken:?}, which is not what was sent"
        );
        self.ran_once()
    }

    /// No second handler ran for it.
    pub(crate) fn ran_once(&self) -> Result<()> {
        let runs = self.handler.runs();
        ensure!(runs == 1, "{}: {runs} handlers ran", self.edge.name());
        Ok(())
    }

    /// Waits until the client sees the call fail because its instance was lost.
    pub(crate) async fn instance_lost(&self, limit: Duration) -> Result<()> {
        let end = self.edge.ended_within(limit).await?.0;
        let reason = "instance-lost".to_owned();
        let due = End::Status {
            code: UNAVAILABLE,
            reason,
        };
        ensure!(end == due, "{} ended with {end:?}", self.edge.name());
        Ok(())
    }
}
