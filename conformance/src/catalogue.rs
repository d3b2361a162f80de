//! The catalogue: every case of behaviour by its id, out of `conformance/cases.toml`.
//!
//! The same file is the project's ledger: tests of every arm name its ids.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The file, as it was when this suite was built.
const FILE: &str = include_str!("../cases.toml");

/// One case.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Entry {
    /// Stable: reports and known-failing lists name it.
    pub id: String,
    group: Group,
    /// Whether it must pass.
    pub level: Level,
    /// What is done -> what must be seen.
    pub title: String,
    arm: Vec<String>,
    /// Why this suite does not judge it; none where it does.
    #[serde(default, skip_serializing)]
    pub apart: Option<String>,
}

/// How binding a case is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// An implementation that fails it is wrong.
    Required,
    /// An implementation that fails it could be better.
    Recommended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Group {
    Kinds,
    Routing,
    Buffering,
    Tunnel,
    Hostile,
}

/// A part of the suite that is chosen by name.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Deserialize,
    Serialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// All four kinds of call, metadata, status, routing, deadlines and cancellation.
    Core,
    /// Zero buffering and back-pressure.
    Flow,
    /// The life of a tunnel, and partitions.
    Fault,
    /// Hostile peers.
    Security,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Core, Self::Flow, Self::Fault, Self::Security];

    /// Its name, as it is given on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Flow => "flow",
            Self::Fault => "fault",
            Self::Security => "security",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Entry {
    /// Which part of the suite it is in.
    pub fn profile(&self) -> Profile {
        match self.group {
            Group::Kinds | Group::Routing => Profile::Core,
            Group::Buffering => Profile::Flow,
            Group::Tunnel => Profile::Fault,
            Group::Hostile => Profile::Security,
        }
    }
}

/// All cases, in the order of the file.
///
/// # Panics
/// Where the file is malformed: it is compiled in, and a test reads it.
pub fn all() -> Vec<Entry> {
    #[derive(Deserialize)]
    struct File {
        case: Vec<Entry>,
    }
    match toml::from_str::<File>(FILE) {
        Ok(file) => file.case,
        Err(error) => panic!("conformance/cases.toml: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_profile_and_an_id_of_its_own() {
        let all = all();
        assert!(all.len() > 100);
        let mut ids: Vec<_> = all.iter().map(|entry| &entry.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len());
        for profile in Profile::ALL {
            assert!(all.iter().any(|entry| entry.profile() == profile));
        }
    }
}
