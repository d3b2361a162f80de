//! What a run came to, for people and for programs.

mod console;
mod junit;
mod matrix;

pub use console::{Progress, summary};
pub use junit::junit;
pub use matrix::matrix;

use serde::{Deserialize, Serialize};

use crate::verdict::{Row, Standing};

/// A run.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Report {
    /// The implementation, as the command line called it.
    pub name: String,
    /// Draws what is random: the same seed makes the same calls.
    pub seed: u64,
    /// The cases, in the order of the catalogue.
    pub rows: Vec<Row>,
}

impl Report {
    /// How many rows stand so.
    pub fn count(&self, standing: Standing) -> usize {
        let rows = self.rows.iter();
        rows.filter(|row| row.standing() == standing).count()
    }

    /// Whether every case came to what was due.
    pub fn is_good(&self) -> bool {
        !self.rows.iter().any(|row| row.standing().is_bad())
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never in practice: everything in it has a form.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalogue::{Level, Profile};
    use crate::role::Role;
    use crate::verdict::Verdict;

    /// A case that passed, one that failed, one that was not run.
    pub(super) fn report() -> Report {
        let row = |id: &str, verdict| Row {
            id: id.to_owned(),
            role: Role::Gateway,
            profile: Profile::Core,
            level: Level::Required,
            title: "a -> b".to_owned(),
            verdict,
            known: None,
            took: Duration::from_millis(500),
        };
        Report {
            name: "theirs".to_owned(),
            seed: 7,
            rows: vec![
                row("K2", Verdict::Failed("saw <2> & not 3".to_owned())),
                row("K1", Verdict::Passed),
                row("K3", Verdict::Skipped("no way".to_owned())),
            ],
        }
    }

    #[test]
    fn what_was_written_can_be_read_again() {
        let text = report().json().unwrap();
        let again: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(again.rows[0].verdict, report().rows[0].verdict);
        assert!(!again.is_good());
    }
}
