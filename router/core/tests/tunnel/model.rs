//! Random conversations, held against what a few counters say must be true.
//!
//! The model knows nothing of lanes, credit or frames: it counts the bytes that went in at one edge and
//! came out at the other, reads the wire through prost, and takes part only in what it was told to read.

mod play;
mod wires;

use std::time::Duration;

use grpcrouter_core::Config;
use proptest::prelude::*;

use play::World;

/// One command of a conversation. `call` and `side` are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    Open {
        len: usize,
        half_close: bool,
        timeout_ms: Option<u64>,
    },
    Send {
        call: usize,
        len: usize,
        half_close: bool,
    },
    Respond {
        call: usize,
        len: usize,
        end: bool,
    },
    Read {
        side: bool,
        call: usize,
        max: usize,
    },
    Reset {
        side: bool,
        call: usize,
    },
    Release {
        side: bool,
        call: usize,
    },
    Refuse {
        call: usize,
    },
    Wait {
        us: u64,
    },
    Room {
        side: bool,
        bytes: Option<usize>,
    },
    Hold {
        side: bool,
        held: bool,
    },
    Drain,
    Unregister,
}

fn step() -> impl Strategy<Value = Step> {
    let len = || {
        prop_oneof![
            Just(0usize),
            1usize..200,
            4_000usize..4_200,
            5_000usize..120_000
        ]
    };
    let call = || 0usize..8;
    let side = any::<bool>;
    prop_oneof![
        4 => (len(), any::<bool>(), prop::option::weighted(0.2, 1u64..40))
            .prop_map(|(len, half_close, timeout_ms)| Step::Open { len, half_close, timeout_ms }),
        6 => (call(), len(), prop::bool::weighted(0.3))
            .prop_map(|(call, len, half_close)| Step::Send { call, len, half_close }),
        8 => (call(), len(), prop::bool::weighted(0.3))
            .prop_map(|(call, len, end)| Step::Respond { call, len, end }),
        10 => (side(), call(), prop_oneof![Just(usize::MAX), 1usize..30_000])
            .prop_map(|(side, call, max)| Step::Read { side, call, max }),
        1 => (side(), call()).prop_map(|(side, call)| Step::Reset { side, call }),
        1 => (side(), call()).prop_map(|(side, call)| Step::Release { side, call }),
        1 => call().prop_map(|call| Step::Refuse { call }),
        8 => prop_oneof![20 => 0u64..4_000, 1 => 1_000_000u64..6_000_000]
            .prop_map(|us| Step::Wait { us }),
        3 => (side(), prop::option::of(0usize..60_000))
            .prop_map(|(side, bytes)| Step::Room { side, bytes }),
        2 => (side(), any::<bool>()).prop_map(|(side, held)| Step::Hold { side, held }),
        1 => prop_oneof![Just(Step::Drain), Just(Step::Unregister)],
    ]
}

#[derive(Debug, Clone)]
struct Settings {
    gateway: Config,
    instance: Config,
    latency: Duration,
    piece: usize,
}

fn settings() -> impl Strategy<Value = Settings> {
    let window = || prop_oneof![Just(100u32), Just(20_000), Just(80 * 1024)];
    let config = || {
        let queue = prop_oneof![Just(20_000usize), Just(8 << 20)];
        (window(), any::<bool>(), queue, 1u32..9).prop_map(|(window, grows, queue, max_calls)| {
            Config {
                call_window: window,
                call_window_max: if grows { 1 << 20 } else { window },
                tunnel_queue: queue,
                max_calls,
                ..Config::default()
            }
        })
    };
    let latency = prop_oneof![Just(100u64), Just(3_000)].prop_map(Duration::from_micros);
    let piece = prop_oneof![3 => Just(usize::MAX), 1 => 1usize..2_000];
    (config(), config(), latency, piece).prop_map(|(gateway, instance, latency, piece)| Settings {
        gateway,
        instance,
        latency,
        piece,
    })
}

/// More with `PROPTEST_CASES` in the environment.
fn cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(2_000),
        ..config
    }
}

proptest! {
#![proptest_config(cases())]

    /// Proves: K5, K8, ZB-6, R14
    #[test]
    fn every_conversation_keeps_to_the_model(
        settings in settings(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(settings);
        for step in steps {
            world.play(&step);
        }
        world.finish();
    }
}
