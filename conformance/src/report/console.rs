//! For a person who waits.

use indicatif::{ProgressBar, ProgressStyle};

use crate::verdict::{Row, Standing, Verdict};

use super::Report;

/// Says how far a run is, and what goes wrong as it does.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A run of so many cases.
    pub fn new(cases: usize) -> Self {
        let bar = ProgressBar::new(cases as u64);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cases, {elapsed} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    /// A case has begun.
    pub fn begun(&self, id: &str) {
        self.0.set_message(id.to_owned());
    }

    /// A case is done.
    pub fn done(&self, row: &Row) {
        if row.standing().is_bad() {
            self.0.suspend(|| println!("{}", line(row)));
        }
        self.0.inc(1);
    }

    /// All are.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// All that is worth a line, and the counts.
pub fn summary(report: &Report) -> String {
    let mut lines = vec![format!("{}, seed {}", report.name, report.seed)];
    let told = |row: &&Row| !matches!(row.standing(), Standing::Ok);
    lines.extend(report.rows.iter().filter(told).map(line));
    let counts = Standing::ALL.map(|standing| (report.count(standing), standing.name()));
    let counts = counts.iter().filter(|(n, _)| *n > 0);
    let counts: Vec<_> = counts.map(|(n, name)| format!("{n} {name}")).collect();
    lines.push(counts.join(", "));
    lines.join("\n")
}

fn line(row: &Row) -> String {
    let why = match &row.verdict {
        Verdict::Passed => &row.title,
        Verdict::Failed(why) | Verdict::Skipped(why) => why,
    };
    let known = row
        .known
        .as_ref()
        .map_or(String::new(), |known| format!(" [{known}]"));
    let (id, role, standing) = (&row.id, row.role, row.standing().name());
    format!("{id:<6} {:<9} {standing}: {why}{known}", role.name())
}
