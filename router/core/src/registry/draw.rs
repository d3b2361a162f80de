//! Members drawn at random, each as often as its weight is of all.

/// Weights under small numbers, with sums of what stands before each (a Fenwick tree): changing one and
/// drawing are O(log n).
#[derive(Debug, Default)]
pub(super) struct Draw {
    /// At `n - 1` the sum of the last `lowbit(n)` weights up to and with the n-th.
    sums: Vec<u64>,
    total: u64,
}

/// Who was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) slot: usize,
    /// The weights of all before it.
    start: u64,
    weight: u64,
}

impl Draw {
    /// The sum of all weights.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn add(&mut self, slot: usize, weight: u32) {
        while self.sums.len() <= slot {
            let n = self.sums.len() + 1;
            // What its range covers beside itself is there already.
            let sum = self.before(n - 1) - self.before(n - lowbit(n));
            self.sums.push(sum);
        }
        self.total += u64::from(weight);
        self.change(slot, |sum| *sum += u64::from(weight));
    }

    pub(super) fn remove(&mut self, slot: usize, weight: u32) {
        self.total -= u64::from(weight);
        self.change(slot, |sum| *sum -= u64::from(weight));
    }

    /// Whom a random number draws. None where nobody is.
    pub(super) fn first(&self, random: u64) -> Option<Drawn> {
        (self.total > 0).then(|| self.at(scale(random, self.total)))
    }

    /// Whom it draws of all others.
    pub(super) fn other(&self, than: Drawn, random: u64) -> Option<Drawn> {
        let others = self.total - than.weight;
        let point = (others > 0).then(|| scale(random, others))?;
        let behind = if point < than.start { 0 } else { than.weight };
        Some(self.at(point + behind))
    }

    /// The one at a slot, as if it was drawn.
    pub(super) fn at_slot(&self, slot: usize) -> Drawn {
        let start = self.before(slot);
        let weight = self.before(slot + 1) - start;
        Drawn {
            slot,
            start,
            weight,
        }
    }

    /// Whose weight covers this point, below the total.
    fn at(&self, point: u64) -> Drawn {
        let (mut slot, mut start) = (0, 0);
        let mut step = (self.sums.len() + 1).next_power_of_two() / 2;
        while step > 0 {
            if let Some(sum) = self.sums.get(slot + step - 1).map(|sum| start + sum)
                && sum <= point
            {
                (slot, start) = (slot + step, sum);
            }
            step /= 2;
        }
        self.at_slot(slot)
    }

    /// The sum of the first `n` weights.
    fn before(&self, mut n: usize) -> u64 {
        let mut sum = 0;
        while n > 0 {
            sum += self.sums[n - 1];
            n -= lowbit(n);
        }
        sum
    }

    fn change(&mut self, slot: usize, change: impl Fn(&mut u64)) {
        let mut n = slot + 1;
        while let Some(sum) = self.sums.get_mut(n - 1) {
            change(sum);
            n += lowbit(n);
        }
    }
}

/// From all 64-bit numbers to those below `limit`, evenly.
fn scale(random: u64, limit: u64) -> u64 {
    ((u128::from(random) * u128::from(limit)) >> 64) as u64
}

fn lowbit(n: usize) -> usize {
    n & n.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_drawn_as_often_as_its_weight_says_whoever_joined_and_left() {
        let mut draw = Draw::default();
        assert_eq!(draw.first(7), None);
        let mut weights = [0_u32; 40];
        for slot in (0..40).rev().chain(0..40) {
            let joins = slot % 3 != 1 || weights[slot] == 0;
            if weights[slot] > 0 {
                draw.remove(slot, std::mem::take(&mut weights[slot]));
            }
            if joins {
                weights[slot] = 1 + slot as u32 * slot as u32;
                draw.add(slot, weights[slot]);
            }
        }
        let total = weights.iter().sum::<u32>();
        assert_eq!(draw.total(), total.into());
        let mut drawn = [0; 40];
        for point in 0..total {
            let it = draw.at(point.into());
            drawn[it.slot] += 1;
            assert_eq!(it.weight, weights[it.slot].into());
        }
        assert_eq!(drawn, weights);
    }

    #[test]
    fn the_other_is_another_by_the_weights_of_the_others() {
        let mut draw = Draw::default();
        for (slot, weight) in [(0, 3), (2, 1), (3, 1_000)] {
            draw.add(slot, weight);
        }
        let heavy = draw.first(u64::MAX).expect("someone");
        assert_eq!(heavy.slot, 3);
        let others = (0..4).map(|n| draw.other(heavy, n << 62).expect("someone").slot);
        assert_eq!(others.collect::<Vec<_>>(), [0, 0, 0, 2]);
        draw.remove(0, 3);
        draw.remove(2, 1);
        assert_eq!(draw.other(heavy, 5), None);
    }
}
