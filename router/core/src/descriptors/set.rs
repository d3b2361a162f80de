//! A set of descriptors that came, and where in it what is described.
//!
//! Read by hand: the files are given out as the very bytes that came, custom options included, and a
//! hostile set cannot make this take more memory than its length allows.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::frame::wire::{Fields, Malformed, Value};

use super::index::{Index, Room};

/// How deep messages may be nested.
const DEPTH_MAX: usize = 64;
/// What a set may take beside its own bytes for finding its way: so many times its length, and a little
/// for small ones. Ordinary sets take a fraction of their length.
const INDEX_RATIO: usize = 7;
const INDEX_LEAST: usize = 64 * 1024;
/// What a file takes beside its name, in bytes.
const FILE: usize = 64;
/// What an import counts as, in bytes.
const IMPORT: usize = 64;

/// A `FileDescriptorSet` with an index of its names.
#[derive(Debug)]
pub struct Set {
    /// The files as they came: encoded `FileDescriptorProto`s, parts of one buffer.
    files: Vec<Bytes>,
    by_name: Index<u32>,
    /// Types, services, methods and extensions by full name.
    symbols: Index<Symbol>,
    /// The number of each extension and its file, by the full name of what it extends.
    extensions: Index<(i32, u32)>,
    cost: usize,
}

/// A symbol: where it is, and whether it is of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) file: u32,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    Method,
    Other,
}

/// Why bytes are no set that can be answered from. The instance's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSet {
    /// They do not decode.
    #[error("no FileDescriptorSet: {0}")]
    Malformed(&'static str),
    /// Messages are nested too deeply.
    #[error("messages are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// It names more than its length allows.
    #[error("its names take more than {0} bytes")]
    NamesTooMuch(usize),
}

impl Set {
    /// Reads an encoded `FileDescriptorSet`, whose buffer it then holds: one of its own, and no longer.
    ///
    /// # Errors
    /// See [`BadSet`]. Fields that it does not need are not looked at.
    pub fn parse(set: &Bytes) -> Result<Self, BadSet> {
        let mut builder = Builder {
            set: Self {
                files: Vec::new(),
                by_name: Index::default(),
                symbols: Index::default(),
                extensions: Index::default(),
                cost: 0,
            },
            room: Room::new(index_max(set.len())),
            scope: String::new(),
        };
        for field in Fields::new(set) {
            if let (1, value) = field? {
                builder.file(set.slice_ref(value.bytes()?))?;
            }
        }
        let Builder {
            set: mut read,
            room,
            ..
        } = builder;
        read.by_name.sort();
        read.symbols.sort();
        read.extensions.sort();
        // One file keeps the whole buffer, with what in it is no file.
        read.cost = set.len() + room.taken;
        Ok(read)
    }

    /// The most that a set of this length takes, in bytes.
    #[must_use]
    pub fn cost_max(len: usize) -> usize {
        len + index_max(len)
    }

    /// What it takes, in bytes: all that came, and the index.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// The names of the services that it describes.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        let services = self.symbols.iter();
        services.filter_map(|(name, symbol)| (symbol.kind == Kind::Service).then_some(name))
    }

    pub(super) fn file(&self, name: &str) -> Option<u32> {
        self.by_name.get(name)
    }

    /// The package of a file; empty for none.
    pub(super) fn package(&self, file: u32) -> &str {
        let fields = Fields::new(&self.files[file as usize]).flatten();
        let packages = fields.filter_map(|(number, value)| (number == 2).then_some(value));
        packages.last().and_then(|it| text(it).ok()).unwrap_or("")
    }

    pub(super) fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols.get(name)
    }

    pub(super) fn extension(&self, extended: &str, number: i32) -> Option<u32> {
        let mut all = self.extensions.all(extended);
        all.find_map(|(its, file)| (its == number).then_some(file))
    }

    pub(super) fn extensions(&self, extended: &str) -> impl Iterator<Item = i32> {
        self.extensions.all(extended).map(|(number, _)| number)
    }

    /// A file and, after it, what it imports, near before far, as far as they come to at most `max` bytes
    /// together. The file itself is always there.
    pub(super) fn with_imports(&self, file: u32, max: usize) -> Vec<Bytes> {
        let mut queue = vec![file];
        let mut seen = BTreeSet::from([file]);
        let mut given: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        let mut at = 0;
        while let Some(&next) = queue.get(at) {
            at += 1;
            let body = &self.files[next as usize];
            bytes += body.len();
            if !given.is_empty() && bytes > max {
                break;
            }
            given.push(body.clone());
            // A file whose fields do not decode was never taken in.
            for (number, value) in Fields::new(body).flatten() {
                if number == 3
                    && let Ok(name) = text(value)
                    && let Some(import) = self.file(name)
                    && seen.insert(import)
                {
                    queue.push(import);
                }
            }
        }
        given
    }
}

fn index_max(len: usize) -> usize {
    len.saturating_mul(INDEX_RATIO) + INDEX_LEAST
}

/// Walks through the files once.
struct Builder {
    set: Set,
    room: Room,
    /// The full name of what is looked into.
    scope: String,
}

impl Builder {
    fn file(&mut self, body: Bytes) -> Result<(), BadSet> {
        self.room.take(FILE)?;
        let file = self.set.files.len() as u32;
        let (mut name, mut package) = ("", "");
        // Fields come in any order, and the package is a part of every name.
        for field in Fields::new(&body) {
            match field? {
                (1, value) => name = text(value)?,
                (2, value) => package = text(value)?,
                _ => {}
            }
        }
        self.set.by_name.add(name, file, &mut self.room)?;
        self.scope.clear();
        self.scope.push_str(package);
        for field in Fields::new(&body) {
            match field? {
                (3, value) => {
                    // Nothing is kept of it; but whoever asks for the file has each looked up.
                    self.room.take(IMPORT)?;
                    text(value)?;
                }
                (4, value) => self.message(value.bytes()?, file, 0)?,
                (5, value) => self.named(value.bytes()?, file, Kind::Other).map(drop)?,
                (6, value) => self.service(value.bytes()?, file)?,
                (7, value) => self.extension(value.bytes()?, file)?,
                _ => {}
            }
        }
        self.set.files.push(body);
        Ok(())
    }

    fn message(&mut self, body: &[u8], file: u32, depth: usize) -> Result<(), BadSet> {
        if depth == DEPTH_MAX {
            return Err(BadSet::TooDeep);
        }
        let name = self.named(body, file, Kind::Other)?;
        let outer = self.enter(name);
        for field in Fields::new(body) {
            match field? {
                (3, value) => self.message(value.bytes()?, file, depth + 1)?,
                (4, value) => self.named(value.bytes()?, file, Kind::Other).map(drop)?,
                (6, value) => self.extension(value.bytes()?, file)?,
                _ => {}
            }
        }
        self.scope.truncate(outer);
        Ok(())
    }

    fn service(&mut self, body: &[u8], file: u32) -> Result<(), BadSet> {
        let name = self.named(body, file, Kind::Service)?;
        let outer = self.enter(name);
        for field in Fields::new(body) {
            if let (2, value) = field? {
                self.named(value.bytes()?, file, Kind::Method)?;
            }
        }
        self.scope.truncate(outer);
        Ok(())
    }

    fn extension(&mut self, body: &[u8], file: u32) -> Result<(), BadSet> {
        self.named(body, file, Kind::Other)?;
        let (mut extended, mut number) = ("", 0);
        for field in Fields::new(body) {
            match field? {
                (2, value) => extended = text(value)?,
                (3, value) => number = value.uint32()?.cast_signed(),
                _ => {}
            }
        }
        let extended = extended.strip_prefix('.').unwrap_or(extended);
        let extensions = &mut self.set.extensions;
        extensions.add(extended, (number, file), &mut self.room)
    }

    /// Takes in the name, field 1 of all that has one.
    fn named<'a>(&mut self, body: &'a [u8], file: u32, kind: Kind) -> Result<&'a str, BadSet> {
        let mut name = "";
        for field in Fields::new(body) {
            if let (1, value) = field? {
                name = text(value)?;
            }
        }
        let outer = self.enter(name);
        let symbol = Symbol { file, kind };
        let added = self.set.symbols.add(&self.scope, symbol, &mut self.room);
        self.scope.truncate(outer);
        added.map(|()| name)
    }

    /// Goes one name deeper. Returns where to cut the scope to come back.
    fn enter(&mut self, name: &str) -> usize {
        let outer = self.scope.len();
        if outer > 0 {
            self.scope.push('.');
        }
        self.scope.push_str(name);
        outer
    }
}

fn text(value: Value<'_>) -> Result<&str, BadSet> {
    std::str::from_utf8(value.bytes()?).map_err(|_| BadSet::Malformed("a name is not UTF-8"))
}

impl From<Malformed> for BadSet {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.what())
    }
}
