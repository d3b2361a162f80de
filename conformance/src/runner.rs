//! Runs cases: several at a time, each within its limit, and never one that disturbs another.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::FutureExt;
use tokio::task::JoinSet;

use crate::case::Case;
use crate::catalogue::Entry;
use crate::clock;
use crate::known::Known;
use crate::report::{Progress, Report};
use crate::rig::{Host, Rig};
use crate::role::Role;
use crate::verdict::{Row, Verdict};

/// What hangs is given up after this long. It is no verdict on speed: beside other loads, an implementation in Python
/// has taken a minute and a half for what takes half a minute on an idle machine.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// What is run, and how.
#[derive(Clone)]
pub struct Plan {
    /// The implementation's name, for reports.
    pub name: String,
    /// The role of the subject.
    pub role: Role,
    /// What is run.
    pub cases: Vec<(Entry, Case)>,
    /// What is known to fail.
    pub known: Known,
    /// Draws what is random.
    pub seed: u64,
    /// Cases at a time.
    pub jobs: usize,
    /// Whether limits of time are the exact ones.
    pub strict_time: bool,
}

/// Runs all of it against subjects that `host` starts.
///
/// # Errors
/// Where the subject cannot be started with its defaults: then nothing can be said of it.
pub async fn run(plan: Plan, host: Host) -> Result<Report> {
    let host = Arc::new(host);
    host.warm().await?;
    let progress = Progress::new(plan.cases.len());
    let mut rows: Vec<Option<Row>> = plan.cases.iter().map(|_| None).collect();
    let mut waiting: VecDeque<usize> = (0..plan.cases.len()).collect();
    // Those that have a gateway of their own take longest: they begin first.
    let alone = |index: &usize| plan.cases[*index].1.alone;
    waiting.make_contiguous().sort_by_key(|index| !alone(index));
    let mut running = JoinSet::new();
    loop {
        while running.len() < plan.jobs.max(1)
            && let Some(index) = waiting.pop_front()
        {
            let (entry, case) = plan.cases[index].clone();
            progress.begun(&entry.id);
            let (plan, host) = (plan.shared(), host.clone());
            running.spawn(async move { (index, one(&plan, &host, entry, case).await) });
        }
        let Some(done) = running.join_next().await else {
            break;
        };
        // A case's panic is caught within it, so that this is an end of the runtime.
        let (index, row) = done?;
        progress.done(&row);
        rows[index] = Some(row);
    }
    progress.finish();
    Ok(Report {
        name: plan.name,
        seed: plan.seed,
        rows: rows.into_iter().flatten().collect(),
    })
}

/// What every case is told.
#[derive(Clone)]
struct Shared {
    role: Role,
    known: Known,
    seed: u64,
    strict_time: bool,
}

impl Plan {
    fn shared(&self) -> Shared {
        Shared {
            role: self.role,
            known: self.known.clone(),
            seed: self.seed,
            strict_time: self.strict_time,
        }
    }
}

async fn one(plan: &Shared, host: &Arc<Host>, entry: Entry, case: Case) -> Row {
    let start = clock::now();
    let verdict = verdict(plan, host, case).await;
    Row {
        known: plan.known.why(&entry.id).map(str::to_owned),
        role: plan.role,
        profile: entry.profile(),
        level: entry.level,
        title: entry.title,
        id: entry.id,
        verdict,
        took: start.elapsed(),
    }
}

async fn verdict(plan: &Shared, host: &Arc<Host>, case: Case) -> Verdict {
    let settings = (case.settings)();
    let started = host.gateway(&settings, case.alone).await;
    let gateway = match started {
        Ok(gateway) => gateway,
        Err(crate::rig::Cannot::Set(why)) => return Verdict::Skipped(why),
        Err(crate::rig::Cannot::Start(error)) => return Verdict::Failed(format!("{error:#}")),
    };
    let times = (plan.seed, plan.strict_time);
    let rig = Rig::new(host.clone(), gateway, settings, case.id, times);
    let run = AssertUnwindSafe((case.run)(rig)).catch_unwind();
    match tokio::time::timeout(LIMIT, run).await {
        Ok(Ok(Ok(()))) => Verdict::Passed,
        Ok(Ok(Err(error))) => match error.downcast_ref::<crate::rig::Skip>() {
            Some(skip) => Verdict::Skipped(skip.0.clone()),
            None => Verdict::Failed(format!("{error:#}")),
        },
        Ok(Err(panic)) => Verdict::Failed(format!("the suite itself failed: {}", said(&*panic))),
        Err(_) => Verdict::Failed(format!("not done after {} s", LIMIT.as_secs())),
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without words".to_owned())
}
