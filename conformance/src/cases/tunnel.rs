//! T1-T3, T18, R17: registration, whose an instance id is, and what an instance does not take.

use anyhow::{Context, Result, ensure};
use grpcrouter_proto::v1::{Epoch, RegisterResponse, RpcCall, RpcResponse, register_response};

use crate::case::{Case, GATEWAY, ROUTED};
use crate::link::{Does, Link, Way};
use crate::pb::SubjectSettings;
use crate::probe::{self, Probe, Script};
use crate::rig::Rig;
use crate::run;
use crate::tunnel::instance::{Tunnel, serve};
use crate::tunnel::{self, flags, part, reset};

use super::{BIDI, UNARY, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("T1", GATEWAY, run!(registers)),
    Case::new("T2", GATEWAY, run!(one_owner)),
    Case::new("T3", GATEWAY, run!(half_open)),
    Case::new("T18", ROUTED, run!(too_many)).with(few_calls),
    Case::new("R17", GATEWAY, run!(refused)).alone(),
];

const RESOURCE_EXHAUSTED: u32 = 8;
const ALREADY_EXISTS: u32 = 6;
const ABORTED: u32 = 10;
const UNAVAILABLE: u32 = 14;

/// Calls go to an instance from the moment on at which it is told so.
async fn registers(rig: Rig) -> Result<()> {
    let client = rig.client().await?;
    let addr = rig.gateway.tunnels.context("a tunnel port")?;
    for _ in 0..20 {
        let id = rig.name();
        let name = rig.name();
        let call = || {
            crate::client::Call::new(probe::path(UNARY))
                .header(probe::CALL, &name)
                .header(probe::SCRIPT, Script::new().echo_all().header())
                .instance(&id)
        };
        let mut opened = Tunnel::dial(addr).await?;
        let answer = client.unary(call(), b"").await?;
        same("status before", answer.status()?, UNAVAILABLE)?;
        same("reason before", answer.reason(), "no-instance")?;
        opened.reset(reset::CANCEL);
        let probe = Probe::new(rig.host.side.reporter(&id));
        let _served = serve(addr, tunnel::info(&id, &[probe::SERVICE]), probe).await?;
        ok(&client.unary(call(), b"").await?)?;
    }
    Ok(())
}

/// A tunnel of an instance with this id and epoch: registered, or what was answered.
async fn claim(rig: &Rig, id: &str, epoch: (u64, u64)) -> Result<Result<Tunnel, (u32, String)>> {
    let addr = rig.gateway.tunnels.context("a tunnel port")?;
    claim_at(addr, id, epoch).await
}

async fn claim_at(
    addr: std::net::SocketAddr,
    id: &str,
    (started_us, attempt): (u64, u64),
) -> Result<Result<Tunnel, (u32, String)>> {
    let mut own = Tunnel::dial(addr).await?;
    let mut info = tunnel::info(id, &[probe::SERVICE]);
    info.epoch = Some(Epoch {
        started_us,
        attempt,
    });
    match own.register(info).await {
        Ok(_) => Ok(Ok(own)),
        Err(error) => {
            let last = own.tap().entries().into_iter().next_back();
            let said = last.and_then(|entry| match entry.frame {
                tunnel::tap::Seen::Response(frame, _) => error_of(&frame),
                tunnel::tap::Seen::Request(..) => None,
            });
            Ok(Err(said.ok_or(error)?))
        }
    }
}

fn error_of(frame: &RegisterResponse) -> Option<(u32, String)> {
    match &frame.frame {
        Some(register_response::Frame::Error(error)) => Some((error.code, error.reason.clone())),
        _ => None,
    }
}

/// The next call that a gateway opens on a tunnel.
async fn opened(own: &mut Tunnel) -> Result<RpcCall> {
    own.find("OPEN", |frame| match frame.frame {
        Some(register_response::Frame::RpcCall(call)) if call.flags & flags::OPEN != 0 => {
            Some(call)
        }
        _ => None,
    })
    .await
}

/// Ends a call with a status of the instance's.
async fn answers(own: &mut Tunnel, id: u64, status: u32) -> Result<()> {
    let complete = RpcResponse {
        request_id: id,
        flags: flags::COMPLETE,
        status,
        ..RpcResponse::default()
    };
    own.send(&part(complete)).await
}

/// A status that no gateway makes, by which a tunnel is known.
const FIRST: u32 = 11;
const SECOND: u32 = 15;

async fn one_owner(rig: Rig) -> Result<()> {
    const STARTED: u64 = 1_000_000;
    let id = rig.name();
    let client = rig.client().await?;
    let call = || crate::client::Call::new(probe::path(BIDI)).instance(&id);
    let registered = "the first registration";
    let mut first = claim(&rig, &id, (STARTED, 5)).await?;
    let first = first.as_mut().ok().context(registered)?;
    let mut running = client.open(call().build()?, false).await?;
    opened(first).await?;
    for stale in [(STARTED, 5), (STARTED, 4), (STARTED - 1, 9)] {
        let answer = claim(&rig, &id, stale).await?;
        let refusal = answer
            .err()
            .context("a registration that is not later took the id")?;
        same(
            "refusal",
            refusal,
            (ALREADY_EXISTS, "stale-epoch".to_owned()),
        )?;
    }
    // The owner is who it was.
    let mut asked = client.open(call().build()?, true).await?;
    let own = opened(first).await?.request_id;
    answers(first, own, FIRST).await?;
    same("status", asked.answer().await?.status()?, FIRST)?;
    for later in [(STARTED, 6), (STARTED + 1, 0)] {
        let second = claim(&rig, &id, later).await?;
        let mut second = second.ok().context("a later epoch did not take the id")?;
        let mut asked = client.open(call().build()?, true).await?;
        let own = opened(&mut second).await?.request_id;
        answers(&mut second, own, SECOND).await?;
        same("status", asked.answer().await?.status()?, SECOND)?;
        if later.0 == STARTED {
            let (said, end) = first.end().await?;
            let last = said.last().and_then(error_of);
            let due = (ABORTED, "superseded".to_owned());
            same("the last word to who was first", last, Some(due))?;
            same("its status", end.status(), Some(ABORTED))?;
            same("its call", running.answer().await?.status()?, UNAVAILABLE)?;
        }
    }
    Ok(())
}

/// The gateway has not noticed that a link is dead.
async fn half_open(rig: Rig) -> Result<()> {
    const STARTED: u64 = 1_000_000;
    let id = rig.name();
    let client = rig.client().await?;
    let call = || crate::client::Call::new(probe::path(BIDI)).instance(&id);
    let link = Link::to(rig.gateway.tunnels.context("a tunnel port")?).await?;
    let first = claim_at(link.addr(), &id, (STARTED, 0)).await?;
    let mut first = first.ok().context("the first registration")?;
    let mut stale = client.open(call().build()?, false).await?;
    let old = opened(&mut first).await?.request_id;
    link.set(Way::Both, Does::Hold);
    answers(&mut first, old, FIRST).await?;
    let second = claim(&rig, &id, (STARTED, 1)).await?;
    let mut second = second.ok().context("a later epoch did not take the id")?;
    same(
        "the stale call",
        stale.answer().await?.status()?,
        UNAVAILABLE,
    )?;
    let mut asked = client.open(call().build()?, true).await?;
    let own = opened(&mut second).await?.request_id;
    // What the dead link held is of a tunnel that is over.
    link.heal();
    answers(&mut second, own, SECOND).await?;
    same("status", asked.answer().await?.status()?, SECOND)
}

/// Calls at once on a tunnel.
const FEW: u32 = 100;

fn few_calls() -> SubjectSettings {
    SubjectSettings {
        max_calls: FEW,
        ..SubjectSettings::default()
    }
}

async fn too_many(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let script = Script::new().head().wait("go");
    let mut calls = Vec::new();
    for _ in 0..FEW {
        let call = stage.open(BIDI, &script).await?;
        call.handler.waiting("go").await?;
        calls.push(call);
    }
    let (answer, beyond) = stage.unary(&Script::new().echo_all(), b"").await?;
    same("status of one more", answer.status()?, RESOURCE_EXHAUSTED)?;
    same("its reason", answer.reason(), "limit")?;
    let mut last = calls.pop().context("calls")?;
    last.handler.release("go");
    last.exchange.half_close();
    ok(&last.exchange.answer().await?)?;
    stage.sibling().await?;
    same("handlers of the one too many", beyond.runs(), 0)?;
    for call in &mut calls {
        call.handler.release("go");
        call.exchange.half_close();
        ok(&call.exchange.answer().await?)?;
    }
    Ok(())
}

/// An instance that declines every call: how many it was given.
async fn declines(mut own: Tunnel) -> u32 {
    let mut given = 0;
    while let Ok(call) = opened(&mut own).await {
        given += 1;
        let refused = RpcResponse {
            request_id: call.request_id,
            flags: flags::RESET | flags::REFUSED,
            reset_code: reset::REFUSED_STREAM,
            ..RpcResponse::default()
        };
        if own.send(&part(refused)).await.is_err() {
            break;
        }
    }
    given
}

/// What an instance has declined goes to another one, once.
async fn refused(rig: Rig) -> Result<()> {
    const CALLS: usize = 20;
    let link = Link::to(rig.gateway.tunnels.context("a tunnel port")?).await?;
    let declining = claim_at(link.addr(), &rig.name(), (1, 0)).await?;
    let declining = declining.ok().context("registration")?;
    let declining = tokio::spawn(declines(declining));
    let mut stage = rig.stage().await?;
    for n in 0..CALLS {
        let mut call = stage
            .open_anywhere(UNARY, &Script::new().echo_all())
            .await?;
        let answer = call.finish(b"once").await?;
        ok(&answer).with_context(|| format!("call {n}"))?;
        same("runs of its handler", stage.runs(&call.handler).await?, 1)?;
    }
    // Nobody else is left: the second refusal is the last.
    let second = claim_at(link.addr(), &rig.name(), (1, 0)).await?;
    let second = tokio::spawn(declines(second.ok().context("registration")?));
    let name = stage.instance.id().to_owned();
    stage.instance.kill().await?;
    let gone = crate::client::Call::new(probe::path(UNARY)).instance(&name);
    while stage.client.unary(gone.clone(), b"").await?.reason() == "instance-lost" {}
    let answer = stage
        .open_anywhere(UNARY, &Script::new())
        .await?
        .finish(b"")
        .await?;
    same(
        "status of a call that all decline",
        answer.status()?,
        UNAVAILABLE,
    )?;
    same("its reason", answer.reason(), "refused")?;
    link.close();
    let (first, second) = (declining.await?, second.await?);
    ensure!(
        first >= 1 && second == 1,
        "the first declined {first} calls, the second one {second}"
    );
    ensure!(
        first as usize <= CALLS + 1,
        "{CALLS} calls were sent to one instance {first} times"
    );
    Ok(())
}
