//! What Cargo.lock may hold, checked here so that it holds where cargo-deny is not installed.

use std::process::Command;

use anyhow::Result;
use serde::Deserialize;

use crate::ci::Tally;
use crate::shell;
use crate::workspace::Workspace;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks Cargo.lock, then runs cargo-deny where it is installed.
pub(crate) fn run(workspace: &Workspace) -> Result<Tally> {
    let text = std::fs::read_to_string(workspace.root.join("Cargo.lock"))?;
    let mut tally = Tally {
        failures: offences(&text)?,
        ..Tally::default()
    };
    tally.pass_if_clean();
    let deny = || Command::new("cargo");
    if !shell::is_there(deny().args(["deny", "--version"])) {
        println!("  cargo-deny is not installed: licences and further bans are not checked here");
        return Ok(tally);
    }
    // Advisories need a database from the network: they would fail without any change here.
    let mut command = shell::cargo(&workspace.root, &workspace.target)?;
    match shell::run(command.args(["deny", "check", "bans", "licenses", "sources"])) {
        Ok(()) => tally.passed += 1,
        Err(error) => tally.failures.push(format!("{error:#}")),
    }
    Ok(tally)
}

fn offences(text: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        source: Option<String>,
    }
    let mut found = Vec::new();
    for Locked {
        name,
        version,
        source,
    } in toml::from_str::<Lock>(text)?.package
    {
        if name == "h2" && ["0.4.16", "0.4.17", "0.4.18"].contains(&version.as_str()) {
            found.push(format!(
                "Cargo.lock: h2 {version}: its fixed budget for small frames lets one stalled call \
                 end its connection; use 0.4.20 or later"
            ));
        }
        if source.as_deref().is_some_and(|source| source != CRATES_IO) {
            let source = source.unwrap_or_default();
            found.push(format!(
                "Cargo.lock: {name} comes from {source}: only crates.io is allowed"
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_bad_versions_and_sources() {
        let of = |name: &str, version: &str, source: &str| {
            format!(
                "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{source}\"\n"
            )
        };
        let own = "[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let good = format!("{own}{}", of("h2", "0.4.20", CRATES_IO));
        assert_eq!(offences(&good).unwrap(), [""; 0]);
        let bad = of("h2", "0.4.17", CRATES_IO) + &of("x", "1.0.0", "git+https://example.org/x");
        assert_eq!(offences(&bad).unwrap().len(), 2);
    }
}
