//! The oracle can fail: every sabotage is caught, by the rule that names it.

use std::ops::Range;

use anyhow::{Result, ensure};
use grpcrouter_core::sabotage::{self, Sabotage};

use crate::layer::Layer;
use crate::oracle::Rule;
use crate::report::{Report, Watch};
use crate::sweep::guarded;

/// Seeds in which each is to be caught, all of them among those of every check.
pub const SEEDS: Range<u64> = 0..10_000;

/// Which rule catches what.
const CAUGHT_BY: [(Sabotage, Rule); 20] = [
    (Sabotage::CreditIgnored, Rule::OverBound),
    (Sabotage::CreditOnReceipt, Rule::OverBound),
    (Sabotage::CreditLeaked, Rule::Leaked),
    (Sabotage::LanesReordered, Rule::Gapped),
    (Sabotage::EndBeforeData, Rule::Gapped),
    (Sabotage::HalfCloseLost, Rule::Leaked),
    (Sabotage::ChunkDropped, Rule::Gapped),
    (Sabotage::ChunkTwice, Rule::Reordered),
    (Sabotage::ResetLost, Rule::Leaked),
    (Sabotage::KeptAfterReset, Rule::Zombie),
    (Sabotage::GenerationUnchecked, Rule::Unjustified),
    (Sabotage::EpochUnchecked, Rule::Misrouted),
    (Sabotage::HeartbeatIgnored, Rule::Unavailable),
    (Sabotage::DeadlineIgnored, Rule::Late),
    (Sabotage::RetriedWhenSent, Rule::Duplicated),
    (Sabotage::SentAfterClose, Rule::Duplicated),
    (Sabotage::SlotLeaked, Rule::Leaked),
    (Sabotage::LoadLeaked, Rule::Leaked),
    (Sabotage::OpenAfterDrain, Rule::Unjustified),
    (Sabotage::PinIgnored, Rule::Misrouted),
];

/// A sabotage by its name.
pub fn by_name(name: &str) -> Result<Sabotage, String> {
    let found = Sabotage::ALL.into_iter().find(|s| format!("{s:?}") == name);
    found.ok_or_else(|| {
        let names = Sabotage::ALL.map(|s| format!("{s:?}")).join(", ");
        format!("no sabotage `{name}`; they are {names}")
    })
}

/// Runs a seed with something wrong.
pub fn run(layer: Layer, seed: u64, sabotage: Sabotage, watch: Watch) -> Report {
    sabotage::choose(Some(sabotage));
    let report = layer.run(seed, None, watch);
    sabotage::choose(None);
    report
}

/// Runs every sabotage until its rule catches it. Gives a line for each.
///
/// # Errors
/// Names those that no seed catches, or only a panic or another rule.
pub fn check() -> Result<Vec<String>> {
    // A sabotage may also make something panic, which would only fill the screen.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let judged = judge();
    std::panic::set_hook(hook);
    judged
}

fn judge() -> Result<Vec<String>> {
    let mut caught = Vec::new();
    let mut missed = Vec::new();
    for (sabotage, rule) in CAUGHT_BY {
        let mut others = Vec::new();
        let found = SEEDS.clone().find_map(|seed| {
            let report = guarded(seed, Layer::Frame.name(), &|seed| {
                run(Layer::Frame, seed, sabotage, Watch::default())
            });
            let by_rule = report.violations.iter().find(|found| found.rule == rule);
            others.extend(report.violations.iter().map(|found| found.rule));
            by_rule.map(|found| (seed, found.to_string()))
        });
        match found {
            Some((seed, what)) => caught.push(format!("{sabotage:?}: seed {seed}: {what}")),
            None => {
                others.sort_unstable();
                others.dedup();
                missed.push(format!(
                    "{sabotage:?}: {rule} does not catch it; {others:?} do"
                ));
            }
        }
    }
    ensure!(
        missed.is_empty(),
        "holes in the oracle:\n{}",
        missed.join("\n")
    );
    Ok(caught)
}
