//! The frames of a unary call, 100 bytes each way: written into a used buffer, and read.

use criterion::Criterion;
use grpcrouter_bench::layers::{CallCodec, ResponseCodec};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    codec(&mut criterion);
    criterion.final_summary();
}

fn codec(c: &mut Criterion) {
    let (mut call, mut response) = (CallCodec::default(), ResponseCodec::default());
    c.bench_function("codec/call/encode", |b| b.iter(|| call.encode()));
    c.bench_function("codec/call/decode", |b| b.iter(|| call.decode()));
    c.bench_function("codec/response/encode", |b| b.iter(|| response.encode()));
    c.bench_function("codec/response/decode", |b| b.iter(|| response.decode()));
}
