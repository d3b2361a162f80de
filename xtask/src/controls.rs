//! No case of the conformance suite counts unless something fails it: a case that nothing fails may not be able to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::shell;

/// Cases that nothing fails, with the reasons.
const UNCONTROLLED: &str = "known/uncontrolled.toml";

/// A list of what is known to fail. The suite itself reads and checks the reasons.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    known: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    case: String,
    why: String,
}

/// Compares the cases that the suite judges with those that are in a list of a control. That they do fail there is
/// checked where the control runs.
pub(crate) fn check(
    suite: &Path,
    folder: &Path,
    lists: impl Iterator<Item = PathBuf>,
) -> Result<()> {
    let judged = judged(&shell::output(Command::new(suite).args(["--list"]))?);
    ensure!(!judged.is_empty(), "the suite lists no case");
    let mut failed = BTreeSet::new();
    for list in lists {
        failed.extend(read(&list)?.known.into_iter().map(|line| line.case));
    }
    let excused = read(&folder.join(UNCONTROLLED))?.known;
    for Line { case, why } in &excused {
        ensure!(
            !why.trim().is_empty(),
            "{UNCONTROLLED}: {case} has no reason"
        );
    }
    let excused = excused.into_iter().map(|line| line.case).collect();
    let wrong = wrong(&judged, &failed, &excused);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What is wrong, a line each.
fn wrong(
    judged: &BTreeSet<String>,
    failed: &BTreeSet<String>,
    excused: &BTreeSet<String>,
) -> Vec<String> {
    let bare = judged
        .difference(failed)
        .filter(|case| !excused.contains(*case));
    let bare = bare.map(|case| {
        format!(
            "{case}: no mutant and no control fails it, so that it may not be able to fail: add one \
             (conformance/src/mutant, conformance/matrix.toml), or say why not in {UNCONTROLLED}"
        )
    });
    let needless = excused
        .iter()
        .filter(|case| failed.contains(*case) || !judged.contains(*case));
    let needless =
        needless.map(|case| format!("{UNCONTROLLED}: strike {case}, which needs no excuse"));
    bare.chain(needless).collect()
}

/// The cases of a list.
pub(crate) fn cases(list: &Path) -> Result<Vec<String>> {
    Ok(read(list)?
        .known
        .into_iter()
        .map(|line| line.case)
        .collect())
}

fn read(list: &Path) -> Result<List> {
    let text = std::fs::read_to_string(list);
    let text = text.with_context(|| format!("cannot read {}", list.display()))?;
    toml::from_str(&text).with_context(|| list.display().to_string())
}

/// The cases that the suite judges in some role, from what `--list` prints: a line that begins with the id, and below
/// it the roles behind spaces.
fn judged(list: &str) -> BTreeSet<String> {
    let mut lines = list.lines().peekable();
    let mut judged = BTreeSet::new();
    while let Some(line) = lines.next() {
        let roles = lines.next_if(|next| next.starts_with(' '));
        let id = line.split_whitespace().next();
        if let (Some(id), Some(roles)) = (id, roles)
            && !roles.trim().starts_with("not in this suite")
        {
            judged.insert(id.to_owned());
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_nothing_fails_is_named_unless_it_is_excused() {
        let list = "K1    R core      a -> b\n                 gateway,both\n\
                    K2    R core      c -> d\n                 gateway\n\
                    K34   r core      e -> f\n                 not in this suite: why\n";
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let judged = judged(list);
        assert_eq!(judged, set(&["K1", "K2"]));
        let count =
            |failed: &[&str], excused: &[&str]| wrong(&judged, &set(failed), &set(excused)).len();
        assert_eq!(count(&["K1", "K2"], &[]), 0);
        assert_eq!(count(&["K1"], &["K2"]), 0);
        assert_eq!(count(&["K1"], &[]), 1);
        assert_eq!(
            count(&["K1", "K2"], &["K2"]),
            1,
            "an excuse that is not needed"
        );
    }
}
