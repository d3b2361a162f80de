//! Rules about the text of the sources that no other tool checks. Each has its reason and its mend.

use anyhow::{Result, ensure};

use crate::ci::Tally;
use crate::workspace::{Source, Workspace};

/// Longest file, in lines, tests included.
const MAX_LINES: usize = 500;

/// A text that no source may hold.
struct Ban {
    text: &'static str,
    reason: &'static str,
    mend: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        text: "#[ignore",
        reason: "a test that does not run proves nothing",
        mend: "make it run, or delete it",
    },
    Ban {
        text: "todo!(",
        reason: "unfinished code must not land",
        mend: "write it, or return a typed error",
    },
    Ban {
        text: "thread::sleep",
        reason: "a test that sleeps is slow or wrong, and a runtime's thread must not block",
        mend: "wait on an event with a limit, or move virtual time",
    },
    Ban {
        text: "unbounded_channel",
        reason: "every queue has a limit",
        mend: "mpsc::channel with a documented size",
    },
    Ban {
        text: "mpsc::unbounded",
        reason: "every queue has a limit",
        mend: "mpsc::channel with a documented size",
    },
    Ban {
        text: "mpsc::channel()",
        reason: "std's channel without a size has no limit",
        mend: "mpsc::sync_channel with a documented size",
    },
];

/// Prints every offence; an error if there is one.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tally = check(workspace)?;
    for failure in &tally.failures {
        println!("{failure}");
    }
    ensure!(
        tally.failures.is_empty(),
        "{} offences",
        tally.failures.len()
    );
    println!("tidy");
    Ok(())
}

/// All offences, as a step of ci.
pub(crate) fn check(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    for source in workspace.sources("", &[".rs", ".py"])? {
        let file = workspace.relative(&source.path).display().to_string();
        tally.failures.extend(offences(&source, &file));
    }
    tally.pass_if_clean();
    Ok(tally)
}

fn offences(source: &Source, file: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines: Vec<&str> = source.text.lines().collect();
    if lines.len() > MAX_LINES {
        let count = lines.len();
        found.push(format!(
            "{file}:{MAX_LINES}: {count} lines: a file holds one concept (mend: split it by concept)"
        ));
    }
    if source.path.extension().is_none_or(|ending| ending != "rs") {
        return found;
    }
    let code: Vec<String> = lines.iter().map(|line| code_of(line)).collect();
    for (number, line) in code.iter().enumerate() {
        let place = format!("{file}:{}", number + 1);
        for ban in BANS.iter().filter(|ban| line.contains(ban.text)) {
            found.push(format!(
                "{place}: {}: {} (mend: {})",
                ban.text, ban.reason, ban.mend
            ));
        }
        if let Some((_, rest)) = line.split_once("select! {") {
            let after = code[number + 1..].iter().map(|line| line.trim());
            let first = std::iter::once(rest.trim())
                .chain(after)
                .find(|text| !text.is_empty());
            if !first.is_some_and(|text| text.starts_with("biased;")) {
                found.push(format!(
                    "{place}: select! polls in random order, so runs differ (mend: `biased;` first)"
                ));
            }
        }
    }
    found
}

/// A line without its string literals and its comment: what the compiler acts on.
pub(crate) fn code_of(line: &str) -> String {
    let mut code = String::with_capacity(line.len());
    let mut rest = line.chars().peekable();
    let mut inside = false;
    while let Some(it) = rest.next() {
        match it {
            '\\' if inside => drop(rest.next()),
            '"' if code.ends_with('\'') && rest.peek() == Some(&'\'') => {}
            '"' => inside = !inside,
            _ if inside => {}
            '/' if rest.peek() == Some(&'/') => break,
            _ => code.push(it),
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let source = Source {
            path: "x.rs".into(),
            text: text.to_owned(),
        };
        offences(&source, "x.rs")
    }

    #[test]
    fn strings_and_comments_are_not_code() {
        assert_eq!(code_of("a(\"b // c\", 'd'); // e"), "a(, 'd'); ");
        assert_eq!(code_of("x('\"', \"\\\"y\")"), "x('', )");
        assert_eq!(found("let x = \"todo!()\"; // todo!()\n"), [""; 0]);
    }

    #[test]
    fn names_place_reason_and_mend() {
        let text = "fn a() {\n    todo!()\n}\n";
        assert_eq!(
            found(text),
            [
                "x.rs:2: todo!(: unfinished code must not land (mend: write it, or return a typed error)"
            ]
        );
    }

    #[test]
    fn select_is_biased() {
        assert_eq!(
            found("tokio::select! {\n    // why\n    biased;\n    x = y => {}\n}\n"),
            [""; 0]
        );
        assert_eq!(found("tokio::select! { biased; x = y => {} }\n"), [""; 0]);
        assert!(found("tokio::select! {\n    x = y => {}\n}\n")[0].starts_with("x.rs:1: select!"));
    }

    #[test]
    fn files_are_short() {
        assert_eq!(found(&"\n".repeat(500)), [""; 0]);
        assert!(found(&"\n".repeat(501))[0].contains("501 lines"));
    }
}
