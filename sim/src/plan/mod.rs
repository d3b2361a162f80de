//! What a seed draws: first the options of its run, then the calls and the faults.
//!
//! Swarm testing: every seed switches some kinds of faults and of calls off, so that what the others do
//! alone shows too.

mod call;
mod fault;
mod options;

pub use call::{CallPlan, Handler, Kind};
pub use fault::{FaultKind, FaultPlan, Hostility};
pub use options::Options;

use std::sync::Arc;

use fastrand::Rng;

/// Everything that a seed decides before the run begins.
#[derive(Debug)]
pub struct Plan {
    /// Where it came from.
    pub seed: u64,
    /// The run's settings.
    pub options: Options,
    /// The calls, in the order in which they begin.
    pub calls: Vec<Arc<CallPlan>>,
    /// The faults, in the order in which they begin.
    pub faults: Vec<FaultPlan>,
}

impl Plan {
    /// Draws a plan. `only` leaves no other kinds of faults on.
    pub fn draw(
        seed: u64,
        options: impl FnOnce(&mut Rng) -> Options,
        only: Option<&[FaultKind]>,
    ) -> Self {
        // Two seeds that differ by one must have nothing in common.
        let mut rng =
            Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d);
        let mut options = options(&mut rng);
        if let Some(only) = only {
            options.faults = only.to_vec();
        }
        let mut calls = call::draw(&mut rng, &options);
        calls.sort_by_key(|call| call.start);
        let faults = fault::draw(&mut rng, &options);
        Self {
            seed,
            options,
            calls: calls.into_iter().map(Arc::new).collect(),
            faults,
        }
    }
}

/// One of these, by weight.
fn weighted<T: Copy>(rng: &mut Rng, choices: &[(u32, T)]) -> T {
    let mut at = rng.u32(..choices.iter().map(|(weight, _)| weight).sum::<u32>());
    for (weight, choice) in choices {
        match at.checked_sub(*weight) {
            Some(rest) => at = rest,
            None => return *choice,
        }
    }
    unreachable!("the weights were summed up")
}

/// A length of time between two, in microseconds, each order of magnitude as likely as the next.
fn spread_us(rng: &mut Rng, least_us: u64, most_us: u64) -> u64 {
    let (least, most) = ((least_us as f64).ln(), (most_us as f64).ln());
    (least + rng.f64() * (most - least)).exp() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_plan_every_time() {
        let text = |seed| format!("{:?}", Plan::draw(seed, Options::frame, None));
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn weights_are_shares() {
        let mut rng = Rng::with_seed(1);
        let ones = (0..10_000).filter(|_| weighted(&mut rng, &[(3, 1), (1, 2)]) == 1);
        assert!((7_200..7_800).contains(&ones.count()));
    }
}
