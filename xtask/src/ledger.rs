//! The case ledger, `conformance/cases.toml`: read and checked.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::workspace::Workspace;

/// One case of behaviour.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) group: Group,
    pub(crate) level: Level,
    /// Where the case is to be shown.
    pub(crate) arm: Vec<Arm>,
    /// What is done -> what must be seen.
    pub(crate) title: String,
    /// Whether the project says that the case holds.
    #[serde(default)]
    pub(crate) claimed: bool,
    /// Why the conformance suite does not judge it; none where it does.
    #[serde(default)]
    pub(crate) apart: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    Kinds,
    Routing,
    Buffering,
    Tunnel,
    Hostile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Required,
    Recommended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arm {
    /// The pure protocol on virtual time.
    Core,
    /// Real sockets on one machine.
    Socket,
    /// A simulated network.
    Sim,
    /// Real networks between containers.
    Container,
}

impl Arm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Socket => "socket",
            Self::Sim => "sim",
            Self::Container => "container",
        }
    }
}

/// Reads the ledger of the workspace.
pub(crate) fn load(workspace: &Workspace) -> Result<Vec<Case>> {
    let path = workspace.root.join("conformance/cases.toml");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).context("conformance/cases.toml")
}

fn parse(text: &str) -> Result<Vec<Case>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        case: Vec<Case>,
    }
    let cases = toml::from_str::<File>(text)?.case;
    let mut seen = BTreeSet::new();
    for case in &cases {
        let id = &case.id;
        ensure!(seen.insert(id), "{id} is there twice");
        ensure!(!case.arm.is_empty(), "{id} has no arm");
        if !case.title.contains(" -> ") {
            bail!("{id}: the title does not say what is done -> what must be seen");
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[case]]\nid = \"K1\"\ngroup = \"kinds\"\nlevel = \"required\"\narm = [\"socket\"]\ntitle = \"a -> b\"\n";

    #[test]
    fn reads_a_case() {
        let case = &parse(&format!("{ONE}claimed = true\n")).unwrap()[0];
        assert_eq!(
            (case.id.as_str(), case.level, case.claimed),
            ("K1", Level::Required, true)
        );
        assert_eq!(
            (case.group, case.arm.as_slice()),
            (Group::Kinds, &[Arm::Socket][..])
        );
        assert!(
            !parse(ONE).unwrap()[0].claimed,
            "a case is not claimed unless it says so"
        );
    }

    #[test]
    fn refuses_what_is_not_a_ledger() {
        assert!(parse(&ONE.repeat(2)).is_err(), "one id, two entries");
        assert!(parse(&ONE.replace("[\"socket\"]", "[]")).is_err(), "no arm");
        assert!(
            parse(&ONE.replace("->", "and")).is_err(),
            "a title without its arrow"
        );
        assert!(
            parse(&ONE.replace("kinds", "kind")).is_err(),
            "unknown group"
        );
        assert!(
            parse(&format!("{ONE}claimd = true\n")).is_err(),
            "unknown field"
        );
    }

    #[test]
    fn the_ledger_of_this_repository_is_whole() {
        let cases = load(&Workspace::load().unwrap()).unwrap();
        let of = |group| cases.iter().filter(|case| case.group == group).count();
        let counts = [
            Group::Kinds,
            Group::Routing,
            Group::Buffering,
            Group::Tunnel,
            Group::Hostile,
        ];
        assert_eq!(counts.map(of), [34, 22, 11, 20, 22]);
    }
}
