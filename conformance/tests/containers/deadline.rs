//! A deadline passes while nobody can be reached.

use std::time::Duration;

use anyhow::{Result, ensure};
use grpcrouter_conformance::probe::Script;
use grpcrouter_conformance::remote::End;

use crate::calls::{DEADLINE_EXCEEDED, upload};
use crate::daemon;
use crate::links::Link;
use crate::patience::Patience;
use crate::world::{BOUND, World};

const TIMEOUT: Duration = Duration::from_secs(2);
/// It may be late by this much on a busy machine; the client's own clock is what counts.
const LATE: Duration = Duration::from_secs(1);

/// Proves: R10
#[test]
fn a_deadline_in_a_partition_is_kept_by_the_gateway() {
    daemon::run(async {
        let mut world = World::start(Patience::ENDLESS).await?;
        let mut calls = Vec::new();
        // One whose handler has begun, and one that finds its instance cut off.
        let script = Script::new().head().read(1).wait("never").read_all();
        for is_cut in [false, true] {
            if is_cut {
                world.cut(Link::Back(0)).await?;
            }
            let call = world.open(Some(0), "ClientStream", &script, |open| {
                upload(3 * BOUND)(open);
                open.timeout_ms = Some(TIMEOUT.as_millis() as u64);
            });
            let call = call.await?;
            if !is_cut {
                call.handler.waiting("never").await?;
            }
            calls.push(call);
        }
        for call in &calls {
            on_time(&call.edge.ended().await?)?;
        }
        // The handler keeps its own deadline, which it was told: it need not hear of the gateway.
        calls[0].handler.cancelled().await?;
        world.mend(Link::Back(0)).await?;
        world.registered(0).await?;
        world.sibling(0).await?;
        let runs = calls[1].handler.runs();
        ensure!(runs <= 1, "a handler ran {runs} times for one call");
        Ok(())
    });
}

fn on_time(ended: &(End, Duration, std::time::Instant)) -> Result<()> {
    let (end, after, _) = ended;
    ensure!(
        matches!(
            end,
            End::Status {
                code: DEADLINE_EXCEEDED,
                ..
            }
        ),
        "the client saw {end:?}"
    );
    ensure!(
        *after >= TIMEOUT && *after < TIMEOUT + LATE,
        "after {after:?}, where {TIMEOUT:?} are due"
    );
    Ok(())
}
