//! R20, R21: health and reflection, of the gateway and of one instance.

use anyhow::{Context, Result, ensure};
use grpcrouter_proto::v1::{HealthStatus, ServiceInfo, register_response};
use prost::Message as _;

use crate::case::{Case, GATEWAY};
use crate::client::{Answer, Call, Client, Exchange};
use crate::probe::{SERVICE, Script};
use crate::rig::Rig;
use crate::run;
use crate::stage::{Hosted, Stage, stages};
use crate::tunnel::instance::ServedInstance;
use crate::tunnel::tap::Seen;

use super::{BIDI, UNARY, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("R20", GATEWAY, run!(unhealthy)).alone(),
    Case::new("R21", GATEWAY, run!(asked_of_whom)).alone(),
];

const NOT_FOUND: u32 = 5;
const UNAVAILABLE: u32 = 14;

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Told {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

fn asked(service: &str) -> Vec<u8> {
    let service = service.to_owned();
    Asked { service }.encode_to_vec()
}

/// What the gateway says of a service: the health, or the status of the call.
async fn check(client: &Client, service: &str) -> Result<Result<i32, u32>> {
    let answer = client.unary(Call::new(CHECK), &asked(service)).await?;
    match answer.status()? {
        0 => told(&answer).map(Ok),
        status => Ok(Err(status)),
    }
}

fn told(answer: &Answer) -> Result<i32> {
    let first = answer.messages.first().context("no answer")?;
    Ok(Told::decode(first.bytes.clone())?.status)
}

/// The next health of a service that is watched.
async fn next(watch: &mut Exchange) -> Result<i32> {
    let message = watch.message().await?.context("the watch ended")?;
    Ok(Told::decode(message.bytes)?.status)
}

fn own(stage: &Stage) -> Result<&ServedInstance> {
    match &stage.instance {
        Hosted::Suite(served) => Ok(served),
        _ => anyhow::bail!("the instance is the suite's own in this role"),
    }
}

async fn report(stage: &Stage, health: HealthStatus) -> Result<()> {
    let info = ServiceInfo {
        name: SERVICE.to_owned(),
        health: health.into(),
    };
    own(stage)?.health(vec![info]).await
}

/// An instance that says that it cannot serve gets no new calls and keeps those that it has.
async fn unhealthy(rig: Rig) -> Result<()> {
    let client = rig.client().await?;
    same(
        "health of the gateway",
        check(&client, "").await?,
        Ok(SERVING),
    )?;
    same(
        "of an unknown one",
        check(&client, "no.Such").await?,
        Err(NOT_FOUND),
    )?;
    let mut watch = client.open(Call::new(WATCH).build()?, false).await?;
    watch.send(&asked(SERVICE)).await?;
    watch.half_close();
    same("watched", next(&mut watch).await?, SERVICE_UNKNOWN)?;
    let mut stages = stages(&rig, 2).await?;
    same("watched", next(&mut watch).await?, SERVING)?;
    let mut running = stages[0]
        .open(BIDI, &Script::new().head().wait("go"))
        .await?;
    running.handler.waiting("go").await?;

    report(&stages[0], HealthStatus::Unhealthy).await?;
    settled(&mut stages[1], &client, UNARY).await?;
    same(
        "with one of two",
        check(&client, SERVICE).await?,
        Ok(SERVING),
    )?;
    report(&stages[1], HealthStatus::Unhealthy).await?;
    same("watched", next(&mut watch).await?, NOT_SERVING)?;
    same("with none", check(&client, SERVICE).await?, Ok(NOT_SERVING))?;
    same(
        "health of the gateway",
        check(&client, "").await?,
        Ok(SERVING),
    )?;
    let (call, handler) = stages[1].unbound(UNARY, &Script::new().echo_all());
    let answer = client.unary(call, b"").await?;
    same("status with nobody healthy", answer.status()?, UNAVAILABLE)?;
    same("reason", answer.reason(), "no-instance")?;
    same("handlers that ran", handler.runs(), 0)?;

    running.handler.release("go");
    running.exchange.half_close();
    ok(&running.exchange.answer().await?).context("the call that ran")?;
    report(&stages[0], HealthStatus::Healthy).await?;
    same("watched", next(&mut watch).await?, SERVING)?;
    settled(&mut stages[0], &client, UNARY).await
}

/// Calls go to this instance alone, once the gateway has heard.
async fn settled(stage: &mut Stage, client: &Client, method: &str) -> Result<()> {
    const IN_A_ROW: u32 = 20;
    let id = stage.instance.id().to_owned();
    crate::wait::within("calls to the healthy one", crate::wait::LIMIT, async {
        let mut row = 0;
        while row < IN_A_ROW {
            let (call, handler) = stage.unbound(method, &Script::new().echo_all());
            let answer = client.unary(call, b"").await?;
            ok(&answer)?;
            handler.started().await?;
            let there = handler.all_runs()[0].instance == id;
            ensure!(there || row == 0, "call {row} went to an unhealthy one");
            row = if there { row + 1 } else { 0 };
        }
        anyhow::Ok(())
    })
    .await?
}

/// The gateway answers for itself; whoever names an instance asks that one.
async fn asked_of_whom(rig: Rig) -> Result<()> {
    let stage = rig.stage().await?;
    let tap = stage.tap().context("the suite's own instance")?;
    let opened = |path: &str| {
        let of = |entry: &crate::tunnel::tap::Entry| match &entry.frame {
            Seen::Response(frame, _) => match &frame.frame {
                Some(register_response::Frame::RpcCall(call)) => call.method == path,
                _ => false,
            },
            Seen::Request(..) => false,
        };
        tap.entries().iter().filter(|entry| of(entry)).count()
    };
    let client = &stage.client;
    same("of the gateway", check(client, SERVICE).await?, Ok(SERVING))?;
    // ListServices, its field 7: an empty string.
    let list = [0x3a, 0x00];
    let answer = client.unary(Call::new(REFLECTION), &list).await?;
    ok(&answer)?;
    let first = answer.messages.first().context("no answer")?;
    let listed = |name: &str| {
        first
            .bytes
            .windows(name.len())
            .any(|at| at == name.as_bytes())
    };
    ensure!(listed(SERVICE), "its instance's service is not listed");
    for path in [CHECK, REFLECTION] {
        same(&format!("calls of {path} at the instance"), opened(path), 0)?;
        let call = Call::new(path).instance(stage.instance.id());
        let answer = client.unary(call, &list).await?;
        // The probe has no such method, and says so itself.
        ensure!(
            answer.status()? != 0,
            "{path} was answered for the instance"
        );
        same("the gateway's reason", answer.reason(), "")?;
        same(&format!("calls of {path} at the instance"), opened(path), 1)?;
    }
    Ok(())
}
