//! `cargo xtask bench --check`: instructions of the hot paths, counted by callgrind, against the committed baseline.
//!
//! Counts are the same in every run of the same binary, whatever else the machine does, so a growth that no clock on a
//! shared machine would show fails here. They are no times: a cache miss counts as one instruction.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::programs::Programs;
use crate::shell;
use crate::workspace::Workspace;

/// A growth beyond so many hundredths fails.
const GROWTH: u64 = 5;

/// What is counted, and how often it is done: often enough that the rare growth of a buffer is spread thin.
const LAYERS: &[(&str, u32)] = &[
    ("call-encode", 1_000),
    ("call-decode", 1_000),
    ("response-encode", 1_000),
    ("response-decode", 1_000),
    ("tunnel-pair", 500),
    ("tunnel-pair-64", 20),
    ("tunnel-pair-1m", 5),
    ("pick-turn-1", 1_000),
    ("pick-turn-10k", 1_000),
    ("pick-hash-10k", 1_000),
    ("pick-least-loaded-10k", 1_000),
];

/// benches/baseline.toml.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    /// The compiler that the counts are of: another one counts differently.
    rustc: String,
    /// Instructions each time.
    instructions: BTreeMap<String, u64>,
}

/// Counts, and compares with the baseline or makes it anew.
pub(super) fn run(workspace: &Workspace, bless: bool) -> Result<()> {
    ensure!(
        shell::is_there(Command::new("valgrind").arg("--version")),
        "valgrind is not installed (mend: apt-get install valgrind)"
    );
    let program = Programs::build(workspace)?.count;
    let folder = workspace.target.join("bench");
    std::fs::create_dir_all(&folder)?;
    let mut counted = BTreeMap::new();
    for (layer, times) in LAYERS {
        let once = count(&program, &folder, layer, *times)?;
        let twice = count(&program, &folder, layer, 2 * times)?;
        let each = twice.saturating_sub(once) / u64::from(*times);
        println!("{layer:<24} {each:>12} instructions");
        counted.insert((*layer).to_owned(), each);
    }
    let rustc = shell::output(Command::new("rustc").arg("--version"))?;
    let now = Baseline {
        rustc: rustc.trim().to_owned(),
        instructions: counted,
    };
    let file = workspace.root.join("benches/baseline.toml");
    if bless {
        let head = "# Instructions of the hot paths, by callgrind. `cargo xtask bench --check` compares, `--bless` writes this.\n";
        std::fs::write(&file, format!("{head}{}", toml::to_string(&now)?))?;
        println!("written: {}", workspace.relative(&file).display());
        return Ok(());
    }
    let text = std::fs::read_to_string(&file)
        .context("benches/baseline.toml (mend: cargo xtask bench --check --bless)")?;
    compare(
        &toml::from_str(&text).context("benches/baseline.toml")?,
        &now,
    )
}

fn compare(before: &Baseline, now: &Baseline) -> Result<()> {
    let mut grown = Vec::new();
    let lost = |layer: &&String| !now.instructions.contains_key(*layer);
    for layer in before.instructions.keys().filter(lost) {
        grown.push(format!("{layer}: in the baseline, and not counted"));
    }
    for (layer, count) in &now.instructions {
        // A layer that does nothing would never grow.
        if *count == 0 {
            grown.push(format!("{layer}: counted nothing"));
        }
        let Some(was) = before.instructions.get(layer) else {
            grown.push(format!("{layer}: not in the baseline"));
            continue;
        };
        let percent = (*count as f64 / (*was).max(1) as f64 - 1.0) * 100.0;
        if count * 100 > was * (100 + GROWTH) {
            grown.push(format!(
                "{layer}: {count} instructions, were {was}: {percent:+.1} %"
            ));
        } else if count * 100 < was * (100 - GROWTH) {
            println!("{layer}: {percent:+.1} %; keep it by --bless");
        }
    }
    if grown.is_empty() {
        println!("no growth beyond {GROWTH} %");
        return Ok(());
    }
    let compiler = if before.rustc == now.rustc {
        String::new()
    } else {
        format!(
            "\nthe baseline is of {}, this is {}: bless it on the commit before, and compare again",
            before.rustc, now.rustc
        )
    };
    bail!(
        "more instructions than the baseline has:\n{}{compiler}\n(mend: find the cause, or where it is worth it `cargo xtask bench --check --bless`, and say in the commit why)",
        grown.join("\n")
    )
}

/// All instructions of one run.
fn count(program: &Path, folder: &Path, layer: &str, times: u32) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    let out = folder.join(format!("callgrind-{layer}.out"));
    valgrind
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args([layer, &times.to_string()])
        // Environment and arguments lie on the stack, and their length moves what lies beside them.
        .env_clear()
        .stdin(Stdio::null());
    let output = valgrind.output().context("cannot start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{layer} under valgrind: {}\n{said}",
        output.status
    );
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let (_, count) = collected.with_context(|| format!("valgrind counted nothing:\n{said}"))?;
    count
        .trim()
        .parse()
        .with_context(|| format!("valgrind counted `{count}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: u64) -> Baseline {
        Baseline {
            rustc: "rustc 1".to_owned(),
            instructions: BTreeMap::from([("layer".to_owned(), count)]),
        }
    }

    #[test]
    fn growth_beyond_a_twentieth_fails_and_names_the_layer() {
        assert!(compare(&of(1_000), &of(1_050)).is_ok());
        assert!(compare(&of(1_000), &of(500)).is_ok(), "less is never wrong");
        let error = compare(&of(1_000), &of(1_051)).expect_err("it grew");
        assert!(
            error
                .to_string()
                .contains("layer: 1051 instructions, were 1000"),
            "{error}"
        );
    }

    #[test]
    fn a_layer_without_a_baseline_fails() {
        let mut before = of(1_000);
        before.instructions.clear();
        assert!(compare(&before, &of(1)).is_err());
    }
}
