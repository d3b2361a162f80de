//! `/// Proves: K1, K2` above a test: which test proves which cases.
//!
//! Read line by line, not parsed: rustfmt has fixed the layout, so indentation shows the modules.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::results::TestResult;
use crate::workspace::{Package, Workspace};

/// A test and the cases that it names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) ids: Vec<String>,
    pub(crate) test: TestName,
    /// Where the line stands: `path:line`.
    pub(crate) place: String,
}

/// Where the results name the test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TestName {
    Rust {
        /// `package` for tests inside its library, `package/target` for others.
        program: String,
        /// `module::tests::name`.
        path: String,
    },
    /// A check of a script under examples/.
    Python(String),
}

impl TestName {
    /// The results that are this test's: several where a macro makes several tests of one function.
    pub(crate) fn find<'a>(&self, results: &'a [TestResult]) -> Vec<&'a TestResult> {
        match self {
            Self::Python(name) => {
                let short = name.strip_prefix("check_").unwrap_or(name);
                let is = |it: &str| it == name || it.replace('-', "_") == short;
                results.iter().filter(|it| is(&it.name)).collect()
            }
            Self::Rust { program, path } => {
                let below = format!("{path}::");
                let own = results.iter().filter(|it| it.program == *program);
                let exact: Vec<_> = own
                    .filter(|it| it.name == *path || it.name.starts_with(&below))
                    .collect();
                if exact.is_empty() {
                    by_last_name(program, path, results)
                } else {
                    exact
                }
            }
        }
    }

    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Rust { program, path } => format!("{program} {path}"),
            Self::Python(name) => format!("python {name}"),
        }
    }
}

/// Every proof that the sources name.
pub(crate) fn scan(workspace: &Workspace) -> Result<Vec<Proof>> {
    let mut proofs = Vec::new();
    for source in workspace.sources("", &[".rs"])? {
        let shown = workspace.relative(&source.path).display().to_string();
        let found = rust_proofs(&source.text, &shown)?;
        if found.is_empty() {
            continue;
        }
        let Some((program, module)) = locate(workspace, &source.path) else {
            bail!("{shown}: proves cases, but belongs to no target of the workspace");
        };
        proofs.extend(found.into_iter().map(|found| {
            let path = [module.as_str(), &found.function].join("::");
            let path = path.trim_start_matches("::").to_owned();
            let test = TestName::Rust {
                program: program.clone(),
                path,
            };
            Proof {
                ids: found.ids,
                test,
                place: found.place,
            }
        }));
    }
    for source in workspace.sources("examples", &[".py"])? {
        let shown = workspace.relative(&source.path).display().to_string();
        for found in python_proofs(&source.text, &shown)? {
            let test = TestName::Python(found.function);
            proofs.push(Proof {
                ids: found.ids,
                test,
                place: found.place,
            });
        }
    }
    Ok(proofs)
}

/// A `Proves:` line and the function below it, with the modules around it inside the file.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    ids: Vec<String>,
    function: String,
    place: String,
}

fn rust_proofs(text: &str, file: &str) -> Result<Vec<Found>> {
    let mut modules: Vec<(usize, &str)> = Vec::new();
    let mut found = Vec::new();
    let mut open: Option<(Vec<String>, String, bool)> = None;
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if code == "}" && modules.last().is_some_and(|module| module.0 == indent) {
            modules.pop();
        }
        if let Some(name) = inline_module(code) {
            modules.push((indent, name));
        }
        if let Some(list) = code.strip_prefix("/// Proves:") {
            let place = format!("{file}:{}", number + 1);
            let ids = ids(list, &place)?;
            match &mut open {
                Some((all, ..)) => all.extend(ids),
                None => open = Some((ids, place, false)),
            }
        } else if let Some((_, _, is_test)) = &mut open {
            *is_test |= code.starts_with("#[") && code.contains("test");
            if let Some(name) = function(code) {
                let (ids, place, is_test) = open.take().expect("just seen");
                ensure!(
                    is_test,
                    "{place}: `{name}` is not a test (the line stands above #[test])"
                );
                let around = modules.iter().filter(|module| module.0 < indent);
                let parts: Vec<_> = around.map(|module| module.1).chain([name]).collect();
                found.push(Found {
                    ids,
                    function: parts.join("::"),
                    place,
                });
            } else if code.is_empty() {
                bail!("{}: nothing below `Proves:`", open.expect("just seen").1);
            }
        }
    }
    Ok(found)
}

fn python_proofs(text: &str, file: &str) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut open: Option<(Vec<String>, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let code = line.trim();
        if let Some(list) = code.strip_prefix("# Proves:") {
            let place = format!("{file}:{}", number + 1);
            open.get_or_insert((Vec::new(), place.clone()))
                .0
                .extend(ids(list, &place)?);
        } else if let Some((_, place)) = &open {
            let code = code.strip_prefix("async ").unwrap_or(code);
            if let Some(rest) = code.strip_prefix("def ") {
                let function = rest.split('(').next().unwrap_or_default().to_owned();
                let (ids, place) = open.take().expect("just seen");
                found.push(Found {
                    ids,
                    function,
                    place,
                });
            } else if !code.starts_with(['#', '@']) {
                bail!("{place}: no `def` below `Proves:`");
            }
        }
    }
    Ok(found)
}

fn ids(list: &str, place: &str) -> Result<Vec<String>> {
    let ids: Vec<_> = list.split(',').map(|id| id.trim().to_owned()).collect();
    let is_id = |id: &String| {
        id.starts_with(|first: char| first.is_ascii_uppercase())
            && id.chars().all(|it| it.is_ascii_alphanumeric() || it == '-')
    };
    ensure!(
        ids.iter().all(is_id),
        "{place}: not a list of case ids: `{}`",
        list.trim()
    );
    Ok(ids)
}

/// `mod x {` in any visibility.
fn inline_module(code: &str) -> Option<&str> {
    let (before, rest) = code.split_once("mod ")?;
    let name = rest.strip_suffix(" {")?;
    (before.is_empty() || before.starts_with("pub")).then_some(name)
}

/// Name of the function that this line declares.
fn function(code: &str) -> Option<&str> {
    let (before, rest) = code.split_once("fn ")?;
    let plain = before.is_empty() || before.ends_with(' ');
    (plain && !code.starts_with("//")).then(|| rest.split(['(', '<']).next().unwrap_or_default())
}

/// The program and the module that a source file belongs to.
fn locate(workspace: &Workspace, file: &Path) -> Option<(String, String)> {
    let inside = workspace
        .packages
        .iter()
        .filter(|it| file.starts_with(it.folder()));
    let package = inside.max_by_key(|it| it.folder().components().count())?;
    let root_of_target = package
        .targets
        .iter()
        .find(|target| target.src_path == file);
    if let Some(target) = root_of_target {
        return Some((program(package, &target.name, &target.kind), String::new()));
    }
    // A module: below the folder of the target's root; the deepest such folder, the library first.
    let folder = |path: &Path| path.parent().map(PathBuf::from).unwrap_or_default();
    let around = package
        .targets
        .iter()
        .filter(|it| file.starts_with(folder(&it.src_path)));
    let is_program = |kind: &str| kind == "bin" || kind == "test";
    let target = around.max_by_key(|it| {
        let depth = folder(&it.src_path).components().count();
        (depth, !it.kind.iter().any(|kind| is_program(kind)))
    })?;
    let below = file
        .strip_prefix(folder(&target.src_path))
        .ok()?
        .with_extension("");
    let mut parts: Vec<_> = below
        .iter()
        .map(|it| it.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    Some((
        program(package, &target.name, &target.kind),
        parts.join("::"),
    ))
}

/// How results name a test program.
pub(crate) fn program(package: &Package, target: &str, kind: &[String]) -> String {
    let other = kind
        .iter()
        .any(|it| it == "test" || it == "bin" || it == "example");
    if other {
        format!("{}/{target}", package.name)
    } else {
        package.name.clone()
    }
}

/// For a module that `#[path]` has moved: the tests of the package with that last name, if they are
/// all one test.
fn by_last_name<'a>(program: &str, path: &str, results: &'a [TestResult]) -> Vec<&'a TestResult> {
    let package = program.split('/').next().unwrap_or_default();
    let last = |path: &str| path.rsplit("::").next().map(str::to_owned);
    let is_near = |it: &&TestResult| {
        it.program.split('/').next() == Some(package) && last(&it.name) == last(path)
    };
    let near: Vec<_> = results.iter().filter(is_near).collect();
    let same = near.iter().all(|it| it.name == near[0].name);
    if same { near } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Outcome;

    fn found(text: &str) -> Vec<(String, String)> {
        let all = rust_proofs(text, "f.rs").unwrap();
        all.into_iter()
            .map(|it| (it.function, it.ids.join(" ")))
            .collect()
    }

    #[test]
    fn finds_the_function_below_the_line() {
        let text = "/// Proves: K1, ZB-2\n#[test]\nfn a() {\n}\n\n/// Story.\n/// Proves: R6w\n#[tokio::test(\n    flavor = \"x\"\n)]\nasync fn b() {}\n";
        let expected = [("a", "K1 ZB-2"), ("b", "R6w")];
        assert_eq!(
            found(text),
            expected.map(|it| (it.0.to_owned(), it.1.to_owned()))
        );
    }

    #[test]
    fn names_the_modules_around_it() {
        let text = "mod one {\n    fn x() {\n    }\n}\n#[cfg(test)]\nmod tests {\n    mod deep {\n        /// Proves: S3\n        #[test]\n        fn c() {}\n    }\n\n    /// Proves: S4\n    #[test]\n    fn d() {}\n}\n";
        let expected = [("tests::deep::c", "S3"), ("tests::d", "S4")];
        assert_eq!(
            found(text),
            expected.map(|it| (it.0.to_owned(), it.1.to_owned()))
        );
    }

    #[test]
    fn refuses_lines_that_prove_nothing() {
        assert!(
            rust_proofs("/// Proves: K1\nfn a() {}\n", "f").is_err(),
            "not a test"
        );
        assert!(
            rust_proofs("/// Proves: K1\n\n#[test]\nfn a() {}\n", "f").is_err(),
            "not above"
        );
        assert!(rust_proofs("/// Proves: K1 and K2\n#[test]\nfn a() {}\n", "f").is_err());
        assert!(
            python_proofs("# Proves: K1\nx = 1\n", "f").is_err(),
            "no def"
        );
    }

    #[test]
    fn finds_python_checks() {
        let found = python_proofs(
            "# Proves: K1, K5\n@slow\nasync def check_a(stub):\n",
            "f.py",
        );
        let found = found.unwrap();
        assert_eq!(found[0].function, "check_a");
        assert_eq!(found[0].ids, ["K1", "K5"]);
    }

    #[test]
    fn matches_results() {
        let result = |program: &str, name: &str| TestResult {
            program: program.to_owned(),
            name: name.to_owned(),
            outcome: Outcome::Ok,
        };
        let results = [
            result("p", "m::a"),
            result("p/t", "m::a"),
            result("p", "m::many::case_1"),
            result("p", "m::many::case_2"),
            result("p", "moved::b"),
            result("grpcio", "bin-metadata"),
        ];
        let count = |program: &str, path: &str| {
            let test = TestName::Rust {
                program: program.into(),
                path: path.into(),
            };
            test.find(&results).len()
        };
        assert_eq!(
            count("p", "m::a"),
            1,
            "the library's, not the test target's"
        );
        assert_eq!(count("p", "m::many"), 2, "every case of one function");
        assert_eq!(count("p", "file::b"), 1, "a module moved by #[path]");
        assert_eq!(count("p", "m::c"), 0);
        assert_eq!(
            TestName::Python("check_bin_metadata".into())
                .find(&results)
                .len(),
            1
        );
    }

    #[test]
    fn locates_files_in_their_targets() {
        let workspace = Workspace::load().unwrap();
        let at = |path: &str| locate(&workspace, &workspace.root.join(path)).unwrap();
        let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(at("router/core/src/lib.rs"), owned("grpcrouter-core", ""));
        assert_eq!(
            at("router/core/src/call/table.rs"),
            owned("grpcrouter-core", "call::table")
        );
        assert_eq!(
            at("router/src/gateway/mod.rs"),
            owned("grpcrouter", "gateway")
        );
        assert_eq!(at("xtask/src/main.rs"), owned("xtask/xtask", ""));
        assert_eq!(at("xtask/src/proves.rs"), owned("xtask/xtask", "proves"));
    }
}
