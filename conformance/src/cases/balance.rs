//! R18: how calls without a key are spread.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::case::{AT_GATEWAY, Case};
use crate::client::{Call, Client};
use crate::pb::{Strategy, SubjectRoute, SubjectSettings};
use crate::probe::{self, SERVICE, Script};
use crate::rig::Rig;
use crate::run;
use crate::stage::stages;
use crate::wait;

use super::{BIDI, UNARY, ok, same};

pub(super) const CASES: &[Case] = &[Case::new("R18", AT_GATEWAY, run!(balanced)).with(two_ways)];

/// Unary calls go to the less loaded, all others in turn.
fn two_ways() -> SubjectSettings {
    let least = SubjectRoute {
        service: SERVICE.to_owned(),
        method: UNARY.to_owned(),
        strategy: Strategy::LeastLoaded.into(),
        ..SubjectRoute::default()
    };
    let in_turn = SubjectRoute {
        service: SERVICE.to_owned(),
        strategy: Strategy::RoundRobin.into(),
        ..SubjectRoute::default()
    };
    SubjectSettings {
        routes: vec![least, in_turn],
        ..SubjectSettings::default()
    }
}

async fn balanced(rig: Rig) -> Result<()> {
    in_turn(rig.afresh().await?).await?;
    by_weight(rig.afresh().await?).await?;
    by_load(rig.afresh().await?).await
}

/// The instance at which a short call of this method ran.
async fn ran_at(rig: &Rig, client: &Client, method: &str) -> Result<String> {
    let name = rig.name();
    let call = Call::new(probe::path(method))
        .header(probe::CALL, &name)
        .header(probe::SCRIPT, Script::new().echo_all().header());
    ok(&client.unary(call, b"x").await?)?;
    let handler = rig.host.side.call(&name);
    handler.started().await?;
    let runs = handler.all_runs();
    same("runs of its handler", runs.len(), 1)?;
    Ok(runs[0].instance.clone())
}

/// At any time, calls in turn are spread to within one.
async fn in_turn(rig: Rig) -> Result<()> {
    let stages = stages(&rig, 3).await?;
    let client = rig.client().await?;
    let mut calls: BTreeMap<String, u32> = BTreeMap::new();
    for stage in &stages {
        calls.insert(stage.instance.id().to_owned(), 0);
    }
    for n in 0..300 {
        let at = ran_at(&rig, &client, BIDI).await?;
        *calls
            .get_mut(&at)
            .context("an instance of another gateway")? += 1;
        let (least, most) = (calls.values().min(), calls.values().max());
        let spread = most.zip(least).map(|(most, least)| most - least);
        ensure!(spread <= Some(1), "after {} calls: {calls:?}", n + 1);
    }
    Ok(())
}

/// Weights are kept to within 2 %.
async fn by_weight(rig: Rig) -> Result<()> {
    const WEIGHTS: [u32; 3] = [1, 2, 5];
    let many = wait::rounds(10_000);
    let mut stages = Vec::new();
    for weight in WEIGHTS {
        stages.push(rig.stage_with(|asked| asked.weight = weight).await?);
    }
    let client = rig.client().await?;
    let mut calls: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..many {
        *calls.entry(ran_at(&rig, &client, BIDI).await?).or_default() += 1;
    }
    let all: u32 = WEIGHTS.iter().sum();
    for (stage, weight) in stages.iter().zip(WEIGHTS) {
        let share = calls.get(stage.instance.id()).copied().unwrap_or(0);
        let due = many * weight / all;
        ensure!(
            share.abs_diff(due) * 50 <= due,
            "{share} of {many} calls for weight {weight} of {all}, due {due}"
        );
    }
    Ok(())
}

/// Of two instances a call goes to the one that has fewer.
async fn by_load(rig: Rig) -> Result<()> {
    let mut stages = stages(&rig, 2).await?;
    let idle = stages[1].instance.id().to_owned();
    let script = Script::new().head().wait("go");
    let mut busy = Vec::new();
    for _ in 0..5 {
        let call = stages[0].open(UNARY, &script).await?;
        call.handler.waiting("go").await?;
        busy.push(call);
    }
    let client = rig.client().await?;
    for _ in 0..50 {
        same(
            "the less loaded",
            ran_at(&rig, &client, UNARY).await?,
            &*idle,
        )?;
    }
    for call in &mut busy {
        call.handler.release("go");
        call.exchange.half_close();
        ok(&call.exchange.answer().await?)?;
    }
    Ok(())
}
