//! A link is cut for longer than its limit: both of its sides end what went over it, and nothing comes later.

use std::time::Duration;

use anyhow::{Result, ensure};
use grpcrouter_conformance::clock;
use grpcrouter_conformance::remote::End;

use crate::daemon;
use crate::links::Link;
use crate::world::{BOUND, PATIENT, Patience, World};

/// Between two heartbeats, and two pings of a client's connection.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// Silence is noticed after two of them. On a busy machine it may take three times as long.
pub(crate) const NOTICED: Duration = INTERVAL.saturating_mul(3 * 2);

/// Proves: ZB-7, T5, T12
#[test]
fn a_cut_between_gateway_and_instance_ends_both_sides() {
    daemon::run(async { lasts(&mut world().await?, Link::Back(0), NOTICED).await });
}

/// Proves: ZB-7, T5, T12
#[test]
fn a_cut_between_gateway_and_agent_ends_both_sides() {
    daemon::run(async { lasts(&mut world().await?, Link::Back(1), NOTICED).await });
}

/// Proves: ZB-7, T11
#[test]
fn a_cut_between_client_and_gateway_cancels_the_handler() {
    daemon::run(async { lasts(&mut world().await?, Link::Front, NOTICED).await });
}

async fn world() -> Result<World> {
    // Only the link that is cut is watched closely, so that no other end explains what is seen; but a client whose
    // instances are cut off is pinged too, and answers.
    World::start(Patience {
        heartbeat: INTERVAL,
        keepalive: INTERVAL,
    })
    .await
}

/// Cuts a link for good, and mends it when both of its sides have noticed.
///
/// # Errors
/// Where one of them has not within the limit, or ends otherwise than it must.
pub(crate) async fn lasts(world: &mut World, link: Link, limit: Duration) -> Result<()> {
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
            (Link::Back(_), End::Status { code: 14, reason }) if reason == "instance-lost" => {}
            (_, end) => anyhow::bail!("the call ended with {end:?}"),
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

/// How long nobody would lose anything: for the side that is not cut.
pub(crate) const NEVER: Patience = Patience {
    heartbeat: PATIENT,
    keepalive: PATIENT,
};
