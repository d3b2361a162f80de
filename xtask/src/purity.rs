//! The core is pure: no runtime, no clock, no randomness, no locks. Names what offends.

use anyhow::Result;

use crate::ci::Tally;
use crate::shell;
use crate::tidy::code_of;
use crate::workspace::Workspace;

/// Crates whose presence means I/O, time, randomness, tasks or locks; with `-`, all that start so.
const BANNED_CRATES: &[&str] = &[
    "async-",
    "crossbeam",
    "fastrand",
    "flume",
    "futures",
    "getrandom",
    "h2",
    "hyper",
    "mio",
    "parking_lot",
    "quanta",
    "rand",
    "rayon",
    "rustls",
    "socket2",
    "time",
    "tokio",
    "tonic",
    "tower",
];

/// What the core's sources must not name, and why.
const BANNED_WORDS: &[(&str, &str)] = &[
    ("Instant::now", "`now` is an argument"),
    ("SystemTime", "wall-clock time jumps; `now` is an argument"),
    ("Mutex", "the state has one owner"),
    ("RwLock", "the state has one owner"),
    ("RefCell", "the state has one owner"),
    ("HashMap", "its order differs from run to run: BTreeMap"),
    ("HashSet", "its order differs from run to run: BTreeSet"),
    ("Waker", "the driver polls; the core wakes nobody"),
    ("std::net", "no I/O"),
    ("std::io", "no I/O"),
    ("std::fs", "no I/O"),
    ("std::thread", "no threads"),
    ("thread_rng", "random numbers are an argument"),
];

/// A slice of bytes for one vectored write: it names I/O and does none.
const ALLOWED: &str = "std::io::IoSlice";

/// Checks the dependencies and the sources of grpcrouter-core.
pub(crate) fn run(workspace: &Workspace) -> Result<Tally> {
    let tree = shell::output(shell::cargo(&workspace.root, &workspace.target)?.args([
        "tree",
        "--locked",
        "-p",
        "grpcrouter-core",
        "-e",
        "normal",
        "--prefix",
        "none",
    ]))?;
    let mut tally = Tally::default();
    for name in offending_crates(&tree) {
        tally.failures.push(format!(
            "grpcrouter-core depends on {name}: the core has no I/O"
        ));
    }
    for source in workspace.sources("router/core/src", &[".rs"])? {
        for (number, line) in source.text.lines().enumerate() {
            let code = code_of(line).replace(ALLOWED, "");
            for (word, reason) in BANNED_WORDS.iter().filter(|ban| code.contains(ban.0)) {
                let file = workspace.relative(&source.path).display();
                tally
                    .failures
                    .push(format!("{file}:{}: {word}: {reason}", number + 1));
            }
        }
    }
    tally.pass_if_clean();
    Ok(tally)
}

fn offending_crates(tree: &str) -> Vec<&str> {
    let is_banned = |name: &str| {
        BANNED_CRATES.iter().any(|ban| {
            let rest = name.strip_prefix(ban);
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(['-', '_']) || ban.ends_with('-')
            })
        })
    };
    let mut names: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    names.retain(|name| is_banned(name));
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_crates_that_offend() {
        let tree = "grpcrouter-core v0.1.0 (/x)\nbytes v1.11.1\ntokio v1.54.0\nfutures-core v0.3.31\ntokio v1.54.0 (*)\nrandomise v1.0.0\nasync-trait v0.1.0\nh2 v0.4.20\n";
        assert_eq!(
            offending_crates(tree),
            ["async-trait", "futures-core", "h2", "tokio"]
        );
    }
}
