//! For servers of continuous integration: JUnit's XML.

use std::fmt::Write;

use crate::verdict::{Standing, Verdict};

use super::Report;

/// The run as one test suite.
pub fn junit(report: &Report) -> String {
    let failures = report.count(Standing::Failed) + report.count(Standing::Unexpected);
    let rest = [Standing::Skipped, Standing::Known, Standing::Weak];
    let skipped: usize = rest.iter().map(|standing| report.count(*standing)).sum();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let name = escaped(&report.name);
    let tests = report.rows.len();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\">"
    );
    for row in &report.rows {
        let _ = write!(
            out,
            "  <testcase classname=\"{}.{}\" name=\"{}\" time=\"{:.3}\"",
            row.role.name(),
            row.profile,
            escaped(&row.id),
            row.took.as_secs_f64()
        );
        let why = match &row.verdict {
            Verdict::Passed => "it passed, and its list says that it fails",
            Verdict::Failed(why) | Verdict::Skipped(why) => why,
        };
        let why = escaped(why);
        let _ = match row.standing() {
            Standing::Ok => writeln!(out, "/>"),
            Standing::Failed | Standing::Unexpected => {
                writeln!(out, "><failure message=\"{why}\"/></testcase>")
            }
            Standing::Weak | Standing::Known | Standing::Skipped => {
                writeln!(out, "><skipped message=\"{why}\"/></testcase>")
            }
        };
    }
    out.push_str("</testsuite>\n");
    out
}

/// Text as it may stand in an attribute; what XML cannot hold at all is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn every_case_is_a_test_and_what_failed_says_why() {
        let xml = junit(&report());
        assert!(
            xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""),
            "{xml}"
        );
        let failed = "name=\"K2\" time=\"0.500\"><failure message=\"saw &lt;2&gt; &amp; not 3\"/>";
        assert!(xml.contains(failed), "{xml}");
    }
}
