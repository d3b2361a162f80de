//! The oracle can fail: every sabotage is caught, by the rule that names it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use grpcrouter_core::sabotage::{self, Sabotage};

use crate::layer::Layer;
use crate::oracle::Rule;
use crate::report::{Report, Watch};
use crate::sweep::guarded;

/// The layer at which a sabotage is looked for, and the rule that catches it there: those of the core where
/// there is nothing but the core, those of the shell where the shell is.
const fn caught_by(sabotage: Sabotage) -> (Layer, Rule) {
    use Layer::{Frame, Net};
    use Sabotage as S;
    match sabotage {
        S::CreditIgnored => (Frame, Rule::OverBound),
        S::CreditOnReceipt => (Frame, Rule::OverBound),
        S::CreditLeaked => (Frame, Rule::Leaked),
        S::LanesReordered => (Frame, Rule::Gapped),
        S::EndBeforeData => (Frame, Rule::Gapped),
        S::HalfCloseLost => (Frame, Rule::Leaked),
        S::ChunkDropped => (Frame, Rule::Gapped),
        S::ChunkTwice => (Frame, Rule::Reordered),
        S::ByteFlipped => (Frame, Rule::Corrupted),
        S::FailureTruncated => (Frame, Rule::Gapped),
        S::EndUntold => (Frame, Rule::Lost),
        S::ResetLost => (Frame, Rule::Leaked),
        S::KeptAfterReset => (Frame, Rule::Zombie),
        S::GenerationUnchecked => (Frame, Rule::Unjustified),
        S::EpochUnchecked => (Frame, Rule::Misrouted),
        S::HeartbeatIgnored => (Frame, Rule::Unavailable),
        S::DeadlineIgnored => (Frame, Rule::Late),
        S::RetriedWhenSent => (Frame, Rule::Duplicated),
        S::SentAfterClose => (Frame, Rule::Duplicated),
        S::SlotLeaked => (Frame, Rule::Leaked),
        S::LoadLeaked => (Frame, Rule::Leaked),
        S::OpenAfterDrain => (Frame, Rule::Unjustified),
        S::PinIgnored => (Frame, Rule::Misrouted),
        S::WindowOnReceipt => (Net, Rule::OverBound),
        S::WindowKept => (Net, Rule::Leaked),
        S::OutflowUnbounded => (Net, Rule::OverBound),
        S::ResetUnheard => (Net, Rule::Zombie),
        S::CallNotReleased => (Net, Rule::Leaked),
        S::LostUntold => (Net, Rule::Leaked),
        S::TimerNotMoved => (Net, Rule::Late),
        S::DeadTunnelKept => (Net, Rule::Leaked),
        S::KeepaliveNever => (Net, Rule::Leaked),
        S::DrainUnlimited => (Net, Rule::Late),
        S::LossMisnamed => (Net, Rule::Unjustified),
        S::GatewayDrainCuts => (Net, Rule::Unjustified),
        S::InstanceDrainCuts => (Net, Rule::Unjustified),
        S::TunnelTaskLeaked => (Net, Rule::Leaked),
        S::TrailersDropped => (Net, Rule::Unjustified),
        S::RetriedWhenLost => (Net, Rule::Duplicated),
        S::ReplayTruncated => (Net, Rule::Gapped),
        S::HandlerNotAborted => (Net, Rule::Zombie),
        S::CutIsEnd => (Net, Rule::Gapped),
        S::UploadCutIsEnd => (Net, Rule::Gapped),
        S::UnflushedDropped => (Net, Rule::Unjustified),
        S::NeverDialsAgain => (Net, Rule::Unavailable),
        S::DeadConnectionKept => (Net, Rule::Unavailable),
    }
}

/// Seeds in which a sabotage is to be caught, all of them among those of every check.
fn seeds(layer: Layer) -> Range<u64> {
    match layer {
        Layer::Frame => 0..10_000,
        // The rarest of them, a drain that has no limit, shows in one of a hundred.
        Layer::Net => 0..600,
        Layer::Lossy => 0..5,
    }
}

/// A sabotage by its name.
pub fn by_name(name: &str) -> Result<Sabotage, String> {
    let all = || Sabotage::ALL.iter().copied();
    let found = all().find(|s| format!("{s:?}") == name);
    found.ok_or_else(|| {
        let names: Vec<_> = all().map(|s| format!("{s:?}")).collect();
        format!("no sabotage `{name}`; they are {}", names.join(", "))
    })
}

/// Runs every sabotage on `threads` threads until its rule catches it. Gives a line for each.
///
/// # Errors
/// Names those that no seed catches, or only a panic or another rule; and those whose seed breaks a rule
/// without them too.
pub fn check(threads: usize) -> Result<Vec<String>> {
    // A sabotage may also make something panic, which would only fill the screen.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let judged = judge(threads);
    std::panic::set_hook(hook);
    let (caught, missed): (Vec<_>, Vec<_>) = judged.into_iter().partition(Result::is_ok);
    let missed: Vec<_> = missed.into_iter().filter_map(Result::err).collect();
    ensure!(
        missed.is_empty(),
        "holes in the oracle:\n{}",
        missed.join("\n")
    );
    Ok(caught.into_iter().filter_map(Result::ok).collect())
}

/// What each sabotage came to, in their order.
fn judge(threads: usize) -> Vec<Result<String, String>> {
    let next = AtomicUsize::new(0);
    let judged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    // From the last one: those of the shell take longest.
                    let left = Sabotage::ALL.len() - 1;
                    let Some(place) = left.checked_sub(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    let verdict = look_for(Sabotage::ALL[place]);
                    let mut judged = judged.lock().unwrap_or_else(PoisonError::into_inner);
                    judged.push((place, verdict));
                }
            });
        }
    });
    let mut judged = judged.into_inner().unwrap_or_else(PoisonError::into_inner);
    judged.sort_by_key(|(place, _)| *place);
    judged.into_iter().map(|(_, verdict)| verdict).collect()
}

/// The first seed in which its rule catches a sabotage, and which is clean without it.
fn look_for(sabotage: Sabotage) -> Result<String, String> {
    let (layer, rule) = caught_by(sabotage);
    let mut others = Vec::new();
    for seed in seeds(layer) {
        let report = run(layer, seed, Some(sabotage));
        let Some(found) = report.violations.iter().find(|found| found.rule == rule) else {
            others.extend(report.violations.iter().map(|found| found.rule));
            continue;
        };
        let without = run(layer, seed, None);
        if !without.is_clean() {
            return Err(format!("{sabotage:?}: not the only fault: {without}"));
        }
        return Ok(format!("{sabotage:?}: {layer} seed {seed}: {found}"));
    }
    others.sort_unstable();
    others.dedup();
    Err(format!(
        "{sabotage:?}: {rule} does not catch it at the {layer} level; {others:?} do"
    ))
}

/// Runs a seed, with something wrong or with nothing. A layer runs on the thread that calls it, and so does all
/// that it runs: the choice is of this thread.
fn run(layer: Layer, seed: u64, wrong: Option<Sabotage>) -> Report {
    sabotage::choose(wrong);
    let report = guarded(seed, layer.name(), &|seed| {
        layer.run(seed, None, Watch::default())
    });
    sabotage::choose(None);
    report
}
