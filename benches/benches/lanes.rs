//! The lanes that order a tunnel's frames. They are private to the core, so they are measured through the smallest public
//! door, a pair of tunnels: 64 small calls at once use the first lane alone, and bulk responses the second, in
//! turn and chunk by chunk. What a call costs beside its lane is in there too, and in benches/tunnel.rs.

use criterion::{Criterion, Throughput};
use grpcrouter_bench::layers::Pair;

const MIB: usize = 1024 * 1024;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    lanes(&mut criterion);
    criterion.final_summary();
}

fn lanes(c: &mut Criterion) {
    let mut group = c.benchmark_group("lanes");
    let mut pair = Pair::default();
    group.throughput(Throughput::Elements(64));
    group.bench_function("first/64-calls", |b| b.iter(|| pair.calls(64)));
    group.throughput(Throughput::Bytes(MIB as u64));
    group.bench_function("second/1-call", |b| b.iter(|| pair.bulk(1, MIB)));
    group.bench_function("second/16-calls", |b| b.iter(|| pair.bulk(16, MIB / 16)));
    group.finish();
}
