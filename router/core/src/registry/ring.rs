//! Consistent hashing: where a key's instance stands.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;

/// Points of a member. More spread the keys more evenly: with 64 a member has its share, give or take an
/// eighth. They take about 2 KiB of memory, and making a ring of 1,000 members takes milliseconds.
const POINTS: u64 = 64;

/// The members of a service on a ring of hashes. Each has points that its id alone decides, so every
/// gateway puts it at the same places, and one that comes back finds its keys. A key belongs to the
/// point with the shortest way from its own hash on, where a way is the shorter the higher the weight of
/// the point's member: so weights are shares, a heavy member has no more points than a light one, and when
/// one leaves, its own keys alone move.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// By weight as [`rounded`]: at most 111 rings.
    points: BTreeMap<u32, BTreeSet<(u64, Key)>>,
}

impl Ring {
    /// A ring of these members, with their ids and weights: sorted at once, which takes a fraction of the
    /// time that joining one by one does.
    pub(super) fn of<'a>(members: impl Iterator<Item = (Key, &'a str, u32)>) -> Self {
        let mut unsorted: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for (member, id, weight) in members {
            let points = points(id).map(|at| (at, member));
            unsorted.entry(rounded(weight)).or_default().extend(points);
        }
        let sorted = unsorted.into_iter();
        Self {
            points: sorted
                .map(|(w, all)| (w, all.into_iter().collect()))
                .collect(),
        }
    }

    pub(super) fn join(&mut self, member: Key, id: &str, weight: u32) {
        let ring = self.points.entry(rounded(weight)).or_default();
        ring.extend(points(id).map(|at| (at, member)));
    }

    pub(super) fn leave(&mut self, member: Key, id: &str, weight: u32) {
        let weight = rounded(weight);
        if let Some(ring) = self.points.get_mut(&weight) {
            for at in points(id) {
                ring.remove(&(at, member));
            }
            if ring.is_empty() {
                self.points.remove(&weight);
            }
        }
    }

    /// The member that a key belongs to.
    pub(super) fn owner(&self, key: &[u8]) -> Option<Key> {
        let place = hash(key);
        let heads = self.points.iter().filter_map(|(&weight, ring)| {
            let (at, member) = from(ring, place).next()?;
            Some((way(place, at, weight), member))
        });
        heads.min().map(|(_, member)| member)
    }

    /// The members of all points, the owner's first. One comes as often as it has points.
    pub(super) fn walk(&self, key: &[u8]) -> impl Iterator<Item = Key> {
        let place = hash(key);
        let rings = self.points.iter();
        let mut rings: Vec<_> = rings
            .map(|(w, ring)| (*w, from(ring, place).peekable()))
            .collect();
        std::iter::from_fn(move || {
            let heads = rings
                .iter_mut()
                .enumerate()
                .filter_map(|(n, (weight, ring))| {
                    let (at, member) = *ring.peek()?;
                    Some((way(place, at, *weight), member, n))
                });
            let (_, member, n) = heads.min()?;
            rings[n].1.next();
            Some(member)
        })
    }
}

/// The points of a ring from a place on.
fn from(ring: &BTreeSet<(u64, Key)>, place: u64) -> impl Iterator<Item = (u64, Key)> {
    let first = (place, Key::from_bits(0));
    ring.range(first..).chain(ring.range(..first)).copied()
}

/// How far it is from a place to a point, for its weight.
fn way(from: u64, to: u64, weight: u32) -> u128 {
    (u128::from(to.wrapping_sub(from)) << 32) / u128::from(weight)
}

/// A weight up to 32 as it is, a higher one to its first five bits: within a thirtieth.
fn rounded(weight: u32) -> u32 {
    let bits = weight.max(1).ilog2().saturating_sub(4);
    weight.max(1) >> bits << bits
}

fn points(id: &str) -> impl Iterator<Item = u64> + use<> {
    let start = hash(id.as_bytes());
    (0..POINTS).map(move |n| mix(start ^ mix(n + 1)))
}

/// FNV-1a with a last round that spreads it over all bits. Fixed for ever: gateways of different versions
/// must agree.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// The last round of splitmix64.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u32) -> Key {
        Key::from_bits(1 << 32 | u64::from(n))
    }

    fn ring(count: u32) -> Ring {
        let ids: Vec<_> = (0..count).map(|n| format!("instance-{n}")).collect();
        Ring::of((0..).zip(&ids).map(|(n, id)| (member(n), id.as_str(), 1)))
    }

    fn owners(ring: &Ring, keys: u32) -> Vec<u32> {
        let owner = |n| ring.owner(format!("key-{n}").as_bytes());
        (0..keys)
            .map(|n| owner(n).expect("a member").slot)
            .collect()
    }

    /// Proves: R19
    #[test]
    fn one_nth_of_the_keys_moves_when_one_of_n_leaves_and_all_were_its_own() {
        const KEYS: u32 = 10_000;
        for n in [2, 8, 100] {
            let mut ring = ring(n);
            let before = owners(&ring, KEYS);
            let mut moved_in_all = 0;
            for left in 0..n {
                let id = format!("instance-{left}");
                ring.leave(member(left), &id, 1);
                let after = owners(&ring, KEYS);
                let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
                let its_own = before.iter().filter(|owner| **owner == left).count();
                assert_eq!(moved, its_own, "nobody else's keys move");
                // A share is 1/n, give or take what 64 points leave to chance: three times an eighth.
                let limit = KEYS as usize / n as usize * 11 / 8;
                assert!(moved <= limit, "{moved} of {KEYS} moved with {n} instances");
                moved_in_all += moved;
                ring.join(member(left), &id, 1);
            }
            assert_eq!(
                moved_in_all, KEYS as usize,
                "1/n of the keys, over all that leave"
            );
            assert_eq!(owners(&ring, KEYS), before, "who comes back finds its keys");
        }
    }

    #[test]
    fn a_weight_is_a_share_of_the_keys_over_the_whole_range() {
        // Ten of each, so that chance evens out.
        for (light, heavy) in [(1, 1), (1, 3), (16, 64), (100, 200), (1, 100), (10, 1_000)] {
            let ids: Vec<_> = (0..20).map(|n| format!("instance-{n}")).collect();
            let weight = |n| if n < 10 { light } else { heavy };
            let all = (0..)
                .zip(&ids)
                .map(|(n, id)| (member(n), id.as_str(), weight(n)));
            let ring = Ring::of(all);
            let had = owners(&ring, 20_000).iter().filter(|n| **n < 10).count();
            let due = 20_000 * light as usize / (light + heavy) as usize;
            let most = due / 5 + 20;
            assert!(
                had.abs_diff(due) <= most,
                "{had} of {due}: {light} to {heavy}"
            );
        }
    }

    #[test]
    fn a_key_has_all_members_in_an_order_that_outlives_the_first() {
        let mut ring = ring(4);
        ring.join(member(4), "heavy", 40);
        let order = |ring: &Ring| {
            let mut seen = Vec::new();
            for member in ring.walk(b"k") {
                if !seen.contains(&member.slot) {
                    seen.push(member.slot);
                }
            }
            seen
        };
        let before = order(&ring);
        assert_eq!(before.len(), 5);
        assert_eq!(ring.owner(b"k").map(|it| it.slot), Some(before[0]));
        let weight = if before[0] == 4 { 40 } else { 1 };
        let id = if before[0] == 4 {
            "heavy".to_owned()
        } else {
            format!("instance-{}", before[0])
        };
        ring.leave(member(before[0]), &id, weight);
        assert_eq!(order(&ring), before[1..]);
    }

    #[test]
    fn the_places_on_the_ring_never_change() {
        assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b);
        let first: Vec<_> = points("instance-1").take(2).collect();
        assert_eq!(first.len(), 2);
        insta::assert_debug_snapshot!((hash(b"key-1"), first));
    }
}
