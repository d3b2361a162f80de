//! A process is paused: its kernel goes on to acknowledge what comes, and nobody reads it.

use anyhow::{Result, ensure};
use grpcrouter_conformance::probe::Script;
use grpcrouter_conformance::remote::End;

use crate::calls::{Call, UNAVAILABLE, upload};
use crate::daemon;
use crate::patience::{NOTICED, Patience};
use crate::world::{BOUND, World};

/// Calls at each instance.
const CALLS: usize = 5;

/// Proves: R15, T5
#[test]
fn a_paused_instance_loses_its_calls_and_no_other() {
    daemon::run(async {
        let mut world = World::start(Patience::SHORT).await?;
        for paused in [0, 1] {
            instance(&mut world, paused).await?;
        }
        Ok(())
    });
}

async fn instance(world: &mut World, paused: usize) -> Result<()> {
    let other = 1 - paused;
    let (mut lost, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        lost.push(world.stalled(paused, BOUND / 2).await?);
        kept.push(world.stalled(other, BOUND / 2).await?);
    }
    world.instances[paused].container.pause().await?;
    for call in &lost {
        call.instance_lost(NOTICED).await?;
    }
    // The same for one that has just begun, wherever the registry was by then.
    let (end, _) = world.short(Some(paused)).await?;
    ensure!(
        matches!(
            end,
            End::Status {
                code: UNAVAILABLE,
                ..
            }
        ),
        "a call of a paused instance ended with {end:?}"
    );
    for call in &kept {
        ensure!(
            call.edge.seen().ended.is_none(),
            "{} ended, at another instance",
            call.edge.name()
        );
        call.handler.release("go");
        call.complete().await?;
    }
    world.instances[paused].container.unpause().await?;
    // Its handlers learn of it when it runs again, and take nothing more.
    for call in &lost {
        call.handler.cancelled().await?;
        ensure!(call.handler.counts().taken.messages == 1, "it took more");
        call.ran_once()?;
    }
    world.registered(paused).await
}

/// Proves: T11
#[test]
fn the_handlers_of_a_paused_client_are_cancelled() {
    daemon::run(async {
        let mut world = World::start(Patience::SHORT).await?;
        let up = world.stalled(0, 3 * BOUND).await?;
        let script = Script::new().head().wait("go").send(1_000, 10_000);
        let down = world
            .open(Some(1), "ServerStream", &script, upload(0))
            .await?;
        down.handler.waiting("go").await?;
        world.client.container.pause().await?;
        // One reads nothing and the other sends as much as it may: both are told.
        down.handler.release("go");
        up.handler.within(NOTICED).cancelled().await?;
        down.handler.within(NOTICED).cancelled().await?;
        world.client.container.unpause().await?;
        for call in [&up, &down] {
            let end = call.edge.ended().await?.0;
            ensure!(matches!(end, End::Lost(_)), "the client saw {end:?}");
            call.ran_once()?;
        }
        world.registered(0).await
    });
}

/// Proves: T5, T12
#[test]
fn both_sides_give_a_paused_gateway_up() {
    daemon::run(async {
        let mut world = World::start(Patience::SHORT).await?;
        let calls = [
            world.stalled(0, BOUND).await?,
            world.stalled(1, BOUND).await?,
        ];
        world.gateway.container.pause().await?;
        for call in &calls {
            call.handler.within(NOTICED).cancelled().await?;
            let end = call.edge.ended_within(NOTICED).await?.0;
            ensure!(matches!(end, End::Lost(_)), "the client saw {end:?}");
        }
        world.gateway.container.unpause().await?;
        for instance in [0, 1] {
            world.registered(instance).await?;
        }
        calls.iter().try_for_each(Call::ran_once)
    });
}
