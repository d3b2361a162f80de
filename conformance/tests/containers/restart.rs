//! The gateway is killed and started again, while one of its instances is cut off.

use anyhow::ensure;
use grpcrouter_conformance::remote::End;

use crate::calls::{Call, UNAVAILABLE};
use crate::daemon;
use crate::links::Link;
use crate::patience::Patience;
use crate::world::{BOUND, World, ids};

/// Calls that go wherever the gateway likes.
const CALLS: usize = 20;

/// Proves: T9
#[test]
fn a_gateway_that_restarts_knows_live_tunnels_only() {
    daemon::run(async {
        let mut world = World::start(Patience::SHORT).await?;
        let (there, away) = (0, 1);
        let running = [
            world.stalled(there, BOUND).await?,
            world.stalled(away, BOUND).await?,
        ];
        world.cut(Link::Back(away)).await?;
        let gateway = &world.gateway.container;
        gateway.stop_with_timeout(Some(0)).await?;
        gateway.start().await?;
        for call in &running {
            let end = call.edge.ended().await?.0;
            ensure!(matches!(end, End::Lost(_)), "the client saw {end:?}");
            call.handler.cancelled().await?;
        }
        world.registered(there).await?;
        let (end, _) = world.short(Some(away)).await?;
        let none =
            matches!(&end, End::Status { code: UNAVAILABLE, reason } if reason == "no-instance");
        ensure!(
            none,
            "a call of the instance that is cut off ended with {end:?}"
        );
        for _ in 0..CALLS {
            let (end, call) = world.short(None).await?;
            ensure!(
                matches!(end, End::Status { code: 0, .. }),
                "a call of any instance ended with {end:?}"
            );
            // The client's reports and the handler's come by different ways.
            call.handler.finished().await?;
            let ran_at = call.handler.all_runs().pop().map(|run| run.instance);
            let there = ids()[there];
            ensure!(ran_at.as_deref() == Some(there), "it ran at {ran_at:?}");
        }
        world.mend(Link::Back(away)).await?;
        world.registered(away).await?;
        running.iter().try_for_each(Call::ran_once)
    });
}
