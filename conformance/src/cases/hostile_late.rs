//! S3, S4: frames of calls that are over are borne while they may have been under way, and never reach another
//! call.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use grpcrouter_proto::v1::{RpcResponse, register_response};

use crate::case::{Case, GATEWAY};
use crate::rig::Rig;
use crate::run;
use crate::tunnel::stream::StreamEnd;
use crate::tunnel::{flags, limits};

use super::hostile::{Pair, answer, data, head};
use super::same;

pub(super) const CASES: &[Case] = &[
    Case::new("S3", GATEWAY, run!(late)),
    Case::new("S4", GATEWAY, run!(ids)),
];

const INTERNAL: u32 = 13;

/// Frames without data that may follow the end of a call: section 13.
const LATE_BARE: u32 = 64;
/// Breaches within a minute that end a tunnel: section 13.
const BREACHES: u32 = 64;

async fn late(rig: Rig) -> Result<()> {
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
        (end.flags, end.data) = (flags::COMPLETE, bytes::Bytes::new());
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
    let reset = |frame: grpcrouter_proto::v1::RegisterResponse| match frame.frame {
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

/// No id comes twice, whether its call was answered or given up, and an answer to one that was given up goes
/// nowhere.
async fn ids(rig: Rig) -> Result<()> {
    /// Far fewer than the 4 * max_calls that are remembered.
    const CALLS: usize = 3_000;
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
