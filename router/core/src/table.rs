//! A slab whose keys are never valid twice.

use crate::sabotage::{self, Sabotage};

/// A slot of a [`Table`] and which of its tenants is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Index of the slot: small and dense, good for side tables.
    pub slot: u32,
    generation: u32,
}

impl Key {
    /// The key as one number: generation above, slot below. Never zero.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The key that [`to_bits`](Self::to_bits) gave, or one that no table ever gave.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// What a table knows about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenancy {
    /// The key's value is here.
    Present,
    /// The key was given once and its value is gone.
    Past,
    /// The key was never given.
    Never,
}

/// Values under generation-checked keys, reusing slots, at most `capacity` at a time.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Slot<T>>,
    /// The slot that was freed last, and so on through [`Slot::next`]. A list of its own would be memory
    /// that grows while many values are removed, and stays among what they free.
    free: Option<u32>,
    len: usize,
    capacity: u32,
}

#[derive(Debug)]
struct Slot<T> {
    /// Of the present tenant, or of the next one.
    generation: u32,
    /// While this slot is free: the one that was freed before it.
    next: Option<u32>,
    value: Option<T>,
}

impl<T> Slot<T> {
    /// Whether this tenant is meant.
    fn is_of(&self, key: Key) -> bool {
        self.generation == key.generation || sabotage::is(Sabotage::GenerationUnchecked)
    }
}

impl<T> Table<T> {
    /// An empty table for at most `capacity` values at once.
    pub const fn new(capacity: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: None,
            len: 0,
            capacity,
        }
    }

    /// How many values are held.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Holds `value`; gives it back when the table is full. A slot whose generations are used up is
    /// never used again, so a key is never given twice.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        if self.len >= self.capacity as usize {
            return Err(value);
        }
        let slot = match self.free {
            Some(slot) => {
                self.free = self.slots[slot as usize].next.take();
                slot
            }
            None if self.slots.len() < u32::MAX as usize => {
                self.slots.push(Slot {
                    generation: 1,
                    next: None,
                    value: None,
                });
                (self.slots.len() - 1) as u32
            }
            None => return Err(value),
        };
        let entry = &mut self.slots[slot as usize];
        entry.value = Some(value);
        self.len += 1;
        Ok(Key {
            slot,
            generation: entry.generation,
        })
    }

    /// The key's value.
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        slot.value.as_ref().filter(|_| slot.is_of(key))
    }

    /// The key's value.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if !slot.is_of(key) {
            return None;
        }
        slot.value.as_mut()
    }

    /// Takes the key's value out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if !slot.is_of(key) {
            return None;
        }
        let value = slot.value.take()?;
        self.vacate(key.slot);
        Some(value)
    }

    /// Drops the key's value where it stands: a large one is not moved for that.
    pub fn discard(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key.slot as usize)
            && slot.is_of(key)
            && slot.value.is_some()
        {
            slot.value = None;
            self.vacate(key.slot);
        }
    }

    /// An emptied slot is for the next tenant, under another generation.
    fn vacate(&mut self, at: u32) {
        self.len -= 1;
        let slot = &mut self.slots[at as usize];
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            slot.next = self.free.replace(at);
        }
    }

    /// Whether the key is in use, was once, or never was.
    pub fn tenancy(&self, key: Key) -> Tenancy {
        match self.slots.get(key.slot as usize) {
            Some(slot) if slot.value.is_some() && slot.is_of(key) => Tenancy::Present,
            Some(slot) if key.generation == 0 || key.generation > slot.generation => Tenancy::Never,
            Some(slot) if key.generation < slot.generation => Tenancy::Past,
            Some(Slot { value: Some(_), .. }) => Tenancy::Present,
            // A retired slot keeps its last generation, every other empty one has moved on.
            Some(slot) if slot.generation == u32::MAX => Tenancy::Past,
            Some(_) | None => Tenancy::Never,
        }
    }

    /// All values, in the order of their slots.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// All keys in use, in the order of their slots.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.value.is_some())
            .map(|(i, slot)| Key {
                slot: i as u32,
                generation: slot.generation,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_reused_under_another_key() {
        let mut table = Table::new(10);
        let first = table.insert("a").unwrap();
        assert_eq!(table.remove(first), Some("a"));
        let second = table.insert("b").unwrap();
        assert_eq!(first.slot, second.slot);
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None, "a past key removes nothing");
        assert_eq!(table.get(second), Some(&"b"));
        assert_eq!(
            (table.tenancy(first), table.tenancy(second)),
            (Tenancy::Past, Tenancy::Present)
        );
    }

    #[test]
    fn a_full_table_gives_the_value_back() {
        let mut table = Table::new(1);
        let key = table.insert(1).unwrap();
        assert_eq!(table.insert(2), Err(2));
        table.remove(key);
        assert!(table.insert(2).is_ok());
    }

    /// Proves: T17, S4
    #[test]
    fn a_slot_is_retired_when_its_generations_are_used_up() {
        let mut table = Table::new(10);
        let key = table.insert(()).unwrap();
        table.remove(key);
        table.slots[0].generation = u32::MAX;
        let last = table.insert(()).unwrap();
        assert_eq!((last.slot, last.generation), (0, u32::MAX));
        table.remove(last);
        assert_eq!(table.tenancy(last), Tenancy::Past);
        let next = table.insert(()).unwrap();
        assert_eq!(next.slot, 1, "never under an id that was used before");
    }

    #[test]
    fn a_key_that_was_never_given_is_told_from_a_past_one() {
        let mut table = Table::new(10);
        let key = table.insert(()).unwrap();
        table.remove(key);
        let forged = Key {
            slot: 0,
            generation: 2,
        };
        assert_eq!(table.tenancy(forged), Tenancy::Never);
        assert_eq!(
            table.tenancy(Key {
                slot: 9,
                generation: 1
            }),
            Tenancy::Never
        );
        assert_eq!(table.tenancy(Key::from_bits(0)), Tenancy::Never);
        assert_eq!(Key::from_bits(key.to_bits()), key);
    }
}
