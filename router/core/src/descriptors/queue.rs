//! The sets that wait to be asked for: whose turn it is.

use std::collections::BTreeMap;

use super::Hash;

/// How often one that waits for others under way is passed over, before nobody is asked until it was.
const PASSED_MAX: u32 = 64;

/// Sets in the order in which they were announced, apart by their cost: those whose costs have the same
/// number of bits are a class, of which the first alone is looked at. So a turn looks at no more than
/// there are bits in a number, however many wait that do not fit.
#[derive(Debug, Default)]
pub(super) struct Queue {
    classes: BTreeMap<u32, BTreeMap<u64, Waiting>>,
    /// The oldest that was passed over, and how often.
    passed: (u64, u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) hash: Hash,
    pub(super) cost: usize,
}

/// Where a set stands in a [`Queue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    class: u32,
    pub(super) place: u64,
}

/// Whether there is room for a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Now,
    /// There is when what is under way has come, or will not.
    Later,
    /// Others have to go first, which may take for ever: nobody waits for it.
    Never,
}

impl Queue {
    /// Adds a set, after all with a lower place.
    pub(super) fn push(&mut self, place: u64, hash: Hash, cost: usize) -> Ticket {
        let class = cost.checked_ilog2().unwrap_or(0);
        let waiting = Waiting { hash, cost };
        self.classes
            .entry(class)
            .or_default()
            .insert(place, waiting);
        Ticket { class, place }
    }

    pub(super) fn remove(&mut self, ticket: Ticket) {
        if let Some(class) = self.classes.get_mut(&ticket.class) {
            class.remove(&ticket.place);
            if class.is_empty() {
                self.classes.remove(&ticket.class);
            }
        }
    }

    /// Takes out the oldest set that there is room for, unless it is the turn of an older one that waits
    /// for what is under way.
    pub(super) fn next(&mut self, fit: impl Fn(usize) -> Fit) -> Option<(Ticket, Waiting)> {
        let heads = self.classes.iter().filter_map(|(&class, waiting)| {
            let (&place, head) = waiting.first_key_value()?;
            Some((Ticket { class, place }, *head, fit(head.cost)))
        });
        let of = |wanted| {
            let fitting = heads.clone().filter(move |(_, _, fit)| *fit == wanted);
            fitting.min_by_key(|(ticket, ..)| ticket.place)
        };
        let (ticket, taken, _) = of(Fit::Now)?;
        if let Some((older, ..)) = of(Fit::Later).filter(|(it, ..)| it.place < ticket.place) {
            if self.passed.0 != older.place {
                self.passed = (older.place, 0);
            }
            if self.passed.1 == PASSED_MAX {
                return None;
            }
            self.passed.1 += 1;
        }
        self.remove(ticket);
        Some((ticket, taken))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }
}
