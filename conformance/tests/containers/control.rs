//! The cases can fail: with a gateway that bears too much or too little, each of them does.

use anyhow::{Result, ensure};

use crate::daemon;
use crate::heals::heals;
use crate::lasts::lasts;
use crate::links::Link;
use crate::patience::{NOTICED, Patience};

#[test]
fn a_gateway_that_keeps_zombies_is_noticed() {
    daemon::run(async {
        // Its heartbeats are so far apart that it never misses one.
        let failed = lasts(Link::Back(0), Patience::ENDLESS, NOTICED).await;
        fails(failed, &["not seen within", "no end"])
    });
}

#[test]
fn a_tunnel_that_is_given_up_too_soon_is_noticed() {
    daemon::run(async {
        // Nothing comes through a link that is cut, so heartbeats are missed in good time.
        let failed = heals(Link::Back(0), Patience::SHORT, NOTICED).await;
        fails(failed, &["ended while its link was cut"])
    });
}

/// The case failed, and said one of these.
fn fails(result: Result<()>, saying: &[&str]) -> Result<()> {
    let said = result.err().map(|error| format!("{error:#}"));
    let said = said.unwrap_or_default();
    ensure!(
        saying.iter().any(|due| said.contains(due)),
        "the case said {said:?}, where it was to fail with {saying:?}"
    );
    Ok(())
}
