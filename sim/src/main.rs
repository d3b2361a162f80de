//! Runs seeds of the simulation: `cargo xtask sim --help`.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use grpcrouter_sim::plan::{FaultKind, Options, Plan};
use grpcrouter_sim::report::{Report, Watch};
use grpcrouter_sim::{frame, sweep::sweep};

/// Runs seeds of the simulation, each a whole world of gateways, instances and clients with its faults.
///
/// Exits with 0 where no rule was broken, with 1 where one was, with 2 where the command line is wrong.
#[derive(Parser)]
#[command(name = "cargo xtask sim", max_term_width = 100)]
struct Cli {
    /// Which layer
    #[arg(long, value_enum, default_value = "frame")]
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
    #[arg(long, value_delimiter = ',')]
    faults: Option<Vec<String>>,
    /// Prints every event
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Threads; by default one a core
    #[arg(long)]
    jobs: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Layer {
    /// The protocol's core alone, on frames: thousands of seeds a second
    Frame,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let faults = match cli.faults.as_deref().map(kinds).transpose() {
        Ok(faults) => faults,
        Err(error) => {
            eprintln!("error: --faults: {error}");
            return ExitCode::from(2);
        }
    };
    let watch = Watch {
        whole: false,
        print: cli.trace,
    };
    let run = |seed| match cli.layer {
        Layer::Frame => frame::run(&Plan::draw(seed, Options::frame, faults.as_deref()), watch),
    };
    let seeds = match cli.seed {
        Some(seed) => seed..seed + 1,
        None => cli.from..cli.from + cli.seeds,
    };
    let threads = cli
        .jobs
        .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
        .unwrap_or(1);
    let summary = sweep(&[seeds], threads, cli.seed.is_none(), &run);
    print!("{summary}");
    for report in &summary.failed {
        explain(report, &cli);
    }
    let failed = summary.failed.len();
    println!("{} seeds, {failed} with violations", summary.seeds);
    ExitCode::from(u8::from(failed > 0))
}

fn kinds(names: &[String]) -> Result<Vec<FaultKind>, String> {
    match names {
        [none] if none == "none" => Ok(Vec::new()),
        names => names.iter().map(|name| name.parse()).collect(),
    }
}

fn explain(report: &Report, cli: &Cli) {
    let layer = match cli.layer {
        Layer::Frame => "frame",
    };
    let faults = cli.faults.as_ref().map_or(String::new(), |kinds| {
        format!(" --faults {}", kinds.join(","))
    });
    for (violation, events) in &report.violations {
        println!("\nseed {}: {violation}", report.seed);
        for event in events {
            println!("  {event}");
        }
    }
    println!(
        "replay: cargo xtask sim --layer {layer} --seed {}{faults} --trace",
        report.seed
    );
}
