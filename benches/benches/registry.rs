//! Who takes a call, of 1, 100 and 10,000 instances: picked, counted as load, and released.

use criterion::{BenchmarkId, Criterion};
use grpcrouter_bench::layers::Picks;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    registry(&mut criterion);
    criterion.final_summary();
}

fn registry(c: &mut Criterion) {
    let mut group = c.benchmark_group("registry");
    for instances in [1, 100, 10_000] {
        let mut picks = Picks::new(instances);
        let id = |name| BenchmarkId::new(name, instances);
        group.bench_function(id("turn"), |b| b.iter(|| picks.turn()));
        group.bench_function(id("hash"), |b| b.iter(|| picks.hash()));
        group.bench_function(id("least-loaded"), |b| b.iter(|| picks.least_loaded()));
    }
    group.finish();
}
