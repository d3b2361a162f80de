//! Credit: what may be under way of one call, and when more is granted.

use std::time::Duration;

use grpcrouter_core::Config;

use crate::pair::{Pair, message};

const WINDOW: usize = 80 * 1024;

#[test]
fn a_sender_stops_at_the_window_and_goes_on_with_what_its_reader_took() {
    let mut pair = Pair::new();
    let call = pair.opened();
    let id = call.gateway.to_bits();
    let sent: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    pair.send(call.gateway, sent.clone(), true);
    pair.drive();
    assert_eq!(
        pair.gateway.link.sent(id),
        WINDOW,
        "the whole credit and no more"
    );
    assert_eq!(pair.gateway.tunnel.queued(call.gateway), 300_000 - WINDOW);
    assert_eq!(pair.gateway.tunnel.take_passed(call.gateway), WINDOW);
    let mut got = Vec::new();
    let ended = loop {
        let request = pair.instance.read(call.instance);
        got.extend_from_slice(&request.data);
        if request.end.is_some() {
            break request.ended();
        }
        assert!(
            !request.data.is_empty(),
            "the reader's progress lets the sender go on"
        );
        pair.drive();
    };
    assert!(ended && got == sent, "all bytes in order, then the end");
}

/// Proves: Z10
#[test]
fn credit_is_granted_only_for_what_was_read_and_at_half_a_window() {
    let mut pair = Pair::new();
    let call = pair.opened();
    let id = call.gateway.to_bits();
    pair.send(call.gateway, vec![7; 200_000], false);
    pair.drive_for(Duration::from_secs(60));
    assert_eq!(
        pair.instance.link.granted(id),
        0,
        "receipt alone grants nothing"
    );
    pair.instance.take(call.instance, WINDOW / 2 - 1);
    pair.drive();
    assert_eq!(
        pair.instance.link.granted(id),
        0,
        "a byte less than half a window"
    );
    pair.instance.take(call.instance, 1);
    pair.drive();
    assert_eq!(pair.instance.link.granted(id), WINDOW / 2, "half a window");
    assert_eq!(
        pair.gateway.link.sent(id),
        WINDOW + WINDOW / 2,
        "which is used at once"
    );
    let taken = WINDOW / 2;
    assert_eq!(
        pair.gateway.link.sent(id) - taken,
        WINDOW,
        "under way is one window again"
    );
}

#[test]
fn a_window_grows_over_a_long_round_trip_for_a_reader_that_keeps_up() {
    for (latency, growth_max, grows) in [
        (Duration::from_micros(999), 1 << 20, false),
        (Duration::from_millis(1), 1 << 20, true),
        (Duration::from_millis(50), 1 << 20, true),
        (Duration::from_millis(50), 80 << 10, false),
    ] {
        let mut pair = Pair::with_both(&Config {
            call_window_max: growth_max,
            ..Config::default()
        });
        pair.latency = latency;
        // The first heartbeats went over a faster network: they must be older than a minute.
        pair.drive_for(Duration::from_secs(70));
        let call = pair.opened();
        let id = call.gateway.to_bits();
        let (mut most, mut taken) = (0, 0);
        for _ in 0..60 {
            pair.send(call.gateway, vec![7; 200_000], false);
            pair.drive();
            most = most.max(pair.gateway.link.sent(id) - taken);
            taken += pair.instance.read(call.instance).data.len();
        }
        let what = format!(
            "round trip of {:?}, at most {growth_max}: {most}",
            latency * 2
        );
        assert_eq!(most > WINDOW, grows, "{what}");
        assert!(most <= growth_max as usize, "{what}");
    }
}

#[test]
fn each_direction_has_its_own_credit() {
    let mut pair = Pair::new();
    let call = pair.opened();
    let id = call.gateway.to_bits();
    pair.send(call.gateway, vec![1; 200_000], false);
    pair.head(call.instance, vec![2; 200_000]);
    pair.drive();
    assert_eq!(pair.gateway.link.sent(id), WINDOW);
    assert_eq!(pair.instance.link.sent(id), WINDOW);
    assert_eq!(pair.gateway.read(call.gateway).data.len(), WINDOW);
    pair.drive();
    assert_eq!(
        pair.gateway.link.sent(id),
        WINDOW,
        "the answer's reader frees no request"
    );
    assert_eq!(pair.instance.link.sent(id), 2 * WINDOW);
}

#[test]
fn the_windows_of_the_two_sides_may_differ() {
    let gateway = Config {
        call_window: 20_000,
        ..Config::default()
    };
    let instance = Config {
        call_window: 1,
        ..Config::default()
    };
    let mut pair = Pair::with(gateway, instance);
    let call = pair.opened();
    let id = call.gateway.to_bits();
    pair.send(call.gateway, "abcdef", true);
    pair.head(call.instance, vec![2; 50_000]);
    pair.drive();
    assert_eq!(
        pair.gateway.link.sent(id),
        1,
        "the instance's window, a byte"
    );
    assert_eq!(pair.instance.link.sent(id), 20_000, "the gateway's window");
    let (mut got, mut ended) = (Vec::new(), false);
    for _ in 0..6 {
        let request = pair.instance.read(call.instance);
        got.extend_from_slice(&request.data);
        ended |= request.ended();
        pair.drive();
    }
    assert!(ended && got == b"abcdef", "even byte by byte: {got:?}");
}

/// Proves: K8
#[test]
fn the_end_comes_after_the_last_byte_of_a_message_of_3_mib() {
    let mut pair = Pair::new();
    pair.instance.link.piece = 1_400;
    pair.gateway.link.piece = 1_400;
    let call = pair.opened();
    let sent = message(3 << 20);
    pair.send(call.gateway, sent.clone(), false);
    pair.send(call.gateway, "", true);
    let mut got = Vec::new();
    let ended = loop {
        pair.drive();
        let request = pair.instance.read(call.instance);
        got.extend_from_slice(&request.data);
        if request.end.is_some() {
            break request.ended();
        }
        assert!(!request.data.is_empty(), "no progress at {}", got.len());
    };
    assert!(ended && got == sent, "the whole message, then the end");
}

/// Proves: K5
#[test]
fn ten_thousand_messages_each_way_keep_their_order() {
    let mut pair = Pair::new();
    pair.latency = Duration::from_millis(7);
    let call = pair.opened();
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    let (mut sent_requests, mut sent_answers) = (Vec::new(), Vec::new());
    pair.head(call.instance, "");
    for n in 0..10_000u32 {
        let size = (n % 7 * 13) as usize;
        let request = [&n.to_be_bytes()[..], &vec![1; size]].concat();
        let answer = [&n.to_le_bytes()[..], &vec![2; size]].concat();
        sent_requests.extend_from_slice(&request);
        sent_answers.extend_from_slice(&answer);
        pair.send(call.gateway, request, n == 9_999);
        pair.data(call.instance, answer);
        if n % 100 == 0 {
            pair.drive();
            requests.extend(pair.instance.read(call.instance).data);
            answers.extend(pair.gateway.read(call.gateway).data);
        }
    }
    let mut ended = false;
    for _ in 0..40 {
        pair.drive();
        let request = pair.instance.read(call.instance);
        requests.extend_from_slice(&request.data);
        if request.ended() {
            pair.complete(call.instance);
        }
        let answer = pair.gateway.read(call.gateway);
        answers.extend_from_slice(&answer.data);
        ended |= answer.ended();
    }
    assert!(ended, "both directions came to their end");
    assert!(requests == sent_requests, "no gap, no repeat, in order");
    assert!(answers == sent_answers, "no gap, no repeat, in order");
}

/// Proves: ZB-6
#[test]
fn after_a_stall_everything_arrives_and_after_a_cancel_nothing_does() {
    let mut pair = Pair::new();
    let call = pair.opened();
    let id = call.gateway.to_bits();
    pair.send(call.gateway, vec![3; 500_000], true);
    pair.drive_for(Duration::from_secs(120));
    let mut got = 0;
    for _ in 0..20 {
        got += pair.instance.read(call.instance).data.len();
        pair.drive();
    }
    assert_eq!(
        (got, pair.gateway.link.sent(id)),
        (500_000, 500_000),
        "nothing is left under way"
    );

    let other = pair.opened();
    pair.send(other.gateway, vec![3; 500_000], true);
    pair.drive();
    pair.gateway.tunnel.release(other.gateway);
    pair.drive();
    let request = pair.instance.read(other.instance);
    assert!(
        request.data.is_empty() && request.fault().is_some(),
        "not even what had come"
    );
}

#[test]
fn nothing_is_granted_for_a_direction_that_has_ended() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.send(call.gateway, vec![1; 64 << 10], true);
    pair.drive();
    assert!(pair.instance.read(call.instance).ended());
    pair.drive();
    assert_eq!(
        pair.instance.link.granted(call.gateway.to_bits()),
        0,
        "nobody would use it"
    );
}
