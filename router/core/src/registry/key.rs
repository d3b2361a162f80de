//! Keys of registrations, and the slots that they name.

/// Names one registration in a [`Registry`](super::Registry), never another one.
///
/// Slot and generation: when a slot is used again the generation differs, so that whoever holds the
/// key of an ended registration (a tunnel that was replaced) can do nothing to its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub(super) index: u32,
    pub(super) generation: u64,
}

/// A slab of entries.
#[derive(Debug)]
pub(super) struct Slots<E> {
    slots: Vec<Option<(u64, E)>>,
    free: Vec<u32>,
    /// Counts insertions over all slots, so that no generation comes twice.
    generation: u64,
}

impl<E> Slots<E> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
        }
    }

    pub(super) fn insert(&mut self, entry: E) -> Key {
        self.generation += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 registrations")
        });
        self.slots[index as usize] = Some((self.generation, entry));
        Key {
            index,
            generation: self.generation,
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<E> {
        self.get(key)?;
        self.free.push(key.index);
        self.slots[key.index as usize]
            .take()
            .map(|(_, entry)| entry)
    }

    pub(super) fn get(&self, key: Key) -> Option<&E> {
        match self.slots.get(key.index as usize)? {
            Some((generation, entry)) if *generation == key.generation => Some(entry),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut E> {
        match self.slots.get_mut(key.index as usize)? {
            Some((generation, entry)) if *generation == key.generation => Some(entry),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_reused_slot_is_stale() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(first.index, second.index, "the slot is used again");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
    }
}
