//! Known-failing lists: which cases an implementation is known to fail, and why.
//!
//! ```toml
//! [[known]]
//! case = "K27"                                  # an id, or a glob such as "S*"
//! why = "it has no limit of message length yet"
//! ```
//!
//! A listed case that fails is no failure of the run; one that passes is, so that lists stay true.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::catalogue::Entry;
use crate::glob;

/// A known-failing list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    #[serde(default)]
    known: Vec<Line>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    case: String,
    why: String,
}

impl Known {
    /// Reads a list.
    ///
    /// # Errors
    /// Names the file and what is wrong in it: syntax, an empty reason, a glob that no case matches.
    pub fn read(path: &Path, cases: &[Entry]) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, cases).with_context(|| path.display().to_string())
    }

    fn parse(text: &str, cases: &[Entry]) -> Result<Self> {
        let known: Self = toml::from_str(text)?;
        for Line { case, why } in &known.known {
            ensure!(
                !why.trim().is_empty(),
                "case `{case}` has no reason: say `why`"
            );
            let matched = cases.iter().any(|entry| glob::matches(case, &entry.id));
            ensure!(matched, "no case is called `{case}`: --list names them");
        }
        Ok(known)
    }

    /// Why this case is known to fail; none where it is not.
    pub fn why(&self, id: &str) -> Option<&str> {
        let line = self.known.iter().find(|line| glob::matches(&line.case, id));
        line.map(|line| line.why.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_lists_with_a_reason() {
        let text = "[[known]]\ncase = \"S1*\"\nwhy = \"no limits\"";
        let known = Known::parse(text, &crate::catalogue::all()).unwrap();
        assert_eq!(known.why("S10"), Some("no limits"));
        assert_eq!(known.why("K1"), None);
    }

    #[test]
    fn a_list_with_a_mistake_is_refused() {
        let wrong = |text: &str| {
            Known::parse(text, &crate::catalogue::all())
                .unwrap_err()
                .to_string()
        };
        assert!(wrong("[[known]]\ncase = \"K1\"\nwhy = \" \"").contains("no reason"));
        assert!(wrong("[[known]]\ncase = \"X9\"\nwhy = \"x\"").contains("no case"));
        assert!(wrong("[[known]]\ncase = \"K1\"").contains("missing field `why`"));
    }
}
