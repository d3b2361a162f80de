//! The conformance suite's command line: `grpcrouter-conformance --help`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use grpcrouter_conformance::cases;
use grpcrouter_conformance::catalogue::{self, Entry, Profile};
use grpcrouter_conformance::glob;
use grpcrouter_conformance::known::Known;
use grpcrouter_conformance::report::{self, Report};
use grpcrouter_conformance::rig::Host;
use grpcrouter_conformance::role::Role;
use grpcrouter_conformance::runner::{self, Plan};
use grpcrouter_conformance::subject::Subject;
use grpcrouter_conformance::wait;

/// Checks gateways and instances of the grpcrouter tunnel protocol, whoever wrote them.
///
/// The subject is a gateway, an instance or both; the suite plays all other roles. Exits with 0 where
/// every case came to what was due, with 1 where one did not, with 2 where the command line is wrong, and
/// with 3 where the subject cannot be started.
#[derive(Parser)]
#[command(
    max_term_width = 100,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Prints reports that were written with --json side by side, as a Markdown table
    Matrix {
        /// The reports
        #[arg(required = true)]
        reports: Vec<PathBuf>,
    },
}

#[derive(clap::Args)]
struct Run {
    /// What is under test
    #[arg(long, required_unless_present = "list")]
    role: Option<Role>,
    /// A gateway (or, for --role direct, a server) that speaks subject.proto: a command line, no shell
    #[arg(long, value_name = "CMD", conflicts_with = "gateway_client")]
    gateway: Option<String>,
    /// A gateway by its own command line; its first line must be `ready client=ADDR tunnel=ADDR [bound=BYTES]`
    #[arg(long, value_name = "CMD", conflicts_with_all = ["gateway", "gateway_client"])]
    gateway_cmd: Option<String>,
    /// Where clients call a gateway that runs already
    #[arg(long, value_name = "ADDR", requires = "gateway_tunnel")]
    gateway_client: Option<SocketAddr>,
    /// Where instances dial a gateway that runs already
    #[arg(long, value_name = "ADDR", requires = "gateway_client")]
    gateway_tunnel: Option<SocketAddr>,
    /// The bound that a gateway which runs already declares, in bytes
    #[arg(long, value_name = "BYTES")]
    bound: Option<u64>,
    /// An instance that speaks subject.proto
    #[arg(long, value_name = "CMD", conflicts_with = "instance_cmd")]
    instance: Option<String>,
    /// An instance by its own command line, in which {gateway}, {id} and {side} are filled in
    #[arg(long, value_name = "CMD")]
    instance_cmd: Option<String>,
    /// The implementation's name in reports
    #[arg(long, default_value = "subject")]
    name: String,
    /// Only these parts of the suite (comma-separated)
    #[arg(long, value_delimiter = ',')]
    profile: Vec<Profile>,
    /// Only cases whose id matches, such as `K*` (repeatable)
    #[arg(long, value_name = "GLOB")]
    run: Vec<String>,
    /// Lists the cases that were chosen, and runs none
    #[arg(long)]
    list: bool,
    /// What is known to fail, and why
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
    /// Draws what is random: the same seed makes the same calls
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Limits of time are the exact ones, not ten times as long
    #[arg(long)]
    strict_time: bool,
    /// Gives up so many times as early on what must come, but for limits that a case says: for a subject that is
    /// broken on purpose
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    hurry: u32,
    /// Cases at a time
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    /// Writes the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the report as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Matrix { reports }) => matrix(&reports),
        None if cli.run.list => list(&cli.run),
        None => run(&cli.run),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn matrix(files: &[PathBuf]) -> Result<ExitCode> {
    let read = |file: &PathBuf| -> Result<Report> {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report", file.display()))
    };
    let reports: Result<Vec<Report>> = files.iter().map(read).collect();
    print!("{}", report::matrix(&reports?));
    Ok(ExitCode::SUCCESS)
}

fn list(run: &Run) -> Result<ExitCode> {
    for entry in chosen(run)? {
        let level = match entry.level {
            catalogue::Level::Required => "R",
            catalogue::Level::Recommended => "r",
        };
        let roles = cases::of(&entry.id).map_or(Vec::new(), |case| {
            case.roles.iter().map(|role| role.name()).collect()
        });
        let roles = match &entry.apart {
            Some(why) => format!("not in this suite: {why}"),
            None => roles.join(","),
        };
        println!(
            "{:<5} {level} {:<9} {}",
            entry.id,
            entry.profile(),
            entry.title
        );
        println!("{:>17} {roles}", "");
    }
    Ok(ExitCode::SUCCESS)
}

fn run(args: &Run) -> Result<ExitCode> {
    let role = args.role.context("--role says what is under test")?;
    let known = match &args.known {
        Some(file) => Known::read(file, &catalogue::all())?,
        None => Known::default(),
    };
    // What this suite does not judge in a role is no result of a subject.
    let judged = |entry: Entry| {
        let case = cases::of(&entry.id).filter(|case| case.roles.contains(&role))?;
        Some((entry, *case))
    };
    let plan = Plan {
        name: args.name.clone(),
        role,
        cases: chosen(args)?.into_iter().filter_map(judged).collect(),
        known,
        seed: args.seed,
        jobs: args.jobs,
        strict_time: args.strict_time,
    };
    ensure!(
        !plan.cases.is_empty(),
        "none of these cases is judged in the role `{role}`: --list says in which they are"
    );
    wait::hurry(args.hurry);
    let (gateway, instance) = subjects(args, role)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        let host = Host::new(role, gateway, instance, args.bound).await?;
        runner::run(plan, host).await
    });
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(3));
        }
    };
    println!("{}", report::summary(&report));
    if let Some(file) = &args.json {
        write(file, &report.json()?)?;
    }
    if let Some(file) = &args.junit {
        write(file, &report::junit(&report))?;
    }
    Ok(match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The subjects that the role needs, and no others.
fn subjects(args: &Run, role: Role) -> Result<(Option<Subject>, Option<Subject>)> {
    let gateway = match (&args.gateway, args.gateway_client, args.gateway_tunnel) {
        (Some(command), ..) => Some(Subject::program(command)),
        (None, Some(client), Some(tunnel)) => Some(Subject::Gateway { client, tunnel }),
        _ => args.gateway_cmd.as_deref().map(Subject::ready),
    };
    let instance = match (&args.instance, &args.instance_cmd) {
        (Some(command), _) => Some(Subject::program(command)),
        (None, Some(command)) => Some(Subject::instance(command)),
        _ => None,
    };
    if role.has_gateway() || role == Role::Direct {
        ensure!(
            gateway.is_some(),
            "--role {role} needs --gateway CMD, --gateway-cmd CMD, or --gateway-client ADDR --gateway-tunnel ADDR"
        );
    } else if gateway.is_some() {
        bail!("--role {role} has a gateway of the suite's own: leave --gateway out");
    }
    if role.has_instance() {
        ensure!(
            instance.is_some(),
            "--role {role} needs --instance CMD or --instance-cmd CMD"
        );
    } else if instance.is_some() {
        bail!("--role {role} has instances of the suite's own: leave --instance out");
    }
    Ok((gateway, instance))
}

/// The cases that the command line asks for.
fn chosen(args: &Run) -> Result<Vec<Entry>> {
    let all = catalogue::all();
    for wanted in &args.run {
        let any = all.iter().any(|entry| glob::matches(wanted, &entry.id));
        ensure!(
            any,
            "--run {wanted}: no case is called so; --list names them"
        );
    }
    let asked = |entry: &Entry| {
        let profile = args.profile.is_empty() || args.profile.contains(&entry.profile());
        let id = args.run.is_empty() || args.run.iter().any(|run| glob::matches(run, &entry.id));
        profile && id
    };
    Ok(all.into_iter().filter(asked).collect())
}
