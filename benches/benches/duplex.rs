//! A unary call through gateway and instance in this process, on one thread, over pipes in memory: all of the shell and
//! HTTP/2, and no kernel.

use criterion::Criterion;
use grpcrouter_bench::in_memory::World;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    duplex(&mut criterion);
    criterion.final_summary();
}

fn duplex(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let world = runtime.block_on(World::start());
    c.bench_function("duplex/unary", |b| {
        b.iter(|| runtime.block_on(world.unary()));
    });
    c.bench_function("duplex/64-unary", |b| {
        b.iter(|| runtime.block_on(world.unary_at_once(64)));
    });
}
