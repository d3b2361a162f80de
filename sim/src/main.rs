//! Runs seeds of the simulation: `cargo xtask sim --help`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use clap::Parser;
use grpcrouter_sim::determinism;
use grpcrouter_sim::layer::Layer;
use grpcrouter_sim::plan::FaultKind;
use grpcrouter_sim::report::{Report, Watch};
use grpcrouter_sim::sweep::{Summary, sweep};

/// Runs seeds of the simulation, each a whole world of gateways, instances and clients with its faults.
///
/// Exits with 0 where no rule was broken, with 1 where one was, with 2 where the command line is wrong.
#[derive(Parser)]
#[command(name = "cargo xtask sim", max_term_width = 100)]
struct Cli {
    /// Which layer: `frame` is the core alone, `net` the real libraries on turmoil, `lossy` the same where
    /// packets are lost and sent again
    #[arg(long, default_value = "frame")]
    layer: Layer,
    /// How many seeds, from --from on
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This seed alone
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// No faults but these kinds (comma-separated; `none` for none at all)
    #[arg(long, value_parser = kinds)]
    faults: Option<Faults>,
    /// Prints every event
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Threads; by default one a core
    #[arg(long)]
    jobs: Option<usize>,
    /// With a deliberate fault of the code
    #[cfg(grpcrouter_sabotage)]
    #[arg(long, value_parser = grpcrouter_sim::sabotages::by_name)]
    sabotage: Option<grpcrouter_core::sabotage::Sabotage>,
    /// What must hold before a change lands: seeds of every layer, half of them of this commit; the same
    /// hashes every time; every sabotage caught
    #[arg(long, value_name = "COMMIT", conflicts_with_all = ["seeds", "from", "seed", "faults"])]
    check: Option<String>,
    /// The long run: a million seeds of the frame level and 5,000 of the network level, from --from on
    #[arg(long, conflicts_with_all = ["seeds", "seed", "check"])]
    soak: bool,
    /// Prints each seed and the hash of its run, over every event and the bytes of every segment
    #[arg(long, conflicts_with_all = ["check", "soak", "faults", "trace"])]
    hashes: bool,
    /// The commit that is printed beside a violation
    #[arg(long, hide = true, default_value = "unknown")]
    commit: String,
}

/// Kinds of faults that are on.
#[derive(Clone, Debug)]
struct Faults(Vec<FaultKind>);

fn kinds(text: &str) -> Result<Faults, String> {
    if text == "none" {
        return Ok(Faults(Vec::new()));
    }
    text.split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map(Faults)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.hashes {
        let seeds = seeds(&cli);
        let hashes = determinism::hashes(cli.layer, seeds.start, seeds.end - seeds.start);
        for (seed, hash) in seeds.zip(hashes) {
            println!("{}", determinism::line(seed, hash));
        }
        return ExitCode::SUCCESS;
    }
    let done = match &cli.check {
        Some(commit) => check(&cli, commit),
        None if cli.soak => soak(&cli),
        None => run(&cli),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the seeds that were asked for.
fn run(cli: &Cli) -> Result<()> {
    let summary = seeds_of(cli, cli.layer, &[seeds(cli)]);
    print!("{summary}");
    judge(cli, &summary)
}

fn seeds(cli: &Cli) -> Range<u64> {
    match cli.seed {
        Some(seed) => seed..seed + 1,
        None => cli.from..cli.from + cli.seeds,
    }
}

fn seeds_of(cli: &Cli, layer: Layer, seeds: &[Range<u64>]) -> Summary {
    let watch = Watch {
        print: cli.trace,
        ..Watch::default()
    };
    let only = cli.faults.as_ref().map(|faults| faults.0.as_slice());
    let run = |seed| {
        #[cfg(grpcrouter_sabotage)]
        grpcrouter_core::sabotage::choose(cli.sabotage);
        layer.run(seed, only, watch)
    };
    sweep(seeds, layer.name(), threads(cli), !cli.trace, &run)
}

fn threads(cli: &Cli) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    cli.jobs.unwrap_or(cores)
}

/// Says what failed, and how to see it again.
fn judge(cli: &Cli, summary: &Summary) -> Result<()> {
    for report in &summary.failed {
        println!(
            "\n{report}\ncommit {}\nreplay: {}",
            cli.commit,
            replay(cli, report)
        );
    }
    let failed = summary.failed.len();
    println!("{} seeds, {failed} with violations", summary.seeds);
    if failed > 0 {
        bail!("{failed} of {} seeds broke a rule", summary.seeds);
    }
    Ok(())
}

fn replay(cli: &Cli, report: &Report) -> String {
    let faults = cli.faults.as_ref().map_or(String::new(), |faults| {
        let names: Vec<_> = faults.0.iter().map(|kind| kind.name()).collect();
        let names = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(",")
        };
        format!(" --faults {names}")
    });
    #[cfg(grpcrouter_sabotage)]
    let wrong = match cli.sabotage {
        Some(wrong) => format!(" --sabotage {wrong:?}"),
        None => String::new(),
    };
    #[cfg(not(grpcrouter_sabotage))]
    let wrong = "";
    format!(
        "cargo xtask sim --layer {} --seed {}{faults}{wrong} --trace",
        report.layer, report.seed
    )
}

/// How many seeds of each layer a soak runs.
const SOAKED: [(Layer, u64); 2] = [(Layer::Net, 5_000), (Layer::Frame, 1_000_000)];

fn soak(cli: &Cli) -> Result<()> {
    for (layer, count) in SOAKED {
        let seeds = cli.from..cli.from + count;
        println!("{layer}: seeds {} to {} ...", seeds.start, seeds.end - 1);
        let summary = seeds_of(cli, layer, &[seeds]);
        print!("{summary}");
        judge(cli, &summary)?;
    }
    Ok(())
}

/// How many seeds of each layer are run before a change lands: half are always the same, half are the
/// commit's own.
const CHECKED: [(Layer, u64); 3] = [
    (Layer::Frame, 20_000),
    (Layer::Net, 1_200),
    (Layer::Lossy, 10),
];

fn check(cli: &Cli, commit: &str) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    commit.hash(&mut hasher);
    // Far from the fixed ones, and short enough to be typed.
    let own = 1_000_000 + hasher.finish() % 1_000_000_000;
    for (layer, count) in CHECKED {
        println!(
            "{layer}: seeds 0 to {} and {own} to {} ...",
            count / 2 - 1,
            own + count / 2 - 1
        );
        let summary = seeds_of(cli, layer, &[0..count / 2, own..own + count / 2]);
        print!("{summary}");
        judge(cli, &summary)?;
        let [calls, messages, faults] = summary.medians();
        let enough = match layer {
            Layer::Frame => calls >= 20 && messages >= 200 && faults >= 10,
            Layer::Net | Layer::Lossy => faults >= 20,
        };
        if !enough {
            bail!(
                "{layer}: too little happens: {calls} calls, {messages} messages, {faults} faults in the median"
            );
        }
    }
    let program = std::env::current_exe()?;
    for layer in Layer::ALL {
        determinism::check(layer, || {
            let mut command = Command::new(&program);
            let seeds = determinism::SEEDS.to_string();
            command.args(["--hashes", "--layer", layer.name(), "--seeds", &seeds]);
            command
        })?;
        println!("{layer}: the same hashes every time, and a clock that is read shows");
    }
    sabotages(cli)
}

#[cfg(grpcrouter_sabotage)]
fn sabotages(cli: &Cli) -> Result<()> {
    for line in grpcrouter_sim::sabotages::check(threads(cli))? {
        println!("caught: {line}");
    }
    Ok(())
}

#[cfg(not(grpcrouter_sabotage))]
fn sabotages(_: &Cli) -> Result<()> {
    bail!("built without `--cfg grpcrouter_sabotage`: cargo xtask sim builds it")
}
