//! Runs a workload, part by part.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::pb::StreamRequest;

use super::workload::{BULK, SMALL, STALLED};
use super::{Client, Gate, Part, Processes, Report, Settings, Tally, Workload, now, workers};

/// How long what was begun may take to end after the interval.
const LAST: Duration = Duration::from_secs(20);
/// How long the answer to the first message of a stalled stream may take.
const HEAD: Duration = Duration::from_secs(10);

/// How long each part takes, and whose processor time is taken.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What to call.
    pub settings: Settings,
    /// Before each interval, unmeasured.
    pub warm_up: Duration,
    /// The interval.
    pub measured: Duration,
    /// Whose time is taken.
    pub processes: Processes,
}

/// Workers whose tallies are one.
type Workers = Vec<JoinHandle<Result<Tally>>>;

/// Runs all parts of a workload.
///
/// # Errors
/// The path cannot be reached, or a call did not end. What ended badly is in the report.
pub async fn run(plan: &Plan, workload: Workload) -> Result<Report> {
    let clients = plan.settings.connect(workload.connections()).await?;
    let parts = match workload {
        Workload::Stalled => stalled(plan, workload, &clients).await?,
        Workload::Draining => draining(plan, workload, &clients).await?,
        _ => vec![part(plan, "main", |gate| (start(workload, &clients, gate), None)).await?],
    };
    Ok(Report {
        workload: workload.to_string(),
        unit: workload.unit(),
        parts,
    })
}

/// Alone, beside, beside, alone: two pairs, in which what drifts with time cancels.
async fn stalled(plan: &Plan, workload: Workload, clients: &[Client]) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for name in ["alone", "beside", "beside", "alone"] {
        let mut stream = None;
        if name == "beside" {
            // On a connection that calls use too: a stall must not stop its siblings.
            let mut client = clients[0].clone();
            let request = client.request(StreamRequest {
                messages: STALLED,
                size: BULK,
            });
            let opened = timeout(HEAD, client.stub.server_stream(request)).await;
            let opened = opened.context("the stalled stream did not begin")?;
            stream = Some(opened.context("the stalled stream")?.into_inner());
        }
        parts.push(part(plan, name, |gate| (start(workload, clients, gate), None)).await?);
        // It was there all the time.
        if let Some(mut stream) = stream {
            let read = timeout(HEAD, stream.message()).await;
            match read.context("the stalled stream gives nothing")? {
                Ok(Some(message)) if message.data.len() == BULK as usize => {}
                Ok(_) => bail!("the stalled stream gave what was not sent"),
                Err(status) => bail!("the stalled stream ended: {status}"),
            }
        }
    }
    Ok(parts)
}

/// Calls alone, both, the bulk stream alone.
async fn draining(plan: &Plan, workload: Workload, clients: &[Client]) -> Result<Vec<Part>> {
    let bulk = |gate: &Arc<Gate>| vec![spawn(workers::bulk(clients[0].clone(), gate.clone()))];
    let alone = part(plan, "alone", |gate| (start(workload, clients, gate), None)).await?;
    let beside = part(plan, "beside", |gate| {
        (start(workload, clients, gate), Some(bulk(gate)))
    });
    let beside = beside.await?;
    let bulk = part(plan, "bulk", |gate| (Vec::new(), Some(bulk(gate)))).await?;
    Ok(vec![alone, beside, bulk])
}

/// The workers of a workload, spread over the connections.
fn start(workload: Workload, clients: &[Client], gate: &Arc<Gate>) -> Workers {
    let clients = clients.iter().cycle().take(workload.at_once());
    let worker = |client: &Client| {
        let (client, gate) = (client.clone(), gate.clone());
        match workload {
            Workload::Unary { size, .. } => spawn(workers::unary(client, gate, size)),
            Workload::Stalled | Workload::Draining => spawn(workers::unary(client, gate, SMALL)),
            Workload::ServerStream => spawn(workers::server_stream(client, gate)),
            Workload::ClientStream => spawn(workers::client_stream(client, gate)),
            Workload::Bidi { .. } => spawn(workers::bidi(client, gate)),
        }
    };
    clients.map(worker).collect()
}

fn spawn(
    worker: impl Future<Output = Result<Tally>> + Send + 'static,
) -> JoinHandle<Result<Tally>> {
    tokio::spawn(worker)
}

/// One interval: what is counted, and what runs beside it.
async fn part(
    plan: &Plan,
    name: &'static str,
    start: impl FnOnce(&Arc<Gate>) -> (Workers, Option<Workers>),
) -> Result<Part> {
    let gate = Arc::new(Gate::default());
    let (counted, beside) = start(&gate);
    sleep(plan.warm_up).await;
    let before = plan.processes.seconds()?;
    let begin = now();
    gate.measure();
    sleep(plan.measured).await;
    gate.end();
    let seconds = begin.elapsed().as_secs_f64();
    let after = plan.processes.seconds()?;
    let counted = sum(counted).await?;
    let beside = match beside {
        Some(workers) => Some(sum(workers).await?),
        None => None,
    };
    let used = before.into_iter().zip(after);
    let used = used.map(|((name, before), (_, after))| (name, after - before));
    Ok(Part::new(
        name,
        seconds,
        &counted,
        beside.as_ref(),
        used.collect(),
    ))
}

async fn sum(workers: Workers) -> Result<Tally> {
    let mut all = Tally::new()?;
    for worker in workers {
        let ended = timeout(LAST, worker).await;
        let ended = ended.with_context(|| format!("a call did not end within {LAST:?}"))?;
        all.add(ended.context("a worker panicked")??)?;
    }
    Ok(all)
}
