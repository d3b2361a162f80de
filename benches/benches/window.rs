//! Credit: a chunk spent, received, consumed, and granted again when half a window is owed.

use std::hint::black_box;

use criterion::Criterion;
use grpcrouter_core::Time;
use grpcrouter_core::config::CHUNK;
use grpcrouter_core::window::{Growth, RecvWindow, SendWindow};

const WINDOW: u32 = 80 * 1024;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    window(&mut criterion);
    criterion.final_summary();
}

fn window(c: &mut Criterion) {
    let now = Time::from_micros(1);
    let growth = Growth {
        max: WINDOW,
        rtt: None,
    };
    let mut send = SendWindow::new(WINDOW);
    let mut recv = RecvWindow::new(WINDOW);
    c.bench_function("window/chunk", |b| {
        b.iter(|| {
            let chunk = black_box(CHUNK).min(send.available());
            send.spend(chunk);
            recv.receive(chunk).expect("the credit was there");
            if recv.consume(chunk) {
                let grant = recv.take_grant(now, growth);
                send.grant(grant).expect("no more than the window");
            }
        });
    });
}
