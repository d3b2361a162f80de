//! What is described where: names of a set, found without decoding it again.

use std::ops::Range;

use super::set::BadSet;

/// What an entry takes beside its name, in bytes: reckoned generously.
const ENTRY: usize = 64;

/// Names with what they stand for, in order. Of equal names the first that was added counts.
#[derive(Debug)]
pub(super) struct Index<V> {
    entries: Vec<(Box<str>, V)>,
}

impl<V> Default for Index<V> {
    fn default() -> Self {
        let entries = Vec::new();
        Self { entries }
    }
}

impl<V: Copy> Index<V> {
    pub(super) fn add(&mut self, name: &str, value: V, room: &mut Room) -> Result<(), BadSet> {
        room.take(name.len() + ENTRY)?;
        self.entries.push((name.into(), value));
        Ok(())
    }

    /// Puts the names in order, which [`Index::get`] and [`Index::range`] rely on.
    pub(super) fn sort(&mut self) {
        self.entries.shrink_to_fit();
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
    }

    pub(super) fn get(&self, name: &str) -> Option<V> {
        let first = self.range(name).start;
        let (found, value) = self.entries.get(first)?;
        (**found == *name).then_some(*value)
    }

    /// All that was added under this name, in the order in which it was.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = V> {
        self.entries[self.range(name)].iter().map(|(_, v)| *v)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, V)> {
        self.entries.iter().map(|(name, value)| (&**name, *value))
    }

    fn range(&self, name: &str) -> Range<usize> {
        let start = self.entries.partition_point(|(n, _)| **n < *name);
        let end = self.entries.partition_point(|(n, _)| **n <= *name);
        start..end
    }
}

/// What an index may still take, in bytes. Descriptors can name far more than they are long: each name is
/// counted before memory is taken for it.
#[derive(Debug)]
pub(super) struct Room {
    limit: usize,
    pub(super) taken: usize,
}

impl Room {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, taken: 0 }
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), BadSet> {
        self.taken += bytes;
        if self.taken > self.limit {
            return Err(BadSet::NamesTooMuch(self.limit));
        }
        Ok(())
    }
}
