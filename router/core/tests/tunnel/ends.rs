//! How calls end before their time: deadlines, cancels, refusals and lost tunnels.

use std::time::Duration;

use grpcrouter_core::CallFault;
use grpcrouter_core::frame::Reset;
use grpcrouter_core::tunnel::reset_code;

use crate::pair::{Pair, RESET};

const SECOND: Duration = Duration::from_secs(1);

fn reset(code: u32) -> CallFault {
    CallFault::Reset(Reset {
        code,
        refused: false,
    })
}

/// Proves: R9
#[test]
fn a_deadline_ends_the_call_at_the_gateway_on_time_and_at_the_instance_a_hop_later() {
    let mut pair = Pair::new();
    let key = pair.open_within(SECOND);
    let opened_at = pair.time;
    pair.drive();
    let (instance, open) = pair.incoming();
    assert_eq!(
        open.timeout,
        Some(SECOND),
        "a length of time travels, not a point"
    );
    pair.drive_until(opened_at + (SECOND - Duration::from_micros(1)));
    assert_eq!(
        pair.gateway.tunnel.fault(key),
        None,
        "not a microsecond early"
    );
    pair.drive_until(opened_at + SECOND);
    assert!(pair.gateway.readable.contains(&key), "its reader is woken");
    assert_eq!(pair.gateway.read(key).fault(), Some(&CallFault::Deadline));
    pair.drive();
    let request = pair.instance.read(instance);
    assert!(
        request.fault().is_some(),
        "and the handler is cancelled: {request:?}"
    );
    pair.drive_for(SECOND);
    assert!(
        pair.gateway.read(key).end.is_none(),
        "one end at the gateway"
    );
    assert!(
        pair.instance.read(instance).end.is_none(),
        "one end at the instance"
    );
}

/// Proves: R9
#[test]
fn a_deadline_passes_at_both_ends_while_the_link_is_cut() {
    let mut pair = Pair::new();
    let key = pair.open_within(SECOND);
    pair.drive();
    let (instance, _) = pair.incoming();
    pair.gateway.link.held = true;
    pair.instance.link.held = true;
    pair.drive_for(SECOND);
    assert_eq!(pair.gateway.read(key).fault(), Some(&CallFault::Deadline));
    assert_eq!(
        pair.instance.read(instance).fault(),
        Some(&CallFault::Deadline)
    );
    pair.gateway.tunnel.release(key);
    pair.instance.tunnel.release(instance);
    pair.gateway.link.held = false;
    pair.instance.link.held = false;
    pair.drive();
    let status = pair.instance.link.calls().last().map(|wire| wire.status);
    assert_eq!(status, Some(4), "the instance answered DEADLINE_EXCEEDED");
    assert_eq!(
        pair.gateway.closed, None,
        "and the two ends crossed without harm"
    );
    assert_eq!(pair.instance.closed, None);
}

#[test]
fn a_deadline_after_the_end_was_read_says_nothing_more() {
    let mut pair = Pair::new();
    let key = pair.open_within(SECOND);
    pair.drive();
    let (instance, _) = pair.incoming();
    pair.answer(instance, "in time");
    pair.drive();
    assert!(pair.gateway.read(key).ended());
    assert!(
        pair.instance.read(instance).fault().is_some(),
        "the request was cut by the answer"
    );
    pair.drive_for(SECOND * 2);
    assert!(pair.gateway.read(key).end.is_none(), "a call ends once");
    assert!(
        pair.instance.read(instance).end.is_none(),
        "a call ends once"
    );
}

/// Proves: R9
#[test]
fn a_whole_answer_that_was_not_taken_is_held_to_its_deadline_after_its_tunnel_ended() {
    let mut pair = Pair::new();
    let keys = [SECOND, SECOND, SECOND * 2].map(|timeout| pair.open_within(timeout));
    let without = pair.open("", true);
    let opened_at = pair.time;
    pair.drive();
    for _ in 0..4 {
        let (instance, _) = pair.incoming();
        pair.answer(instance, "an answer");
    }
    let running = pair.open_within(SECOND);
    pair.drive();
    pair.gateway.tunnel.handle_end(pair.time, "reset by peer");
    assert_eq!(
        pair.gateway.tunnel.poll_timeout(),
        Some(opened_at + SECOND),
        "time is still kept, and no heartbeat any more"
    );
    assert!(pair.gateway.read(running).fault().is_some(), "it was lost");
    assert!(pair.gateway.read(keys[0]).ended(), "in time");
    pair.gateway.step(pair.time);
    pair.gateway.readable.clear();

    pair.drive_until(opened_at + SECOND);
    assert!(
        pair.gateway.readable.contains(&keys[1]),
        "its reader is woken"
    );
    let late = pair.gateway.read(keys[1]);
    assert_eq!(late.fault(), Some(&CallFault::Deadline));
    assert!(late.data.is_empty(), "what was not taken is dropped");
    assert!(pair.gateway.read(keys[0]).end.is_none(), "a call ends once");

    pair.gateway.tunnel.release(keys[2]);
    assert_eq!(
        pair.gateway.tunnel.poll_timeout(),
        None,
        "a deadline leaves with its call"
    );
    assert!(pair.gateway.read(without).ended(), "it has no deadline");
}

#[test]
fn the_first_fault_of_a_call_stays() {
    let mut pair = Pair::new();
    let key = pair.open_within(SECOND);
    pair.drive();
    let (instance, _) = pair.incoming();
    pair.instance.tunnel.reset(instance, 2);
    pair.drive_for(SECOND * 2);
    let answer = pair.gateway.read(key);
    assert_eq!(
        answer.fault(),
        Some(&reset(2)),
        "not the deadline that passed after it"
    );
}

#[test]
fn a_deadline_leaves_with_its_call() {
    let mut pair = Pair::new();
    let key = pair.open_within(SECOND);
    pair.drive();
    let idle = pair.gateway.tunnel.poll_timeout().expect("a live tunnel");
    assert!(idle <= pair.time + SECOND);
    pair.gateway.tunnel.release(key);
    pair.drive();
    let (instance, _) = pair.incoming();
    pair.instance.tunnel.release(instance);
    for next in [
        pair.gateway.tunnel.poll_timeout(),
        pair.instance.tunnel.poll_timeout(),
    ] {
        assert!(
            next > Some(pair.time + SECOND),
            "only the heartbeat is left"
        );
    }
}

/// Proves: R11
#[test]
fn a_cancel_reaches_the_handler_from_every_phase_of_its_call() {
    for phase in ["before it arrived", "open", "half closed", "half answered"] {
        let mut pair = Pair::new();
        let key = pair.open("", phase == "half closed");
        if phase == "before it arrived" {
            pair.gateway.tunnel.release(key);
        }
        pair.drive();
        let (instance, _) = pair.incoming();
        if phase == "half closed" {
            assert!(pair.instance.read(instance).ended());
        }
        if phase == "half answered" {
            pair.head(instance, vec![1; 200_000]);
            pair.drive();
        }
        pair.gateway.tunnel.release(key);
        let cancelled_at = pair.time;
        pair.drive();
        assert!(
            pair.time <= cancelled_at + pair.latency * 2,
            "{phase}: within a round trip"
        );
        assert!(pair.instance.tunnel.is_over(instance), "{phase}");
        assert!(
            pair.instance.readable.contains(&instance),
            "{phase}: the handler is woken"
        );
        let request = pair.instance.read(instance);
        assert_eq!(request.fault(), Some(&reset(reset_code::CANCEL)), "{phase}");
        pair.instance.tunnel.release(instance);
        pair.drive();
        assert_eq!(pair.gateway.tunnel.open_calls(), 0, "{phase}");
        assert_eq!(pair.instance.tunnel.open_calls(), 0, "{phase}");
        assert!(!pair.gateway.tunnel.has_transmit() && !pair.instance.tunnel.has_transmit());
    }
}

#[test]
fn a_handler_that_dies_resets_its_call_with_its_code() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.head(call.instance, "half an ans");
    pair.instance.tunnel.reset(call.instance, 0x2);
    pair.drive();
    let answer = pair.gateway.read(call.gateway);
    assert_eq!(answer.fault(), Some(&reset(0x2)), "INTERNAL_ERROR travels");
    assert!(!reset(0x2).never_dispatched());
}

/// Proves: R17
#[test]
fn a_refused_call_may_go_elsewhere() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.instance.tunnel.refuse_call(call.instance);
    pair.drive();
    let answer = pair.gateway.read(call.gateway);
    assert!(
        answer.fault().is_some_and(CallFault::never_dispatched),
        "{answer:?}"
    );
}

/// Proves: R17
#[test]
fn a_call_was_never_sent_only_if_the_transport_took_nothing_of_it() {
    let mut pair = Pair::new();
    pair.gateway.link.room = 0;
    let first = pair.open("a", true);
    pair.gateway.link.room = 1;
    pair.gateway.transmit(pair.time, pair.latency);
    let second = pair.open("b", true);
    pair.gateway.tunnel.handle_end(pair.time, "reset by peer");
    let lost = |pair: &mut Pair, key| pair.gateway.read(key).fault().cloned();
    assert_eq!(lost(&mut pair, first), Some(CallFault::Lost { sent: true }));
    assert_eq!(
        lost(&mut pair, second),
        Some(CallFault::Lost { sent: false })
    );
    assert!(
        !pair.gateway.tunnel.has_transmit(),
        "and it is not sent later"
    );
}

/// Proves: K9
#[test]
fn an_early_answer_ends_the_request() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.send(call.gateway, vec![1; 200_000], false);
    pair.drive();
    pair.answer(call.instance, "enough");
    pair.send(call.gateway, "late", true);
    pair.drive();
    let answer = pair.gateway.read(call.gateway);
    assert_eq!(
        (answer.data.as_slice(), answer.ended()),
        (&b"enough"[..], true)
    );
    assert_eq!(
        pair.gateway.tunnel.queued(call.gateway),
        0,
        "what was queued is dropped"
    );
    assert!(
        pair.instance.readable.contains(&call.instance),
        "the request's reader is woken"
    );
    assert!(pair.instance.read(call.instance).fault().is_some());
    assert_eq!(pair.instance.closed, None, "late frames are no breach");
}

#[test]
fn the_end_of_a_long_answer_wakes_the_reader_of_the_request() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.answer(call.instance, vec![1; 100_000]);
    pair.drive();
    assert!(
        !pair.instance.tunnel.is_over(call.instance),
        "the end waits for credit"
    );
    pair.instance.readable.clear();
    pair.gateway.read(call.gateway);
    pair.drive();
    assert!(pair.instance.tunnel.is_over(call.instance));
    assert!(
        pair.instance.readable.contains(&call.instance),
        "nothing more will come"
    );
}

/// Proves: R14
#[test]
fn a_cancel_that_races_with_the_finish_has_one_outcome_and_leaves_nothing() {
    let mut pair = Pair::new();
    for n in 0..10_000u64 {
        let call = pair.opened();
        let size = [0, 10, 5_000, 90_000][(n % 4) as usize];
        let wait = |step: u64| Duration::from_micros(n * step % 2_500);
        pair.answer(call.instance, vec![1; size]);
        if n % 3 == 0 {
            pair.instance.tunnel.release(call.instance);
        }
        pair.drive_for(wait(97));
        let mut outcomes = usize::from(pair.gateway.read(call.gateway).end.is_some());
        pair.gateway.tunnel.reset(call.gateway, reset_code::CANCEL);
        pair.drive_for(wait(31));
        outcomes += usize::from(pair.gateway.read(call.gateway).end.is_some());
        pair.gateway.tunnel.release(call.gateway);
        pair.instance.tunnel.release(call.instance);
        pair.drive();
        assert_eq!(outcomes, 1, "race {n}");
        if n % 100 == 0 {
            pair.forget_wires();
        }
    }
    assert_eq!(pair.gateway.closed, None);
    assert_eq!(pair.instance.closed, None);
    assert_eq!(
        pair.gateway.tunnel.open_calls() + pair.instance.tunnel.open_calls(),
        0
    );
}

#[test]
fn what_waits_of_a_call_that_was_released_is_never_sent_for_its_slots_next_tenant() {
    let mut pair = Pair::new();
    let first = pair.opened();
    pair.gateway.link.room = 0;
    pair.send(first.gateway, vec![1; 50_000], true);
    pair.gateway.tunnel.release(first.gateway);
    let second = pair.open(vec![2; 50_000], true);
    assert_eq!(first.gateway.slot, second.slot);
    pair.gateway.link.room = usize::MAX;
    pair.drive();
    let (instance, _) = pair.incoming();
    let request = pair.instance.read(instance);
    assert!(request.ended() && request.data == vec![2; 50_000]);
    let first_wires = pair
        .gateway
        .link
        .calls()
        .filter(|wire| wire.id == first.gateway.to_bits());
    let flags: Vec<u32> = first_wires.map(|wire| wire.flags).collect();
    assert_eq!(flags, [1, RESET], "of the first only its OPEN and its end");
}

#[test]
fn credit_that_was_due_to_a_released_call_is_not_granted_to_its_slots_next_tenant() {
    let mut pair = Pair::new();
    let first = pair.opened();
    pair.send(first.gateway, vec![1; 80_000], false);
    pair.drive();
    pair.instance.take(first.instance, 80_000);
    pair.gateway.tunnel.release(first.gateway);
    pair.instance.tunnel.release(first.instance);
    let second = pair.opened();
    assert_eq!(first.instance.slot, second.instance.slot);
    pair.drive();
    assert_eq!(pair.instance.link.granted(second.gateway.to_bits()), 0);
}
