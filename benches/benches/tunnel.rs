//! A unary call through both ends of a tunnel, without I/O, runtime, lock or task: what the protocol itself costs.

use criterion::Criterion;
use grpcrouter_bench::layers::Pair;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    tunnel(&mut criterion);
    criterion.final_summary();
}

fn tunnel(c: &mut Criterion) {
    let mut pair = Pair::default();
    c.bench_function("tunnel/unary", |b| b.iter(|| pair.unary()));
}
