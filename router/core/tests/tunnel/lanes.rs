//! Turns: what goes first, and how much a tunnel queues.

use grpcrouter_core::{Config, OpenError};

use crate::pair::{OPEN, Pair, message};

/// Proves: K8
#[test]
fn a_unary_call_of_64_kib_leaves_without_waiting_for_credit() {
    let mut pair = Pair::new();
    let sent = message(64 << 10);
    let key = pair.open(sent.clone(), true);
    pair.drive();
    let (instance, _) = pair.incoming();
    let request = pair.instance.read(instance);
    assert!(
        request.ended() && request.data == sent,
        "head, data and end in one go"
    );
    pair.answer(instance, sent.clone());
    pair.drive();
    let answer = pair.gateway.read(key);
    assert!(answer.ended() && answer.data == sent);
    assert!(
        pair.gateway.link.calls().all(|wire| wire.data <= 16 << 10),
        "in chunks"
    );
}

#[test]
fn a_small_unary_call_is_one_frame_each_way() {
    let mut pair = Pair::new();
    pair.forget_wires();
    let key = pair.open("ping", true);
    pair.drive();
    let (instance, _) = pair.incoming();
    pair.answer(instance, "pong");
    pair.drive();
    assert!(pair.gateway.read(key).ended());
    for link in [&pair.gateway.link, &pair.instance.link] {
        let flags: Vec<u32> = link.calls().map(|wire| wire.flags).collect();
        assert_eq!(flags, [3], "begin, data and end");
    }
}

#[test]
fn a_bulk_call_delays_a_small_one_by_no_more_than_a_batch() {
    let mut pair = Pair::new();
    let bulk: Vec<_> = (0..20).map(|_| pair.opened()).collect();
    pair.gateway.link.room = 0;
    for call in &bulk {
        pair.send(call.gateway, vec![1; 80_000], true);
    }
    pair.gateway.link.room = 1;
    pair.gateway.transmit(pair.time, pair.latency);
    pair.forget_wires();
    let small = pair.open("quick", true);
    pair.gateway.link.room = 1;
    pair.gateway.transmit(pair.time, pair.latency);
    let first = pair.gateway.link.calls().next().expect("a batch left");
    assert_eq!(
        (first.id, first.flags & OPEN),
        (small.to_bits(), OPEN),
        "the next batch begins with it"
    );
    assert!(first.batch <= 40_000, "a batch is short: {}", first.batch);
}

#[test]
fn bulk_calls_take_turns_of_a_chunk() {
    let mut pair = Pair::new();
    let calls = [pair.opened(), pair.opened(), pair.opened()];
    pair.forget_wires();
    for call in calls {
        pair.send(call.gateway, vec![1; 48 << 10], false);
    }
    pair.drive();
    let ids: Vec<u64> = pair.gateway.link.calls().map(|wire| wire.id).collect();
    let turn = calls.map(|call| call.gateway.to_bits());
    assert_eq!(ids, [turn, turn, turn].concat());
}

#[test]
fn a_full_tunnel_spends_no_credit_and_opens_no_call() {
    let mut pair = Pair::with_both(&Config {
        tunnel_queue: 100_000,
        ..Config::default()
    });
    let calls: Vec<_> = (0..100).map(|_| pair.opened()).collect();
    pair.forget_wires();
    pair.gateway.link.room = 0;
    for _ in 0..10 {
        for call in &calls {
            pair.send(call.gateway, vec![1; 4_000], false);
        }
    }
    let waiting: usize = calls
        .iter()
        .map(|call| pair.gateway.tunnel.queued(call.gateway))
        .sum();
    assert!(
        4_000_000 - waiting <= 104_000,
        "the rest waits in its call: {waiting}"
    );
    assert_eq!(
        pair.try_open(None, "", true),
        Err(OpenError::QueueFull(100_000))
    );
    pair.gateway.link.room = usize::MAX;
    pair.drive();
    for call in &calls {
        assert_eq!(
            pair.instance.read(call.instance).data.len(),
            40_000,
            "and goes with room"
        );
    }
    assert!(pair.try_open(None, "", true).is_ok());
}

#[test]
fn a_small_piece_never_overtakes_the_bulk_of_its_own_call() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.send(call.gateway, vec![1; 70_000], false);
    pair.send(call.gateway, vec![2; 10], false);
    pair.send(call.gateway, "", true);
    pair.drive();
    let request = pair.instance.read(call.instance);
    assert_eq!(request.data[69_999..70_002], [1, 2, 2]);
    assert!(request.ended());
}
