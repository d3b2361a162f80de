//! Consistent hashing: where a key's instance stands.

use std::collections::BTreeSet;

use super::Key;

/// Points of a member for each unit of its weight. More spread the keys more evenly: with 64 the shares
/// of equal members differ by about an eighth.
const POINTS: u32 = 64;
/// A higher weight has no more points than this one, which bounds the memory of a ring.
const WEIGHT_MAX: u32 = 16;

/// The members of a service on a ring of hashes. Each has points that its id alone decides, so every
/// gateway puts it at the same places, and one that comes back finds its keys. A key belongs to the
/// first point at or after its own hash.
#[derive(Debug)]
pub(super) struct Ring {
    points: BTreeSet<(u64, Key)>,
}

impl Ring {
    /// A ring of these members, with their ids and weights: sorted at once, which takes a fraction of the
    /// time that joining one by one does.
    pub(super) fn of<'a>(members: impl Iterator<Item = (Key, &'a str, u32)>) -> Self {
        let points = members
            .flat_map(|(member, id, weight)| points(id, weight).map(move |at| (at, member)))
            .collect();
        Self { points }
    }

    pub(super) fn join(&mut self, member: Key, id: &str, weight: u32) {
        self.points
            .extend(points(id, weight).map(|at| (at, member)));
    }

    pub(super) fn leave(&mut self, member: Key, id: &str, weight: u32) {
        for at in points(id, weight) {
            self.points.remove(&(at, member));
        }
    }

    /// The first acceptable member from the place of a key on.
    pub(super) fn find(&self, key: &[u8], accept: impl Fn(Key) -> bool) -> Option<Key> {
        let from = (hash(key), Key::from_bits(0));
        let mut around = self
            .points
            .range(from..)
            .chain(self.points.range(..from))
            .map(|(_, member)| *member);
        around.find(|member| accept(*member))
    }
}

fn points(id: &str, weight: u32) -> impl Iterator<Item = u64> + use<> {
    let start = hash(id.as_bytes());
    let count = POINTS * weight.clamp(1, WEIGHT_MAX);
    (0..u64::from(count)).map(move |n| mix(start ^ mix(n + 1)))
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
        let owner = |n| ring.find(format!("key-{n}").as_bytes(), |_| true);
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
    fn a_weight_is_a_share_of_the_keys() {
        let mut ring = ring(3);
        ring.join(member(3), "heavy", 3);
        let heavy = owners(&ring, 10_000).iter().filter(|o| **o == 3).count();
        assert!((4_000..6_000).contains(&heavy), "{heavy} of 5,000 due");
    }

    #[test]
    fn a_key_whose_owner_is_not_acceptable_goes_to_the_next_on_the_ring() {
        let ring = ring(4);
        let owner = ring.find(b"k", |_| true).expect("a member");
        let next = ring.find(b"k", |m| m != owner).expect("a member");
        assert_ne!(owner, next);
        assert_eq!(
            ring.find(b"k", |m| m != owner),
            Some(next),
            "always the same"
        );
        assert_eq!(ring.find(b"k", |_| false), None);
    }

    #[test]
    fn the_places_on_the_ring_never_change() {
        assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b);
        let first: Vec<_> = points("instance-1", 1).take(2).collect();
        assert_eq!(first.len(), 2);
        insta::assert_debug_snapshot!((hash(b"key-1"), first));
    }
}
