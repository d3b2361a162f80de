//! S3, S4: frames of calls that are over are borne while they may have been under way, and never reach another
//! call.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use grpcrouter_proto::v1::{
    Metadata, RegisterRequest, RegisterResponse, RpcCall, RpcResponse, register_request,
    register_response,
};

use crate::case::{Case, GATEWAY};
use crate::pb::{SubjectInstance, SubjectRequest, SubjectRole};
use crate::probe::side::Watched;
use crate::probe::{self, Script};
use crate::rig::Rig;
use crate::role::Role;
use crate::run;
use crate::tunnel::gateway::{TunnelPort, ack};
use crate::tunnel::stream::{Stream, StreamEnd};
use crate::tunnel::{self, flags, limits, reset};

use super::hostile::{Pair, answer, data, head};
use super::same;

pub(super) const CASES: &[Case] = &[
    Case::new("S3", &[Role::Gateway, Role::Instance], run!(late)),
    Case::new("S4", GATEWAY, run!(ids)),
];

const INTERNAL: u32 = 13;

/// A gateway's end of a tunnel.
type GatewayEnd = Stream<RegisterResponse, RegisterRequest>;

/// Frames without data that may follow the end of a call: section 13.
const LATE_BARE: u32 = 64;
/// Breaches within a minute that end a tunnel: section 13.
const BREACHES: u32 = 64;

async fn late(rig: Rig) -> Result<()> {
    if rig.role() == Role::Instance {
        return at_instance(&rig).await;
    }
    under_way(&rig).await?;
    after_its_own_end(&rig).await
}

/// An instance that had not heard of the end: all that its credit allowed, and a few frames more, for each of
/// several calls. What is beyond that is a breach.
async fn under_way(rig: &Rig) -> Result<()> {
    const CALLS: usize = 5;
    let mut pair = Pair::new(rig).await?;
    let mut beside = Pair::new(rig).await?;
    let mut over = Vec::new();
    for _ in 0..CALLS {
        let id = cancelled(&mut pair).await?;
        pair.say(head(id)).await?;
        let whole = limits::CALL_WINDOW / limits::CHUNK as u32;
        for seq in 0..whole {
            pair.say(data(id, seq, &[0; limits::CHUNK])).await?;
        }
        for _ in 0..LATE_BARE - 2 {
            pair.say(grant(id)).await?;
        }
        let mut end = answer(id);
        (end.flags, end.data) = (flags::COMPLETE, Bytes::new());
        pair.say(end).await?;
        over.push(id);
    }
    pair.goes_on().await?;
    // One call more than the others, all of which are used up.
    for n in 0..BREACHES - 1 {
        let id = over[n as usize % over.len()];
        pair.say(data(id, whole_and(n), b"x")).await?;
    }
    pair.goes_on().await?;
    pair.say(data(over[0], whole_and(BREACHES), b"x")).await?;
    over_with(&mut pair).await?;
    beside.goes_on().await
}

/// The number of a frame behind all that a call's credit allowed.
fn whole_and(n: u32) -> u32 {
    limits::CALL_WINDOW / limits::CHUNK as u32 + n
}

/// Nothing was under way behind an end of the instance's own: each frame is a breach.
async fn after_its_own_end(rig: &Rig) -> Result<()> {
    let mut pair = Pair::new(rig).await?;
    let mut beside = Pair::new(rig).await?;
    let (mut exchange, opened) = pair.call().await?;
    let id = opened.request_id;
    pair.say(answer(id)).await?;
    same("status", exchange.answer().await?.status()?, 0)?;
    for _ in 0..BREACHES - 1 {
        pair.say(data(id, 1, b"late")).await?;
    }
    pair.goes_on().await?;
    pair.say(data(id, 1, b"late")).await?;
    over_with(&mut pair).await?;
    beside.goes_on().await
}

/// The tunnel has ended for what its instance did.
async fn over_with(pair: &mut Pair) -> Result<()> {
    let (said, end) = pair.tunnel.end().await?;
    let reason = said.iter().rev().find_map(|frame| match &frame.frame {
        Some(register_response::Frame::Error(error)) => Some(error.reason.clone()),
        _ => None,
    });
    same("reason", reason.as_deref(), Some("protocol-error"))?;
    ensure!(
        matches!(end, StreamEnd::Trailers(_)),
        "the tunnel was ended with {end:?}"
    );
    same("status of the tunnel", end.status(), Some(INTERNAL))
}

/// A call that its client has given up, as the instance has heard: its id.
async fn cancelled(pair: &mut Pair) -> Result<u64> {
    let (mut exchange, opened) = pair.call().await?;
    exchange.cancel();
    let id = opened.request_id;
    let reset = |frame: RegisterResponse| match frame.frame {
        Some(register_response::Frame::RpcCall(call)) => {
            (call.request_id == id && call.flags & flags::RESET != 0).then_some(())
        }
        _ => None,
    };
    pair.tunnel.find("RESET", reset).await?;
    Ok(id)
}

fn grant(request_id: u64) -> RpcResponse {
    RpcResponse {
        request_id,
        window: 1,
        ..RpcResponse::default()
    }
}

/// The same of an instance: its gateway goes on with calls that it has cut.
async fn at_instance(rig: &Rig) -> Result<()> {
    let mut port = TunnelPort::listen().await?;
    let subject = rig.host.instance.as_ref().context("an instance")?;
    let request = SubjectRequest {
        role: SubjectRole::Instance.into(),
        settings: None,
        instance: Some(SubjectInstance {
            id: rig.name(),
            gateways: vec![port.addr().to_string()],
            side: rig.host.side.addr().to_string(),
            weight: 1,
            ..SubjectInstance::default()
        }),
    };
    let _running = subject.start(&request, &rig.host.side).await?;
    let mut own = port.register(ack()).await?;
    let window = limits::or(own.info.call_window, limits::CALL_WINDOW);
    let own = &mut own.stream;
    let (first, later) = (1, 2);
    serves(rig, own, first).await?;
    let handler = opens(rig, own, later, &Script::new().head().wait("never")).await?;
    handler.waiting("never").await?;
    let reset = |request_id| RpcCall {
        request_id,
        flags: flags::RESET,
        reset_code: reset::CANCEL,
        ..RpcCall::default()
    };
    own.send(&tunnel::call(reset(later))).await?;
    handler.cancelled().await?;
    // The gateway has ended it, so that nothing may follow: each frame is a breach.
    let frame = |request_id, seq| RpcCall {
        request_id,
        seq,
        data: Bytes::from_static(b"late"),
        ..RpcCall::default()
    };
    for seq in 0..BREACHES - 1 {
        own.send(&tunnel::call(frame(later, seq))).await?;
    }
    serves(rig, own, 3).await?;
    own.send(&tunnel::call(frame(later, BREACHES))).await?;
    let (_, end) = own.end().await?;
    ensure!(
        matches!(end, StreamEnd::Reset(_) | StreamEnd::Connection(_)),
        "the tunnel was ended with {end:?}"
    );
    // It dials again. What crossed the end of a call that it ended itself is borne, up to the credit.
    let mut own = port.register(ack()).await?;
    let own = &mut own.stream;
    let handler = opens(rig, own, first, &Script::new().finish(0)).await?;
    handler.finished().await?;
    for seq in 0..window / limits::CHUNK as u32 {
        let mut frame = frame(first, seq);
        frame.data = Bytes::from_static(&[0; limits::CHUNK]);
        own.send(&tunnel::call(frame)).await?;
    }
    for _ in 0..LATE_BARE - 1 {
        let mut grant = frame(first, 0);
        (grant.data, grant.window) = (Bytes::new(), 1);
        own.send(&tunnel::call(grant)).await?;
    }
    let mut end = frame(first, 0);
    (end.data, end.flags) = (Bytes::new(), flags::HALF_CLOSE);
    own.send(&tunnel::call(end)).await?;
    serves(rig, own, later).await
}

/// A call of this id, whose handler obeys the script.
async fn opens(rig: &Rig, own: &mut GatewayEnd, id: u64, script: &Script) -> Result<Watched> {
    let name = rig.name();
    let entry = |key: &str, value: &str| Metadata {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    let open = RpcCall {
        request_id: id,
        flags: flags::OPEN,
        method: probe::path("Bidi"),
        authority: "conformance.test".to_owned(),
        metadata: vec![
            entry(probe::CALL, &name),
            entry(probe::SCRIPT, &script.header()),
        ],
        ..RpcCall::default()
    };
    own.send(&tunnel::call(open)).await?;
    Ok(rig.host.side.call(&name))
}

/// A call begins and ends well.
async fn serves(rig: &Rig, own: &mut GatewayEnd, id: u64) -> Result<()> {
    let handler = opens(rig, own, id, &Script::new().finish(0)).await?;
    handler.finished().await?;
    let ends = |frame: RegisterRequest| match frame.frame {
        Some(register_request::Frame::RpcResponse(part)) => {
            (part.request_id == id && part.flags & flags::COMPLETE != 0).then_some(part.status)
        }
        _ => None,
    };
    same("status", own.find("COMPLETE", ends).await?, 0)
}

/// No id comes twice, whether its call was answered or given up, and an answer to one that was given up goes
/// nowhere.
async fn ids(rig: Rig) -> Result<()> {
    /// Far fewer than the 4 * max_calls that are remembered.
    const CALLS: usize = 2_000;
    let mut pair = Pair::new(&rig).await?;
    let mut seen = BTreeSet::new();
    for n in 0..CALLS {
        let id = if n % 10 == 0 {
            let first = cancelled(&mut pair).await?;
            let (mut exchange, opened) = pair.call().await?;
            // The first call's answer is late, and was given this status so that it is known.
            let mut late = answer(first);
            late.status = INTERNAL;
            pair.say(late).await?;
            pair.say(answer(opened.request_id)).await?;
            let status = exchange.answer().await?.status()?;
            same("status of the next call", status, 0)?;
            ensure!(
                seen.insert(opened.request_id),
                "id {:#x} came twice within {n} calls",
                opened.request_id
            );
            first
        } else {
            let (mut exchange, opened) = pair.call().await?;
            pair.say(answer(opened.request_id)).await?;
            same("status", exchange.answer().await?.status()?, 0)?;
            opened.request_id
        };
        ensure!(seen.insert(id), "id {id:#x} came twice within {n} calls");
    }
    Ok(())
}
