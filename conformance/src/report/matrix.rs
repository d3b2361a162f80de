//! Implementations side by side, in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::catalogue;
use crate::verdict::{Row, Standing};

use super::Report;

/// One row a case, one column an implementation and role.
pub fn matrix(reports: &[Report]) -> String {
    let mut columns: Vec<(String, BTreeMap<&str, &Row>)> = Vec::new();
    for report in reports {
        for row in &report.rows {
            let title = format!("{} ({})", report.name, row.role);
            match columns.iter_mut().find(|column| column.0 == title) {
                Some(column) => drop(column.1.insert(&row.id, row)),
                None => columns.push((title, BTreeMap::from([(row.id.as_str(), row)]))),
            }
        }
    }
    let mut out = String::from("| case | level |");
    for (title, _) in &columns {
        let _ = write!(out, " {title} |");
    }
    out.push_str("\n|---|---|");
    out.push_str(&"---|".repeat(columns.len()));
    out.push('\n');
    for entry in catalogue::all() {
        let rows = columns.iter().map(|column| column.1.get(entry.id.as_str()));
        let rows: Vec<_> = rows.collect();
        if rows.iter().all(Option::is_none) {
            continue;
        }
        let level = match entry.level {
            catalogue::Level::Required => "R",
            catalogue::Level::Recommended => "r",
        };
        let _ = write!(out, "| {} | {level} |", entry.id);
        for row in rows {
            let _ = write!(out, " {} |", row.map_or("", |row| mark(row.standing())));
        }
        out.push('\n');
    }
    let _ = write!(out, "| ok of run | |");
    for (_, rows) in &columns {
        let ran = rows
            .values()
            .filter(|row| row.standing() != Standing::Skipped);
        let ok = rows.values().filter(|row| row.standing() == Standing::Ok);
        let _ = write!(out, " {} of {} |", ok.count(), ran.count());
    }
    out.push('\n');
    out
}

const fn mark(standing: Standing) -> &'static str {
    match standing {
        Standing::Ok => "ok",
        Standing::Failed => "**FAILED**",
        Standing::Weak => "failed",
        Standing::Known => "known",
        Standing::Unexpected => "**listed**",
        Standing::Skipped => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn cases_stand_in_the_order_of_the_catalogue() {
        insta::assert_snapshot!(matrix(&[report()]));
    }
}
