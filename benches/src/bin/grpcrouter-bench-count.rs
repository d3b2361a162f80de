//! `grpcrouter-bench-count LAYER N`: does one thing N times and nothing else, so that instructions can be counted.
//! What it takes to get there cancels where the counts of N and of 2N are subtracted.

use std::process::ExitCode;

use grpcrouter_bench::layers::{CallCodec, Pair, Picks, ResponseCodec};

/// A name, and what does it so many times.
type Layer = (&'static str, fn(u64));

/// What can be counted, and how it is made ready.
const LAYERS: &[Layer] = &[
    ("call-encode", |n| {
        let mut codec = CallCodec::default();
        times(n, || {
            codec.encode();
        });
    }),
    ("call-decode", |n| {
        let codec = CallCodec::default();
        times(n, || codec.decode());
    }),
    ("response-encode", |n| {
        let mut codec = ResponseCodec::default();
        times(n, || {
            codec.encode();
        });
    }),
    ("response-decode", |n| {
        let codec = ResponseCodec::default();
        times(n, || codec.decode());
    }),
    ("tunnel-pair", |n| {
        let mut pair = Pair::default();
        times(n, || pair.unary());
    }),
    ("tunnel-pair-64", |n| {
        let mut pair = Pair::default();
        times(n, || pair.calls(64));
    }),
    ("tunnel-pair-1m", |n| {
        let mut pair = Pair::default();
        times(n, || pair.bulk(1, 1024 * 1024));
    }),
    ("pick-turn-1", |n| picks(n, 1, Picks::turn)),
    ("pick-turn-10k", |n| picks(n, 10_000, Picks::turn)),
    ("pick-hash-10k", |n| picks(n, 10_000, Picks::hash)),
    ("pick-least-loaded-10k", |n| {
        picks(n, 10_000, Picks::least_loaded);
    }),
];

fn picks(n: u64, instances: usize, pick: fn(&mut Picks)) {
    let mut picks = Picks::new(instances);
    // What is made at the first call only, such as the ring, and one round of turns.
    times(instances as u64, || pick(&mut picks));
    times(n, || pick(&mut picks));
}

fn times(n: u64, mut work: impl FnMut()) {
    for _ in 0..n {
        work();
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let found = |name: &str| LAYERS.iter().find(|(layer, _)| *layer == name);
    match &args[..] {
        [list] if list == "--list" => {
            for (name, _) in LAYERS {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        [layer, n] if found(layer).is_some() && n.parse::<u64>().is_ok() => {
            if let (Some((_, work)), Ok(n)) = (found(layer), n.parse()) {
                work(n);
            }
            ExitCode::SUCCESS
        }
        _ => {
            let names: Vec<_> = LAYERS.iter().map(|(name, _)| *name).collect();
            eprintln!(
                "error: expected --list, or LAYER N; layers are {}",
                names.join(", ")
            );
            ExitCode::from(2)
        }
    }
}
