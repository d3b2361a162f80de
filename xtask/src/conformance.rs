//! `cargo xtask conformance`: the suite against every implementation of `conformance/matrix.toml`, against those
//! that are broken on purpose, and over networks between containers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::ci::Tally;
use crate::containers;
use crate::controls;
use crate::judged;
use crate::results::Results;
use crate::shell;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the runs whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Of mutants only K1 to K4 and what they must fail, as ci does
    #[arg(long)]
    quick: bool,
}

/// What every mutant passes: without a call of each kind it would be found by anything.
const KINDS: [&str; 4] = ["K1", "K2", "K3", "K4"];

/// One run may take this long. The suite gives up a case that hangs after five minutes: several do not cost the report,
/// which says which they were.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// Mutants at a time: each waits for long, and works for less than half of its time.
const AT_ONCE: usize = 5;
/// How many times as early mutants are given up: 3.3 s are much for any one event, on a busy machine too.
const HURRY: u32 = 3;

/// The suite's two programs.
pub(crate) struct Programs<'a> {
    pub(crate) suite: &'a Path,
    pub(crate) subject: &'a Path,
}

#[derive(Deserialize)]
struct Matrix {
    run: Vec<Run>,
}

/// One run of the suite.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Run {
    name: String,
    role: String,
    gateway: Option<String>,
    gateway_cmd: Option<String>,
    instance: Option<String>,
    instance_cmd: Option<String>,
    profile: Option<String>,
    #[serde(default)]
    cases: Vec<String>,
    known: Option<String>,
    hurry: Option<u32>,
}

/// Builds the suite and runs all of it.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    println!("building the suite (the first time takes some minutes)");
    let mut cargo = shell::cargo(&workspace.root, &workspace.target)?;
    shell::run(cargo.args([
        "build",
        "-p",
        "grpcrouter-conformance",
        "--bins",
        "--locked",
    ]))?;
    let debug = workspace.target.join("debug");
    let (suite, subject) = (
        debug.join("grpcrouter-conformance"),
        debug.join("grpcrouter-subject"),
    );
    let programs = Programs {
        suite: &suite,
        subject: &subject,
    };
    let mut tally = all(workspace, &programs, &args.only, args.quick)?;
    if args.only.is_empty() {
        let cut = containers::of_conformance(workspace)?;
        tally.passed += cut.passed;
        tally.failures.extend(cut.failures);
    }
    ensure!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
    println!("{} runs as they must be", tally.passed);
    Ok(())
}

/// All of it, as a step of ci; that mutants pass all other cases is the whole command's to show.
pub(crate) fn step(workspace: &Workspace, programs: &Programs<'_>) -> Result<Tally> {
    all(workspace, programs, "", true)
}

fn all(workspace: &Workspace, programs: &Programs<'_>, only: &str, quick: bool) -> Result<Tally> {
    let folder = workspace.root.join("conformance");
    let text = std::fs::read_to_string(folder.join("matrix.toml"))?;
    let matrix: Matrix = toml::from_str(&text).context("conformance/matrix.toml")?;
    let reports = workspace.target.join("conformance");
    std::fs::create_dir_all(&reports)?;
    let python = environment(workspace)?;
    if python.is_none() {
        println!("skipped: the implementations in Python, since python3 is absent");
    }
    let chosen =
        |run: &Run| run.name.contains(only) && (python.is_some() || !run.name.contains("Python"));
    let broken = mutants(&folder)?;
    let mut tally = Tally::default();
    let lists = matrix.run.iter().chain(&broken);
    let lists = lists.filter_map(|run| Some(folder.join(run.known.as_ref()?)));
    match controls::check(programs.suite, &folder, lists) {
        Ok(()) => tally.passed += 1,
        Err(error) => tally.failures.push(format!("{error:#}")),
    }
    let runs: Vec<Run> = matrix.run.into_iter().filter(chosen).collect();
    let mut broken: Vec<Run> = broken.into_iter().filter(chosen).collect();
    for run in broken.iter_mut().filter(|_| quick) {
        let known = run.known.as_ref().context("a mutant has a list")?;
        run.cases = controls::cases(&folder.join(known))?;
        run.cases.extend(KINDS.map(str::to_owned));
    }
    let mut written = Vec::new();
    let mut judged = Vec::new();
    for run in &runs {
        let report = reports.join(file_name(run));
        let own = run.is_own();
        let run = &run.with_python(python.as_deref());
        let outcome = one(workspace, programs, run, &report);
        // A run with a failed case has failed, and its report says which.
        if own && report.exists() {
            judged.extend(judged::results(&report)?);
        }
        match outcome {
            Ok(last) => {
                println!("{:<30} {last}", run.name);
                written.push(report);
                tally.passed += 1;
            }
            Err(error) => tally.failures.push(format!("{error:#}")),
        }
    }
    if only.is_empty() {
        Results::store(workspace, judged::SUITE, &judged)?;
    }
    for outcome in side_by_side(&broken, |run| {
        one(workspace, programs, run, &reports.join(file_name(run)))
    }) {
        match outcome {
            Ok(()) => tally.passed += 1,
            Err(error) => tally.failures.push(format!("{error:#}")),
        }
    }
    if !written.is_empty() {
        let mut table = Command::new(programs.suite);
        let table = shell::output(table.arg("matrix").args(&written))?;
        std::fs::write(reports.join("matrix.md"), &table)?;
        println!("\n{table}");
    }
    Ok(tally)
}

/// A Python with what the reference implementations need, in an environment of its own under the target
/// folder; none where there is no python3.
fn environment(workspace: &Workspace) -> Result<Option<PathBuf>> {
    if !shell::is_there(Command::new("python3").arg("--version")) {
        return Ok(None);
    }
    let folder = workspace.target.join("conformance-venv");
    let python = folder.join("bin/python");
    let requirements = workspace.root.join("conformance/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)?;
    let done = folder.join("installed");
    // What is installed is what is wanted, unless the file has changed since.
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(Some(python));
    }
    println!(
        "installing {} into {}",
        wanted.trim().replace('\n', ", "),
        folder.display()
    );
    shell::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
    ]);
    shell::run(pip.arg(&requirements))?;
    std::fs::write(&done, wanted)?;
    Ok(Some(python))
}

impl Run {
    /// Whether it is of this project's own gateway, instance or agent, as they are, in the tunnel.
    fn is_own(&self) -> bool {
        let commands = [
            &self.gateway,
            &self.gateway_cmd,
            &self.instance,
            &self.instance_cmd,
        ];
        let mut commands = commands.into_iter().flatten();
        let own = commands.all(|command| command.starts_with("{subject} "));
        own && self.known.is_none() && self.role != "direct"
    }

    /// The same with the Python of the environment.
    fn with_python(&self, python: Option<&Path>) -> Self {
        let fill = |command: &Option<String>| {
            let python = python.map(|python| python.display().to_string());
            let command = command.as_ref()?;
            Some(command.replace("{python}", &python.unwrap_or_default()))
        };
        Self {
            gateway: fill(&self.gateway),
            gateway_cmd: fill(&self.gateway_cmd),
            instance: fill(&self.instance),
            instance_cmd: fill(&self.instance_cmd),
            ..self.clone()
        }
    }
}

/// The mutants: one for each file of what it must fail.
fn mutants(folder: &Path) -> Result<Vec<Run>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.join("known/mutants"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        names.push(name.context("a file name of known/mutants")?.to_owned());
    }
    names.sort_unstable();
    let mutant = |name: String| Run {
        role: "gateway".to_owned(),
        gateway: Some(format!("{{subject}} gateway --mutant {name}")),
        gateway_cmd: None,
        instance: None,
        instance_cmd: None,
        profile: None,
        cases: Vec::new(),
        hurry: Some(HURRY),
        known: Some(format!("known/mutants/{name}.toml")),
        name: format!("mutant {name}"),
    };
    Ok(names.into_iter().map(mutant).collect())
}

fn file_name(run: &Run) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = run.name.chars().map(plain).collect();
    format!("{name}.json")
}

/// Several at a time; what each came to is printed as it ends.
fn side_by_side(runs: &[Run], one: impl Fn(&Run) -> Result<String> + Sync) -> Vec<Result<()>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = one(run).map(|last| println!("{:<30} {last}", run.name));
                    let mut outcomes = outcomes.lock().expect("no thread panics with it");
                    outcomes.push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("no thread panics with it")
}

/// Runs the suite once. Gives its last line, the counts.
fn one(
    workspace: &Workspace,
    programs: &Programs<'_>,
    run: &Run,
    report: &PathBuf,
) -> Result<String> {
    // What is there afterwards is of this run.
    if report.exists() {
        std::fs::remove_file(report)?;
    }
    let fill =
        |command: &str| command.replace("{subject}", &programs.subject.display().to_string());
    let mut command = Command::new(programs.suite);
    command
        .current_dir(workspace.root.join("conformance"))
        .args(["--name", &run.name, "--role", &run.role])
        .arg("--json")
        .arg(report);
    let options = [
        ("--gateway", &run.gateway),
        ("--gateway-cmd", &run.gateway_cmd),
        ("--instance", &run.instance),
        ("--instance-cmd", &run.instance_cmd),
        ("--profile", &run.profile),
        ("--known", &run.known),
    ];
    for (option, value) in options {
        if let Some(value) = value {
            command.arg(option).arg(fill(value));
        }
    }
    for case in &run.cases {
        command.args(["--run", case]);
    }
    if let Some(times) = run.hurry {
        command.args(["--hurry", &times.to_string()]);
    }
    // What subjects log is of interest where a case fails, and the report has it then.
    command.stderr(std::process::Stdio::null());
    let mut lines = Vec::new();
    let status = shell::watch(&mut command, LIMIT, |line| lines.push(line.to_owned()))?;
    ensure!(
        status.success(),
        "{}: {status}\n{}",
        run.name,
        lines.join("\n")
    );
    Ok(lines.pop().unwrap_or_default())
}
