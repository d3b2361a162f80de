//! Round robin: whose turn it is.

use super::Key;

/// The instances that take turns for one service.
///
/// A linked ring, the longest waiting first. Whoever is taken goes to the end, and so does whoever
/// joins: between two turns of one member, every member that was there all the time has exactly one
/// turn, however many others join and leave in between. Every operation is O(1) and `take` never
/// allocates.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// The node whose turn is next; its predecessor is the end.
    head: Option<u32>,
}

/// Where a member stands in a [`Rotation`]; returned by `join`, given up by `leave`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

#[derive(Debug)]
struct Node {
    member: Key,
    previous: u32,
    next: u32,
}

impl Rotation {
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Adds a member, whose turn comes after that of everyone present.
    pub(super) fn join(&mut self, member: Key) -> Place {
        let node = Node {
            member,
            previous: 0,
            next: 0,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 members")
            }
        };
        self.link_last(at);
        Place(at)
    }

    /// Removes a member; the others keep their order.
    pub(super) fn leave(&mut self, Place(at): Place) {
        self.unlink(at);
        self.free.push(at);
    }

    /// The first acceptable member in order of turns, which thereby goes to the end. Members that
    /// are not acceptable keep their turn.
    pub(super) fn take(&mut self, accept: impl Fn(Key) -> bool) -> Option<Key> {
        let at = self.find(accept)?;
        if self.head == Some(at) {
            self.head = Some(self.nodes[at as usize].next);
        } else {
            self.unlink(at);
            self.link_last(at);
        }
        Some(self.nodes[at as usize].member)
    }

    /// Whether [`take`](Self::take) would find a member.
    pub(super) fn any(&self, accept: impl Fn(Key) -> bool) -> bool {
        self.find(accept).is_some()
    }

    fn find(&self, accept: impl Fn(Key) -> bool) -> Option<u32> {
        let head = self.head?;
        let mut at = head;
        while !accept(self.nodes[at as usize].member) {
            at = self.nodes[at as usize].next;
            if at == head {
                return None;
            }
        }
        Some(at)
    }

    fn link_last(&mut self, at: u32) {
        let head = *self.head.get_or_insert(at);
        let last = if head == at {
            at
        } else {
            self.nodes[head as usize].previous
        };
        self.nodes[at as usize].next = head;
        self.nodes[at as usize].previous = last;
        self.nodes[last as usize].next = at;
        self.nodes[head as usize].previous = at;
    }

    fn unlink(&mut self, at: u32) {
        let Node { previous, next, .. } = self.nodes[at as usize];
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        if self.head == Some(at) {
            self.head = (next != at).then_some(next);
        }
    }
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

    #[test]
    fn members_take_turns_in_the_order_in_which_they_joined() {
        let mut rotation = Rotation::default();
        let _places: Vec<_> = (0..3).map(|n| rotation.join(member(n))).collect();
        assert_eq!(turns(&mut rotation, 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn leaving_and_joining_moves_nobody_elses_turn() {
        let mut rotation = Rotation::default();
        let mut places: Vec<_> = (0..4).map(|n| rotation.join(member(n))).collect();
        assert_eq!(turns(&mut rotation, 2), [0, 1]);
        rotation.leave(places.remove(2));
        let back = rotation.join(member(2));
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
        let mut rotation = Rotation::default();
        let _places: Vec<_> = (0..3).map(|n| rotation.join(member(n))).collect();
        assert_eq!(rotation.take(|m| m != member(0)), Some(member(1)));
        assert_eq!(turns(&mut rotation, 3), [0, 2, 1]);
        assert_eq!(rotation.take(|_| false), None);
        assert_eq!(turns(&mut rotation, 1), [0]);
    }

    #[test]
    fn the_last_one_leaves_an_empty_rotation_that_works_again() {
        let mut rotation = Rotation::default();
        let place = rotation.join(member(5));
        assert_eq!(turns(&mut rotation, 2), [5, 5]);
        rotation.leave(place);
        assert!(rotation.is_empty());
        assert_eq!(rotation.take(|_| true), None);
        let _place = rotation.join(member(6));
        assert_eq!(turns(&mut rotation, 2), [6, 6]);
    }
}
