//! `cargo xtask cases`: every case with its tests and their last result.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::ci::Tally;
use crate::judged;
use crate::ledger::{self, Case, Level};
use crate::proves::{self, Proof, TestName};
use crate::results::{Outcome, Results, TestResult};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the cases that the project claims
    #[arg(long)]
    claimed: bool,
    /// As JSON, one object a case
    #[arg(long)]
    json: bool,
}

/// Where it stands what the conformance suite is run against.
const MATRIX: &str = "conformance/matrix.toml";

/// Where a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Standing {
    /// A test that names it ran and passed, and none that names it failed.
    #[serde(rename = "proven")]
    Proven,
    /// Claimed; its only tests need what this machine lacks.
    #[serde(rename = "claimed, not run here")]
    Absent,
    #[serde(rename = "claimed, not proven")]
    NotProven,
    #[serde(rename = "open")]
    Open,
}

impl Standing {
    fn name(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Absent => "claimed, not run here",
            Self::NotProven => "claimed, not proven",
            Self::Open => "open",
        }
    }
}

/// A case, its tests, where it stands.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    case: Case,
    standing: Standing,
    tests: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    test: String,
    place: String,
    /// `ok`, `FAILED`, `not run`.
    last: &'static str,
}

/// Prints the ledger.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let (rows, unknown) = rows(workspace)?;
    let chosen: Vec<_> = rows
        .iter()
        .filter(|row| row.case.claimed || !args.claimed)
        .collect();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&chosen)?);
        return Ok(());
    }
    for row in &chosen {
        let Case {
            id,
            level,
            arm,
            title,
            apart,
            ..
        } = &row.case;
        let level = if *level == Level::Required {
            "required"
        } else {
            "recommended"
        };
        let arm: Vec<_> = arm.iter().map(|arm| arm.name()).collect();
        println!(
            "{id:<5} {level:<11} {:<16} {}",
            arm.join(","),
            row.standing.name()
        );
        println!("      {title}");
        if let Some(why) = apart {
            println!("      not in the conformance suite: {why}");
        }
        for test in &row.tests {
            println!("        {:<7} {}  ({})", test.last, test.test, test.place);
        }
    }
    for line in unknown {
        println!("{line}");
    }
    let mut totals = BTreeMap::new();
    for row in &chosen {
        *totals.entry(row.standing).or_insert(0) += 1;
    }
    let totals: Vec<_> = totals
        .iter()
        .map(|(it, n)| format!("{n} {}", it.name()))
        .collect();
    println!("{} cases: {}", chosen.len(), totals.join("; "));
    Ok(())
}

/// Every claimed case has a test that ran and passed; every id that a test names is a case.
pub(crate) fn check(workspace: &Workspace) -> Result<Tally> {
    let (rows, unknown) = rows(workspace)?;
    let mut tally = Tally {
        failures: unknown,
        ..Tally::default()
    };
    for row in &rows {
        let id = &row.case.id;
        let list = |last: &str| {
            let tests = row.tests.iter().filter(|test| test.last == last);
            tests
                .map(|test| format!("{} ({})", test.test, test.place))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let failed = list("FAILED");
        let stale = list("not run");
        if !failed.is_empty() {
            tally.failures.push(format!("{id}: FAILED: {failed}"));
        } else if row.standing == Standing::NotProven && row.tests.is_empty() {
            tally
                .failures
                .push(format!("{id}: claimed, but no test names it"));
        } else if row.standing == Standing::NotProven {
            tally
                .failures
                .push(format!("{id}: claimed, but its tests did not run: {stale}"));
        } else if row.standing == Standing::Absent {
            println!("  {id}: not run here: {stale}");
        }
    }
    let proven = rows
        .iter()
        .filter(|row| row.standing == Standing::Proven)
        .count();
    println!("  {proven} of {} cases proven", rows.len());
    tally.pass_if_clean();
    Ok(tally)
}

fn rows(workspace: &Workspace) -> Result<(Vec<Row>, Vec<String>)> {
    let cases = ledger::load(workspace)?;
    let proofs = proves::scan(workspace)?;
    let results = Results::load(workspace)?;
    let mut unknown = Vec::new();
    for proof in &proofs {
        for id in proof
            .ids
            .iter()
            .filter(|id| !cases.iter().any(|case| case.id == **id))
        {
            unknown.push(format!(
                "{}: {id} is not in conformance/cases.toml",
                proof.place
            ));
        }
    }
    let rows = cases
        .into_iter()
        .map(|case| row(case, &proofs, &results))
        .collect();
    Ok((rows, unknown))
}

fn row(case: Case, proofs: &[Proof], results: &Results) -> Row {
    let all: Vec<TestResult> = results.suites.values().flatten().cloned().collect();
    let mut tests = Vec::new();
    let mut absent = false;
    for proof in proofs.iter().filter(|proof| proof.ids.contains(&case.id)) {
        let found = proof.test.find(&all);
        let any = |outcome| found.iter().any(|it| it.outcome == outcome);
        let last = if any(Outcome::Failed) {
            "FAILED"
        } else if any(Outcome::Ok) {
            "ok"
        } else {
            absent |= matches!(proof.test, TestName::Python(_)) && !results.absent.is_empty();
            "not run"
        };
        tests.push(Shown {
            test: proof.test.shown(),
            place: proof.place.clone(),
            last,
        });
    }
    let judged = results.suites.get(judged::SUITE).into_iter().flatten();
    tests.extend(judged.filter(|it| it.name == case.id).map(|it| Shown {
        test: it.program.clone(),
        place: MATRIX.to_owned(),
        last: match it.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Ignored => "not run",
        },
    }));
    let any = |last| tests.iter().any(|test| test.last == last);
    let standing = match () {
        () if any("ok") && !any("FAILED") => Standing::Proven,
        () if !case.claimed => Standing::Open,
        () if absent && !any("FAILED") => Standing::Absent,
        () => Standing::NotProven,
    };
    Row {
        case,
        standing,
        tests,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Arm, Group};

    fn case(claimed: bool) -> Case {
        Case {
            id: "K1".into(),
            group: Group::Kinds,
            level: Level::Required,
            arm: vec![Arm::Core],
            title: "a -> b".into(),
            claimed,
            apart: None,
        }
    }

    fn standing(
        claimed: bool,
        outcomes: &[(&str, Outcome)],
        absent: bool,
        test: TestName,
    ) -> Standing {
        let proof = Proof {
            ids: vec!["K1".into()],
            test,
            place: "f:1".into(),
        };
        let mut results = Results::default();
        let suite = outcomes.iter().map(|(name, outcome)| TestResult {
            program: "p".into(),
            name: (*name).into(),
            outcome: *outcome,
        });
        results.suites.insert("tests".into(), suite.collect());
        if absent {
            results.absent.insert("grpcio".into(), "python3".into());
        }
        row(case(claimed), &[proof], &results).standing
    }

    fn rust() -> TestName {
        TestName::Rust {
            program: "p".into(),
            path: "a".into(),
        }
    }

    #[test]
    fn a_case_stands_where_its_tests_put_it() {
        assert_eq!(
            standing(true, &[("a", Outcome::Ok)], false, rust()),
            Standing::Proven
        );
        assert_eq!(
            standing(true, &[("a", Outcome::Failed)], false, rust()),
            Standing::NotProven
        );
        assert_eq!(
            standing(true, &[("a", Outcome::Ignored)], false, rust()),
            Standing::NotProven
        );
        assert_eq!(
            standing(true, &[("b", Outcome::Ok)], false, rust()),
            Standing::NotProven
        );
        assert_eq!(standing(false, &[], false, rust()), Standing::Open);
    }

    #[test]
    fn what_the_conformance_suite_says_counts_as_a_test() {
        let standing = |id: &str, outcomes: &[Outcome]| {
            let judged = outcomes.iter().map(|outcome| TestResult {
                program: "conformance: gateway".into(),
                name: id.into(),
                outcome: *outcome,
            });
            let mut results = Results::default();
            results
                .suites
                .insert(judged::SUITE.into(), judged.collect());
            row(case(true), &[], &results).standing
        };
        assert_eq!(standing("K1", &[Outcome::Ok]), Standing::Proven);
        assert_eq!(standing("K1", &[Outcome::Ignored]), Standing::NotProven);
        let differ = [Outcome::Ok, Outcome::Failed];
        assert_eq!(standing("K1", &differ), Standing::NotProven);
        assert_eq!(standing("K2", &[Outcome::Ok]), Standing::NotProven);
    }

    #[test]
    fn only_a_python_check_may_be_absent() {
        let python = || TestName::Python("check_a".into());
        assert_eq!(standing(true, &[], true, python()), Standing::Absent);
        assert_eq!(standing(true, &[], false, python()), Standing::NotProven);
        assert_eq!(standing(true, &[], true, rust()), Standing::NotProven);
    }
}
