//! A link is cut for longer than its limit: both of its sides end what went over it, and nothing comes later.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use grpcrouter_conformance::clock;
use grpcrouter_conformance::remote::End;

use crate::calls::UNAVAILABLE;
use crate::daemon;
use crate::links::Link;
use crate::patience::{INTERVAL, NOTICED, Patience};
use crate::world::{BOUND, World};

/// Proves: ZB-7, T5, T12
#[test]
fn a_cut_between_gateway_and_instance_ends_both_sides() {
    daemon::run(lasts(Link::Back(0), Patience::SHORT, NOTICED));
}

/// Proves: ZB-7, T5, T12
#[test]
fn a_cut_between_gateway_and_agent_ends_both_sides() {
    daemon::run(lasts(Link::Back(1), Patience::SHORT, NOTICED));
}

/// Proves: ZB-7, T11
#[test]
fn a_cut_between_client_and_gateway_cancels_the_handler() {
    daemon::run(lasts(Link::Front, Patience::SHORT, NOTICED));
}

/// Cuts a link for good, and mends it when both of its sides have noticed.
///
/// # Errors
/// Where one of them has not within the limit, or ends otherwise than it must.
pub(crate) async fn lasts(link: Link, patience: Patience, limit: Duration) -> Result<()> {
    let mut world = World::start(patience).await?;
    let cut = match link {
        Link::Front => 0,
        Link::Back(n) => n,
    };
    let call = world.stalled(cut, 3 * BOUND).await?;
    let before = clock::now();
    world.cut(link).await?;
    let after = clock::now();
    let client = async {
        let (end, _, at) = call.edge.ended_within(limit).await?;
        match (link, end) {
            // What the client has no connection for any more is UNAVAILABLE in every library.
            (Link::Front, End::Lost(_)) => {}
            (
                Link::Back(_),
                End::Status {
                    code: UNAVAILABLE,
                    reason,
                },
            ) if reason == "instance-lost" => {}
            (_, end) => bail!("the call ended with {end:?}"),
        }
        anyhow::Ok(at)
    };
    let handler = call.handler.within(limit);
    let handler = async { anyhow::Ok(handler.cancelled().await?) };
    let (client, handler) = tokio::try_join!(client, handler)?;
    for (side, at) in [("client", client), ("handler", handler)] {
        ensure!(
            at < after + limit,
            "the {side} was told {:?} after the cut",
            at - after
        );
        // A cut that were seen as an error of the socket would be none: the silence itself is what ends it.
        ensure!(
            at >= before + INTERVAL / 2,
            "the {side} was told {:?} after the cut began",
            at.saturating_duration_since(before)
        );
    }
    println!(
        "{link:?}: the client was told {:?} after the cut, the handler {:?}",
        client.saturating_duration_since(after),
        handler.saturating_duration_since(after)
    );
    let up = call.under_way();
    ensure!(up <= BOUND, "{up} bytes were under way, of {BOUND}");

    let seen = call.handler.counts();
    world.mend(link).await?;
    world.registered(cut).await?;
    call.handler.release("go");
    // What a zombie would deliver comes before what is sent after it.
    for _ in 0..10 {
        world.sibling(cut).await?;
    }
    let now = call.handler.counts();
    ensure!(
        now == seen,
        "after the end the handler got {now:?}, before it {seen:?}"
    );
    call.ran_once()
}
