//! T8-T10: gateways that come back, and instances with two of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::case::{AT_GATEWAY, AT_INSTANCE, Case, ROUTED};
use crate::client::{Client, Ended};
use crate::clock;
use crate::link::Link;
use crate::pb::SubjectSettings;
use crate::probe::{self, Probe, Script};
use crate::rig::{Rig, Skip};
use crate::run;
use crate::stage::{Hosted, Stage};
use crate::tunnel::{self, instance::serve};
use crate::wait::{LIMIT, within};

use super::{BIDI, CLIENT_STREAM, UNARY, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("T8", AT_INSTANCE, run!(backs_off)).with(backoff),
    Case::new("T9", AT_GATEWAY, run!(restarts)).alone(),
    Case::new("T10", ROUTED, run!(two_gateways)).alone(),
];

const UNAVAILABLE: u32 = 14;

/// The first pause before an instance dials again, at the most, and the longest.
const FIRST_MS: u32 = 100;
const CAP_MS: u32 = 400;

fn backoff() -> SubjectSettings {
    SubjectSettings {
        backoff_ms: FIRST_MS,
        backoff_max_ms: CAP_MS,
        ..SubjectSettings::default()
    }
}

/// An instance whose gateway is gone dials again after pauses of any length up to a limit, and is back soon
/// after the gateway is. So many instances spread over the limit.
async fn backs_off(rig: Rig) -> Result<()> {
    const GAPS: usize = 30;
    /// Dials until pauses are as long as they get.
    const GROWTH: usize = 4;
    let mut stage = rig.stage().await?;
    stage.needs("backoff_max_ms")?;
    stage.sibling().await?;
    stage.tunnel.refuse();
    stage.tunnel.reset();
    let mut gaps = Vec::new();
    let mut last = None;
    let mut dials = stage.tunnel.dials();
    while gaps.len() < GAPS + GROWTH {
        let again = within("dial", LIMIT, dials.changed()).await?;
        again.context("the link is gone")?;
        let now = clock::now();
        if let Some(before) = last.replace(now) {
            gaps.push(now - before);
        }
    }
    let cap = Duration::from_millis(CAP_MS.into());
    let gaps = &gaps[GROWTH..];
    let (least, most) = (gaps.iter().min(), gaps.iter().max());
    let (least, most) = least.zip(most).context("pauses")?;
    // Of 30 pauses of any length up to the limit, none below a quarter of it comes once in 5,600 runs, and none
    // above half of it once in a thousand million.
    ensure!(
        *least < cap / 4,
        "the shortest of {GAPS} pauses is {least:?} of {cap:?}"
    );
    ensure!(
        *most > cap / 2,
        "the longest of {GAPS} pauses is {most:?} of {cap:?}"
    );
    rig.in_time("dial", cap + cap / 2, dials.changed())
        .await??;
    stage.tunnel.heal();
    stage.registered().await?;
    stage.sibling().await
}

/// A gateway that was killed knows nobody when it is back but who registers then.
async fn restarts(rig: Rig) -> Result<()> {
    let mut there = rig.stage().await?;
    let mut gone = rig.stage().await?;
    for stage in [&mut there, &mut gone] {
        stage.sibling().await?;
    }
    {
        let process = rig.gateway.process.lock().await;
        let process = process.as_ref().filter(|running| running.is_ours());
        let started = || Skip("the suite did not start the gateway".to_owned());
        process.ok_or_else(started)?.kill();
    }
    gone.instance.kill().await?;
    let Ended { why, .. } = there.client.ended().await?;
    let rig = rig.afresh().await?;
    let tunnels = rig.gateway.tunnels.context("a tunnel port")?;
    there.tunnel.retarget(tunnels);
    there.clients.retarget(rig.gateway.clients);
    there.rig = rig.clone();
    there.client = Client::connect(there.clients.addr())
        .await
        .with_context(|| format!("after {why}"))?;
    again(&mut there).await?;
    there.registered().await?;
    there.sibling().await?;
    let lost = crate::client::Call::new(probe::path(UNARY)).instance(gone.instance.id());
    let answer = there.client.unary(lost, b"").await?;
    same("status for who is not there", answer.status()?, UNAVAILABLE)?;
    same("reason", answer.reason(), "no-instance")
}

/// The suite's own instance dials again; another one does so by itself.
async fn again(stage: &mut Stage) -> Result<()> {
    if let Hosted::Suite(served) = &mut stage.instance {
        let id = served.id.clone();
        let probe = Probe::new(stage.rig.host.side.reporter(&id));
        let info = tunnel::info(&id, &[probe::SERVICE]);
        **served = serve(stage.tunnel.addr(), info, probe).await?;
    }
    Ok(())
}

/// An instance with a tunnel to each of two gateways runs what each of them gives it, once.
async fn two_gateways(rig: Rig) -> Result<()> {
    let other = rig.afresh().await?;
    let second = Link::to(other.gateway.tunnels.context("a tunnel port")?).await?;
    let addr = second.addr();
    let mut stage = rig
        .stage_with(|asked| asked.gateways.push(addr.to_string()))
        .await?;
    stage.needs("gateways")?;
    let _twin = twin(&stage, &second).await?;
    let elsewhere = other.client().await?;
    until_known(&stage, &elsewhere).await?;
    let script = Script::new().read(1).wait("go");
    let mut lost = stage.open_anywhere(CLIENT_STREAM, &script).await?;
    lost.send(b"x").await?;
    lost.handler.waiting("go").await?;
    let (call, kept) = stage.request(BIDI, &script)?;
    let mut exchange = elsewhere.open(call.build()?, false).await?;
    exchange.send(b"x").await?;
    kept.waiting("go").await?;
    // Somebody else could take it now.
    let mut next = rig.stage().await?;
    stage.tunnel.reset();
    let answer = lost.exchange.answer().await?;
    same(
        "status of a call of the lost tunnel",
        answer.status()?,
        UNAVAILABLE,
    )?;
    same("runs of its handler", next.runs(&lost.handler).await?, 1)?;
    kept.release("go");
    exchange.half_close();
    ok(&exchange.answer().await?).context("a call of the other tunnel")?;
    same("runs of its handler", kept.runs(), 1)
}

/// The suite's own instance has a tunnel of its own for each gateway; another one dials both itself.
async fn twin(stage: &Stage, second: &Link) -> Result<Option<Hosted>> {
    let Hosted::Suite(served) = &stage.instance else {
        return Ok(None);
    };
    let probe = Probe::new(stage.rig.host.side.reporter(&served.id));
    let info = tunnel::info(&served.id, &[probe::SERVICE]);
    let twin = serve(second.addr(), info, probe).await?;
    Ok(Some(Hosted::Suite(Box::new(twin))))
}

/// Waits until another gateway knows the stage's instance too.
async fn until_known(stage: &Stage, client: &Client) -> Result<()> {
    within("registration at the other gateway", LIMIT, async {
        loop {
            let (call, _) = stage.request(UNARY, &Script::new().read_all())?;
            if client.unary(call, b"").await?.status()? == 0 {
                return anyhow::Ok(());
            }
            tokio::task::yield_now().await;
        }
    })
    .await?
}
