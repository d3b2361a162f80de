//! Round robin by weight: whose turn it is.

use super::Key;

/// What a member of weight 1 waits between two turns, in the rotation's own time. Weights are at most
/// 1,000, so that rounding a share of it down is off by less than a thousandth.
const STRIDE: u64 = 1 << 20;

/// The instances that take turns for one service.
///
/// Each member is due again one stride after its last turn, and a stride is the shorter the higher its
/// weight; of those due at the same time, who waited longest is first. So among equal weights, between
/// two turns of one member, every member that was there all the time has exactly one turn, however
/// many others join and leave in between. Joining, leaving and a turn are O(log n), and `take` never
/// allocates.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Indices into `nodes`, the one that is due first at the top.
    heap: Vec<u32>,
    /// When the latest turn was due.
    now: u64,
    /// Counts turns and joins: orders those that are due at the same time.
    waits: u64,
}

/// Where a member stands in a [`Rotation`]; returned by `join`, given up by `leave`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// A small number, which nobody else has meanwhile.
    pub(super) fn slot(&self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Node {
    member: Key,
    stride: u64,
    /// When its next turn is, and since when it waits.
    due: (u64, u64),
    /// Its index in the heap.
    at: u32,
}

impl Rotation {
    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// One of the members, by a number below `len`. Which number is whose changes with every turn.
    pub(super) fn member(&self, index: usize) -> Key {
        self.nodes[self.heap[index] as usize].member
    }

    /// The member at a slot that [`Place::slot`] gave.
    pub(super) fn seated(&self, slot: usize) -> Key {
        self.nodes[slot].member
    }

    /// The slot of a member, by a number as for [`member`](Self::member).
    pub(super) fn slot(&self, index: usize) -> usize {
        self.heap[index] as usize
    }

    /// Adds a member, whose turn comes after that of everyone present with its weight or a higher one.
    pub(super) fn join(&mut self, member: Key, weight: u32) -> Place {
        let stride = STRIDE / u64::from(weight.max(1));
        let node = Node {
            member,
            stride,
            due: (self.now + stride, self.next_wait()),
            at: index(self.heap.len()),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.nodes[slot as usize] = node;
                slot
            }
            None => {
                self.nodes.push(node);
                index(self.nodes.len() - 1)
            }
        };
        self.heap.push(slot);
        self.rise(self.heap.len() - 1);
        Place(slot)
    }

    /// Removes a member; the others keep their order.
    pub(super) fn leave(&mut self, Place(slot): Place) {
        let at = self.nodes[slot as usize].at as usize;
        let last = self.heap.pop().expect("whoever has a place is a member");
        if last != slot {
            self.put(at, last);
            self.settle(at);
        }
        self.free.push(slot);
    }

    /// The acceptable member whose turn it is, and it has had it. Members that are not acceptable keep
    /// theirs.
    pub(super) fn take(&mut self, accept: impl Fn(Key) -> bool) -> Option<Key> {
        let at = self.first(0, &accept)?;
        let wait = self.next_wait();
        let node = &mut self.nodes[self.heap[at] as usize];
        // One who was passed over has one turn to make up for, not all that it missed.
        self.now = self.now.max(node.due.0);
        node.due = (self.now + node.stride, wait);
        let member = node.member;
        self.settle(at);
        Some(member)
    }

    /// Whether [`take`](Self::take) would find a member.
    pub(super) fn any(&self, accept: impl Fn(Key) -> bool) -> bool {
        self.first(0, &accept).is_some()
    }

    /// The acceptable member that is due first, at or below a place in the heap. Looks below those alone
    /// that are not acceptable.
    fn first(&self, at: usize, accept: &impl Fn(Key) -> bool) -> Option<usize> {
        let slot = *self.heap.get(at)?;
        if accept(self.nodes[slot as usize].member) {
            return Some(at);
        }
        let left = self.first(2 * at + 1, accept);
        let right = self.first(2 * at + 2, accept);
        match (left, right) {
            (Some(left), Some(right)) if self.due(right) < self.due(left) => Some(right),
            (None, right) => right,
            (left, _) => left,
        }
    }

    fn next_wait(&mut self) -> u64 {
        self.waits += 1;
        self.waits
    }

    fn due(&self, at: usize) -> (u64, u64) {
        self.nodes[self.heap[at] as usize].due
    }

    fn put(&mut self, at: usize, slot: u32) {
        self.heap[at] = slot;
        self.nodes[slot as usize].at = index(at);
    }

    /// Restores the order around a place whose member is due at another time than before.
    fn settle(&mut self, at: usize) {
        if !self.rise(at) {
            self.sink(at);
        }
    }

    fn rise(&mut self, mut at: usize) -> bool {
        let start = at;
        while at > 0 && self.due(at) < self.due((at - 1) / 2) {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        at != start
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let mut first = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.due(child) < self.due(first) {
                    first = child;
                }
            }
            if first == at {
                return;
            }
            self.swap(at, first);
            at = first;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        let (slot_a, slot_b) = (self.heap[a], self.heap[b]);
        self.put(a, slot_b);
        self.put(b, slot_a);
    }
}

fn index(of: usize) -> u32 {
    u32::try_from(of).expect("fewer than 2^32 members")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(index: u32) -> Key {
        Key::from_bits(1 << 32 | u64::from(index))
    }

    fn turns(rotation: &mut Rotation, count: usize) -> Vec<u32> {
        (0..count)
            .map(|_| rotation.take(|_| true).expect("not empty").slot)
            .collect()
    }

    fn of_equals(count: u32) -> (Rotation, Vec<Place>) {
        let mut rotation = Rotation::default();
        let places = (0..count).map(|n| rotation.join(member(n), 1)).collect();
        (rotation, places)
    }

    #[test]
    fn members_take_turns_in_the_order_in_which_they_joined() {
        let (mut rotation, _places) = of_equals(3);
        assert_eq!(turns(&mut rotation, 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn leaving_and_joining_moves_nobody_elses_turn() {
        let (mut rotation, mut places) = of_equals(4);
        assert_eq!(turns(&mut rotation, 2), [0, 1]);
        rotation.leave(places.remove(2));
        let back = rotation.join(member(2), 1);
        assert_eq!(
            turns(&mut rotation, 4),
            [3, 0, 1, 2],
            "who comes back queues at the end"
        );
        rotation.leave(back);
        assert_eq!(turns(&mut rotation, 4), [3, 0, 1, 3]);
    }

    #[test]
    fn one_who_is_passed_over_keeps_its_turn() {
        let (mut rotation, _places) = of_equals(3);
        assert_eq!(rotation.take(|m| m != member(0)), Some(member(1)));
        assert_eq!(turns(&mut rotation, 3), [0, 2, 1]);
        assert_eq!(rotation.take(|_| false), None);
        assert_eq!(turns(&mut rotation, 1), [0]);
    }

    #[test]
    fn the_last_one_leaves_an_empty_rotation_that_works_again() {
        let mut rotation = Rotation::default();
        let place = rotation.join(member(5), 1);
        assert_eq!(turns(&mut rotation, 2), [5, 5]);
        rotation.leave(place);
        assert!(rotation.is_empty());
        assert_eq!(rotation.take(|_| true), None);
        let _place = rotation.join(member(6), 1);
        assert_eq!(turns(&mut rotation, 2), [6, 6]);
    }

    /// Proves: R18
    #[test]
    fn shares_follow_the_weights_within_two_percent() {
        let weights = [1, 2, 7, 90, 1_000];
        let mut rotation = Rotation::default();
        for (n, weight) in (0..).zip(weights) {
            rotation.join(member(n), weight);
        }
        let mut taken = [0_u32; 5];
        for turn in turns(&mut rotation, 110_000) {
            taken[turn as usize] += 1;
        }
        for (taken, weight) in taken.into_iter().zip(weights) {
            let due = weight * 100;
            assert!(
                taken.abs_diff(due) <= due.div_ceil(50),
                "{taken} turns of {due} due"
            );
        }
    }

    #[test]
    fn a_heavy_member_takes_its_turns_between_those_of_others() {
        let mut rotation = Rotation::default();
        for (n, weight) in [(0, 4), (1, 2), (2, 2)] {
            rotation.join(member(n), weight);
        }
        assert_eq!(turns(&mut rotation, 8), [0, 1, 2, 0, 0, 1, 2, 0]);
    }

    #[test]
    fn among_many_each_turn_is_the_longest_wait() {
        let (mut rotation, mut places) = of_equals(100);
        turns(&mut rotation, 37);
        for n in (0..100).rev().filter(|n| n % 3 == 1) {
            rotation.leave(places.remove(n));
        }
        let members = rotation.len();
        let first = turns(&mut rotation, members);
        let second = turns(&mut rotation, members);
        assert_eq!(first, second, "the same order again");
        assert_eq!(first[0], 38, "37 left, and 38 is next");
    }
}
