//! What a case came to, and what that means for the run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Level, Profile};
use crate::role::Role;

/// What a case came to by itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// What must be seen was seen.
    Passed,
    /// It was not; the text says what was seen, and what was due.
    Failed(String),
    /// It was not run, and why.
    Skipped(String),
}

/// A case that was run against a subject in a role.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Row {
    /// The case.
    pub id: String,
    /// What the subject was.
    pub role: Role,
    /// The part of the suite.
    pub profile: Profile,
    /// How binding the case is.
    pub level: Level,
    /// What is done -> what must be seen.
    pub title: String,
    /// What it came to.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Why it is known to fail, where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub known: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What a row means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Passed.
    Ok,
    /// Failed, and must not.
    Failed,
    /// Failed, and is only recommended.
    Weak,
    /// Failed, as its list says.
    Known,
    /// Passed, though its list says that it fails: the list is wrong, and the run fails.
    Unexpected,
    /// Not run.
    Skipped,
}

impl Row {
    /// What it means for the run.
    pub fn standing(&self) -> Standing {
        match (&self.verdict, &self.known) {
            (Verdict::Skipped(_), _) => Standing::Skipped,
            (Verdict::Passed, None) => Standing::Ok,
            (Verdict::Passed, Some(_)) => Standing::Unexpected,
            (Verdict::Failed(_), Some(_)) => Standing::Known,
            (Verdict::Failed(_), None) if self.level == Level::Recommended => Standing::Weak,
            (Verdict::Failed(_), None) => Standing::Failed,
        }
    }
}

impl Standing {
    /// All of them, in the order in which they are counted up.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Failed,
        Self::Unexpected,
        Self::Weak,
        Self::Known,
        Self::Skipped,
    ];

    /// As reports say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::Weak => "failed (recommended)",
            Self::Known => "known to fail",
            Self::Unexpected => "PASSED, BUT LISTED",
            Self::Skipped => "skipped",
        }
    }

    /// Whether the run fails by it.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Unexpected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_case_that_passes_fails_the_run() {
        let row = |verdict, known: Option<&str>, level| Row {
            id: "K1".to_owned(),
            role: Role::Both,
            profile: Profile::Core,
            level,
            title: String::new(),
            verdict,
            known: known.map(str::to_owned),
            took: Duration::ZERO,
        };
        let failed = || Verdict::Failed("no".to_owned());
        let standing = |verdict, known, level| row(verdict, known, level).standing();
        assert!(standing(Verdict::Passed, Some("why"), Level::Required).is_bad());
        assert!(standing(failed(), None, Level::Required).is_bad());
        assert!(!standing(failed(), Some("why"), Level::Required).is_bad());
        assert!(!standing(failed(), None, Level::Recommended).is_bad());
    }
}
