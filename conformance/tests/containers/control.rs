//! The cases can fail.

use std::time::Duration;

use anyhow::ensure;

use crate::daemon;
use crate::lasts::{NEVER, lasts};
use crate::links::Link;
use crate::world::World;

/// Longer than sides that watch their links closely may take.
const LIMIT: Duration = Duration::from_secs(7);

#[test]
fn a_gateway_that_keeps_zombies_is_noticed() {
    daemon::run(async {
        // Its heartbeats are so far apart that it never misses one.
        let mut world = World::start(NEVER).await?;
        let failed = lasts(&mut world, Link::Back(0), LIMIT).await;
        let noticed = failed.err().map(|error| error.to_string());
        let noticed = noticed.unwrap_or_default();
        ensure!(
            noticed.contains("not seen within") || noticed.contains("no end"),
            "it was not noticed that both sides live on: {noticed:?}"
        );
        Ok(())
    });
}
