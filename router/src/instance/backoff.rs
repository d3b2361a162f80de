//! How long to wait before dialling again.

use std::time::Duration;

/// Full jitter: a wait between nothing and a ceiling, which doubles with every failure up to a cap.
///
/// A gateway that restarts meets its instances spread over the ceiling, not all at once.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first ceiling. 200 ms.
    pub first: Duration,
    /// The last ceiling. 10 s.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            cap: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row, the first of which is 1.
    pub fn wait(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        let factor = 1u32
            .checked_shl(failures.saturating_sub(1).min(20))
            .unwrap_or(u32::MAX);
        let ceiling = self.first.saturating_mul(factor).min(self.cap);
        ceiling.mul_f64(rng.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: T8
    #[test]
    fn a_thousand_instances_spread_over_the_whole_ceiling() {
        let backoff = Backoff::default();
        let ceiling = backoff.first * 8;
        let mut tenths = [0u32; 10];
        for seed in 0..1_000 {
            let wait = backoff.wait(4, &mut fastrand::Rng::with_seed(seed));
            assert!(wait < ceiling, "{wait:?}");
            tenths[(wait.as_secs_f64() / ceiling.as_secs_f64() * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (60..=140).contains(n)), "{tenths:?}");
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let backoff = Backoff::default();
        let longest = |failures| {
            let waits =
                (0..500).map(|seed| backoff.wait(failures, &mut fastrand::Rng::with_seed(seed)));
            waits.max().unwrap_or_default()
        };
        assert!(longest(1) <= backoff.first);
        assert!(longest(3) > backoff.first * 2);
        assert!(longest(1_000) <= backoff.cap);
    }
}
