//! A link that comes and goes leaves nothing behind.

use anyhow::{Result, bail, ensure};
use grpcrouter_conformance::probe::side::Ended;
use grpcrouter_conformance::remote::End;

use crate::calls::UNAVAILABLE;
use crate::daemon;
use crate::links::Link;
use crate::patience::Patience;
use crate::world::{BOUND, World};

const FLAPS: usize = 20;

/// Proves: T14
#[test]
fn a_link_that_flaps_leaves_no_calls() {
    daemon::run(async {
        let mut world = World::start(Patience::SHORT).await?;
        let mut calls = Vec::new();
        for flap in 0..FLAPS {
            // One of both links; what went over it may survive, or end at both edges.
            let link = match flap % 3 {
                0 => Link::Front,
                1 => Link::Back(0),
                _ => Link::Back(1),
            };
            for instance in [0, 1] {
                world.registered(instance).await?;
                calls.push(world.stalled(instance, BOUND).await?);
            }
            world.cut(link).await?;
            world.mend(link).await?;
            for call in &calls[2 * flap..] {
                call.handler.release("go");
            }
        }
        let (mut survived, mut lost) = (0, 0);
        for call in &calls {
            match (call.edge.ended().await?.0, call.handler.ended().await?) {
                (End::Status { code: 0, .. }, Ended::Finished(0)) => {
                    call.complete().await?;
                    survived += 1;
                }
                (
                    End::Status {
                        code: UNAVAILABLE, ..
                    }
                    | End::Lost(_),
                    Ended::Cancelled | Ended::Finished(0),
                ) => lost += 1,
                (edge, handler) => {
                    bail!("{}: {edge:?}, {handler:?}", call.edge.name())
                }
            }
            call.ran_once()?;
        }
        println!("{survived} calls survived {FLAPS} flaps, {lost} ended at both edges");
        empty(&world).await
    });
}

/// A gateway that still had a call would wait for it, and then say so by its exit code.
async fn empty(world: &World) -> Result<()> {
    let gateway = &world.gateway.container;
    gateway.stop_with_timeout(Some(20)).await?;
    let code = gateway.exit_code().await?;
    ensure!(
        code == Some(0),
        "the gateway drained and ended with {code:?}"
    );
    Ok(())
}
