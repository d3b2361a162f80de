//! A link is cut, and mended before anybody may give it up: nothing is lost, and no more was under way than may be.

use std::time::Duration;

use anyhow::{Result, ensure};
use grpcrouter_conformance::probe::Script;
use grpcrouter_conformance::probe::side::Amount;

use crate::calls::{Call, upload};
use crate::daemon;
use crate::links::Link;
use crate::patience::Patience;
use crate::world::{BOUND, World};

/// How long a link is cut. Everything that has window is sent long before.
const CUT: Duration = Duration::from_secs(2);
/// Three times what a path may hold, so that most of it can only come after the cut.
const BYTES: u64 = 3 * BOUND;
/// The client's own window for responses, which it announces (`Client::connect`): its reader's.
const CLIENT_WINDOW: u64 = 1 << 20;
/// Messages that handlers send, which are more than a path holds with the client's window.
const RESPONSES: u32 = 200;
/// Bytes of each.
const RESPONSE: u32 = 20_000;

/// Proves: ZB-7
#[test]
fn a_cut_between_client_and_gateway_that_heals_loses_nothing() {
    daemon::run(heals(Link::Front, Patience::ENDLESS, CUT));
}

/// Proves: ZB-7, T12
#[test]
fn a_cut_between_gateway_and_instance_that_heals_loses_nothing() {
    daemon::run(heals(Link::Back(0), Patience::ENDLESS, CUT));
}

/// Proves: ZB-7, T12
#[test]
fn a_cut_between_gateway_and_agent_that_heals_loses_nothing() {
    daemon::run(heals(Link::Back(1), Patience::ENDLESS, CUT));
}

/// Cuts a link for a while, with calls of every kind on it.
///
/// # Errors
/// Where anything is lost, or more is under way than may be.
pub(crate) async fn heals(link: Link, patience: Patience, cut_for: Duration) -> Result<()> {
    let mut world = World::start(patience).await?;
    let (cut, other) = match link {
        Link::Front => (0, None),
        Link::Back(n) => (n, Some(1 - n)),
    };
    let mut calls = Vec::new();
    // Of each kind one, whose handler waits with all of its work until the link is cut.
    for (method, script) in scripts() {
        let is_one = ["Unary", "ServerStream"].contains(&method);
        let script = Script::new().head().wait("go").times(1, &script);
        let call = world.open(Some(cut), method, &script, |open| match is_one {
            true => (open.messages, open.size) = (1, BYTES as u32),
            false => upload(BYTES)(open),
        });
        let call = call.await?;
        call.handler.waiting("go").await?;
        calls.push(call);
    }
    world.cut(link).await?;
    for call in &calls {
        call.handler.release("go");
    }
    let mut ticks = tokio::time::interval(cut_for / 10);
    for _ in 0..10 {
        ticks.tick().await;
        if let Some(other) = other {
            world.sibling(other).await?;
        }
        calls.iter().try_for_each(bounded)?;
    }
    for call in &calls {
        ensure!(
            call.edge.seen().ended.is_none(),
            "{} ended while its link was cut",
            call.edge.name()
        );
    }
    world.mend(link).await?;
    for call in &calls {
        call.complete().await?;
    }
    let received = |call: &Call| call.edge.seen().received;
    let all = Amount::new(RESPONSES.into(), u64::from(RESPONSES) * u64::from(RESPONSE));
    let server_stream = received(&calls[2]);
    ensure!(
        server_stream == all,
        "the client received {server_stream:?} of {all:?}"
    );
    let echoed = received(&calls[3]);
    let taken = calls[3].handler.counts().taken;
    ensure!(
        echoed == taken,
        "{taken:?} were echoed, and {echoed:?} received"
    );
    world.sibling(cut).await
}

/// The kinds of call, and what their handlers do.
fn scripts() -> [(&'static str, Script); 4] {
    [
        ("Unary", Script::new().read_all().send(1, RESPONSE)),
        ("ClientStream", Script::new().read_all().send(1, RESPONSE)),
        (
            "ServerStream",
            Script::new().read_all().send(RESPONSES, RESPONSE),
        ),
        ("Bidi", Script::new().echo_all()),
    ]
}

/// Neither direction holds more than it may.
fn bounded(call: &Call) -> Result<()> {
    let up = call.under_way();
    let name = call.edge.name();
    ensure!(
        up <= BOUND,
        "{name}: {up} bytes of the request are under way, of {BOUND}"
    );
    let received = call.edge.seen().received.bytes;
    let down = call.handler.counts().sent.bytes.saturating_sub(received);
    let most = BOUND + CLIENT_WINDOW;
    ensure!(
        down <= most,
        "{name}: {down} bytes of the response are under way, of {most}"
    );
    Ok(())
}
