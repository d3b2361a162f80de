//! Whether what threads saw can have happened one after the other.

use std::collections::{BTreeMap, BTreeSet};

/// What a thread did, and what it saw. Tunnels and instances are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Registered {
        id: usize,
        epoch: u64,
        tunnel: usize,
    },
    /// The id was owned by the same or a later epoch.
    Refused {
        id: usize,
        epoch: u64,
    },
    Drained {
        tunnel: usize,
    },
    Removed {
        tunnel: usize,
    },
    /// Who was named got the call, or nobody.
    Named {
        id: usize,
        tunnel: Option<usize>,
    },
    /// Whose turn it was got the call, or nobody.
    Turn {
        tunnel: Option<usize>,
    },
}

/// An operation, between two readings of a clock that all threads share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) seen: Seen,
}

/// The registry as anybody would write it: who owns which id.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Model(BTreeMap<usize, Owner>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    epoch: u64,
    tunnel: usize,
    draining: bool,
}

impl Model {
    /// Takes the next step, if it can be the next one.
    fn step(&mut self, seen: Seen) -> bool {
        let takes = |owner: &&Owner| !owner.draining;
        match seen {
            Seen::Registered { id, epoch, tunnel } => {
                let later = self.0.get(&id).is_none_or(|owner| owner.epoch < epoch);
                let owner = Owner {
                    epoch,
                    tunnel,
                    draining: false,
                };
                self.0.insert(id, owner);
                later
            }
            Seen::Refused { id, epoch } => self.0.get(&id).is_some_and(|it| it.epoch >= epoch),
            Seen::Drained { tunnel } => {
                for owner in self.0.values_mut().filter(|it| it.tunnel == tunnel) {
                    owner.draining = true;
                }
                true
            }
            Seen::Removed { tunnel } => {
                self.0.retain(|_, owner| owner.tunnel != tunnel);
                true
            }
            Seen::Named { id, tunnel } => {
                self.0.get(&id).filter(takes).map(|it| it.tunnel) == tunnel
            }
            Seen::Turn { tunnel } => {
                let mut takers = self.0.values().filter(takes);
                match tunnel {
                    Some(tunnel) => takers.any(|it| it.tunnel == tunnel),
                    None => takers.next().is_none(),
                }
            }
        }
    }
}

/// Whether there is an order in which the operations could have run one by one: each at some time between its
/// begin and its end, and all with what was seen. At most 64 of them.
pub(super) fn is_linearizable(history: &[Operation]) -> bool {
    assert!(history.len() <= 64, "the set of what is done is a u64");
    let all = u64::MAX >> (64 - history.len());
    let mut known = BTreeSet::new();
    let mut paths = vec![(0, Model::default())];
    while let Some((done, model)) = paths.pop() {
        if done == all {
            return true;
        }
        if !known.insert((done, model.clone())) {
            continue;
        }
        let left = (0..history.len()).filter(|at| done & (1 << at) == 0);
        // Whatever began after another one's end cannot come before it.
        let first_end = left.clone().map(|at| history[at].ended).min();
        for at in left.filter(|at| Some(history[*at].began) < first_end) {
            let mut next = model.clone();
            if next.step(history[at].seen) {
                paths.push((done | 1 << at, next));
            }
        }
    }
    false
}

#[test]
fn what_cannot_have_happened_one_after_the_other_is_seen() {
    let operation = |began, ended, seen| Operation { began, ended, seen };
    let register = Seen::Registered {
        id: 0,
        epoch: 1,
        tunnel: 7,
    };
    let named = |tunnel| Seen::Named { id: 0, tunnel };
    let history = |second, began| {
        let removed = Seen::Removed { tunnel: 7 };
        [
            operation(0, 1, register),
            operation(2, 5, removed),
            operation(began, 9, second),
        ]
    };
    // While it was being removed, and after.
    assert!(is_linearizable(&history(named(Some(7)), 4)));
    assert!(is_linearizable(&history(named(None), 4)));
    assert!(is_linearizable(&history(named(None), 6)));
    assert!(!is_linearizable(&history(named(Some(7)), 6)));
    let turn = |tunnel| Seen::Turn { tunnel };
    assert!(!is_linearizable(&history(turn(Some(7)), 6)));
    assert!(!is_linearizable(&history(turn(Some(8)), 4)));
    // Two that were both accepted, of which the second is no later.
    let twice = Seen::Registered {
        id: 0,
        epoch: 1,
        tunnel: 8,
    };
    let both = [operation(0, 9, register), operation(0, 9, twice)];
    assert!(!is_linearizable(&both));
    let refused = Seen::Refused { id: 0, epoch: 1 };
    assert!(is_linearizable(&[both[0], operation(0, 9, refused)]));
    assert!(!is_linearizable(&[operation(0, 9, refused)]));
}
