//! Runs seeds at the network level: `cargo run --release --example net -- FIRST COUNT [TIMES [LOSS]] [trace]`.
//!
//! Says what each seed found, and the medians.

use grpcrouter_sim::net::{Settings, run, run_lossy};
use grpcrouter_sim::plan::{Options, Plan};

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let number = |n: usize, or| numbers.get(n).copied().unwrap_or(or);
    let settings = Settings {
        whole_trace: true,
        print: std::env::args().any(|a| a == "trace"),
    };
    let (mut faults, mut calls, mut messages, mut bad) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for seed in number(0, 0)..number(0, 0) + number(1, 20) {
        let plan = Plan::draw(seed, Options::net, None);
        let mut hash = None;
        for _ in 0..number(2, 1) {
            let report = match numbers.get(3) {
                None => run(&plan, settings),
                Some(loss) => run_lossy(&plan, settings, *loss as u8),
            };
            if hash.replace(report.hash).is_some_and(|h| h != report.hash) {
                println!("seed {seed}: another hash");
            }
            println!("{report}");
            bad += usize::from(!report.is_clean());
            faults.push(report.faults);
            calls.push(report.calls);
            messages.push(report.messages);
        }
    }
    for (name, all) in [
        ("faults", &mut faults),
        ("calls", &mut calls),
        ("messages", &mut messages),
    ] {
        all.sort_unstable();
        println!("{name}: median {:?}", all.get(all.len() / 2));
    }
    println!("{bad} of {} with violations", faults.len());
}
