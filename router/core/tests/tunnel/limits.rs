//! Limits: calls at once, the length of messages, metadata.

use bytes::Bytes;
use grpcrouter_core::tunnel::{ResponseHead, reset_code};
use grpcrouter_core::{CallFault, Config, OpenError};
use http::{HeaderMap, HeaderValue};

use crate::pair::{Pair, message, request};

/// Proves: T17
#[test]
fn ten_thousand_calls_at_once_and_not_one_more() {
    let mut pair = Pair::new();
    let mut keys: Vec<_> = (0..10_000).map(|_| pair.open("", false)).collect();
    assert_eq!(
        pair.try_open(None, "", false),
        Err(OpenError::TooManyCalls(10_000))
    );
    pair.drive();
    let mut instances = Vec::new();
    while let Some((key, _)) = pair.instance.incoming() {
        instances.push(key);
    }
    assert_eq!(instances.len(), 10_000, "the instance takes them all");
    let mut ids: Vec<u64> = keys.iter().map(|key| key.to_bits()).collect();
    for (at, key) in keys.drain(..).enumerate().step_by(2) {
        pair.answer(instances[at], "");
        pair.gateway.tunnel.release(key);
    }
    pair.drive();
    for _ in 0..5_000 {
        ids.push(pair.open("", false).to_bits());
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "no id was given twice");
}

#[test]
fn the_instance_says_how_many_calls_it_takes() {
    let few = Config {
        max_calls: 2,
        ..Config::default()
    };
    let mut pair = Pair::with(Config::default(), few);
    pair.opened();
    pair.opened();
    assert_eq!(
        pair.try_open(None, "", false),
        Err(OpenError::TooManyCalls(2))
    );
}

#[test]
fn a_call_opened_right_behind_anothers_end_is_not_refused() {
    let one = Config {
        max_calls: 1,
        ..Config::default()
    };
    let mut pair = Pair::with(Config::default(), one);
    let first = pair.opened();
    pair.gateway.tunnel.release(first.gateway);
    let second = pair.open("", true);
    pair.drive();
    assert!(
        pair.instance.incoming().is_some(),
        "the first is over, though nobody has released it here yet"
    );
    assert!(
        pair.gateway.read(second).end.is_none(),
        "so the second goes on"
    );
}

fn limited(gateway: Option<u32>, instance: Option<u32>) -> Pair {
    let config = |message_max| Config {
        message_max,
        ..Config::default()
    };
    Pair::with(config(gateway), config(instance))
}

#[test]
fn the_edge_of_a_message_limit_is_exact_in_both_directions_whoever_sets_it() {
    for (gateway, instance) in [
        (Some(1_000), None),
        (None, Some(1_000)),
        (Some(1_000), Some(1_000)),
    ] {
        for len in [999, 1_000, 1_001] {
            let passes = len <= 1_000;
            let what = format!("{len} bytes, gateway {gateway:?}, instance {instance:?}");
            let mut pair = limited(gateway, instance);
            let call = pair.opened();
            pair.send(call.gateway, message(len), true);
            pair.drive();
            let request = pair.instance.read(call.instance);
            assert_eq!(
                request.ended() && request.data == message(len),
                passes,
                "request: {what}"
            );
            let answer = pair.gateway.read(call.gateway);
            assert_eq!(
                answer.fault().is_some_and(is_too_large),
                !passes,
                "request: {what}"
            );

            let call = pair.opened();
            pair.answer(call.instance, message(len));
            pair.drive();
            let answer = pair.gateway.read(call.gateway);
            assert_eq!(
                answer.ended() && answer.data == message(len),
                passes,
                "answer: {what}"
            );
            assert_eq!(
                answer.fault().is_some_and(is_too_large),
                !passes,
                "answer: {what}"
            );

            let sibling = pair.opened();
            pair.answer(sibling.instance, "");
            pair.drive();
            assert!(
                pair.gateway.read(sibling.gateway).ended(),
                "its sibling lives: {what}"
            );
        }
    }
}

/// Found at the gateway, or told by the instance.
fn is_too_large(fault: &CallFault) -> bool {
    match fault {
        CallFault::TooLarge(_) => true,
        CallFault::Reset(reset) => reset.code == reset_code::ENHANCE_YOUR_CALM,
        _ => false,
    }
}

#[test]
fn calls_that_open_with_too_long_a_message_never_reach_the_instance() {
    let mut pair = limited(Some(10), None);
    for _ in 0..200 {
        let key = pair.open(message(11), true);
        let answer = pair.gateway.read(key);
        assert!(matches!(answer.fault(), Some(CallFault::TooLarge(_))));
        pair.gateway.tunnel.release(key);
        pair.drive();
    }
    assert!(pair.instance.incoming().is_none());
    assert_eq!(
        pair.instance.closed, None,
        "no reset of calls that it was never given"
    );
}

#[test]
fn too_long_a_message_after_the_answer_does_not_spoil_the_answer() {
    let mut pair = limited(Some(10), None);
    let call = pair.opened();
    pair.answer(call.instance, "");
    pair.drive();
    pair.send(call.gateway, message(11), true);
    assert!(pair.gateway.read(call.gateway).ended(), "the call was over");
}

fn headers(bytes: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = "x".repeat(bytes);
    headers.insert("k", HeaderValue::try_from(value).expect("letters"));
    headers
}

#[test]
fn metadata_that_the_peer_would_not_take_is_not_sent() {
    let mut pair = Pair::new();
    // HTTP/2 counts 32 bytes an entry, and the name is one.
    let (fits, exceeds) = (headers(16 * 1024 - 33), headers(16 * 1024 - 32));
    let mut open = |headers: &HeaderMap| {
        let now = pair.time;
        let opened = pair
            .gateway
            .tunnel
            .open(now, request(None, headers), Bytes::new(), true);
        pair.drive();
        opened
    };
    assert!(open(&fits).is_ok());
    for _ in 0..100 {
        let opened = open(&exceeds);
        assert!(
            matches!(opened, Err(OpenError::MetadataTooLarge { .. })),
            "{opened:?}"
        );
    }
    let (key, arrived) = pair.incoming();
    assert_eq!(arrived.metadata, fits);
    assert!(pair.instance.incoming().is_none());

    let head = |headers| ResponseHead {
        content_type: None,
        headers,
    };
    let tunnel = &mut pair.instance.tunnel;
    let too_large = tunnel.respond(key, Some(head(&exceeds)), Bytes::new(), None);
    assert!(too_large.is_err(), "in a head");
    tunnel
        .respond(key, Some(head(&fits)), Bytes::new(), None)
        .expect("fits");
    let too_large = tunnel.respond(key, None, Bytes::new(), Some(&exceeds));
    assert!(too_large.is_err(), "in trailers");
    pair.drive();
    assert_eq!(
        pair.gateway.closed, None,
        "a handler's metadata never costs the tunnel"
    );
    assert_eq!(pair.instance.closed, None, "nor a client's");
}

#[test]
fn of_two_limits_of_metadata_the_smaller_holds_and_only_the_call_that_exceeds_it_fails() {
    let limit = |kib: usize| Config {
        max_metadata: kib * 1024,
        ..Config::default()
    };
    for (gateway, instance) in [(32, 16), (16, 32), (16, 8), (8, 16), (32, 32)] {
        let mut pair = Pair::with(limit(gateway), limit(instance));
        let what = format!("gateway {gateway} KiB, instance {instance} KiB");
        let max = gateway.min(instance) * 1024;
        let (fits, exceeds) = (headers(max - 33), headers(max - 32));
        let too_large = OpenError::MetadataTooLarge { size: max + 1, max };
        let now = pair.time;
        for _ in 0..64 {
            let asked = request(None, &exceeds);
            let opened = pair.gateway.tunnel.open(now, asked, Bytes::new(), true);
            assert_eq!(opened, Err(too_large), "a call: {what}");
        }
        let asked = request(None, &fits);
        let opened = pair.gateway.tunnel.open(now, asked, Bytes::new(), true);
        let call = opened.expect("the longest that both take");
        pair.drive();
        let (key, arrived) = pair.incoming();
        assert_eq!(arrived.metadata, fits, "{what}");

        let head = |headers| ResponseHead {
            content_type: None,
            headers,
        };
        let tunnel = &mut pair.instance.tunnel;
        let answered = tunnel.respond(key, Some(head(&exceeds)), Bytes::new(), None);
        assert_eq!(answered, Err(too_large), "an answer: {what}");
        let data = Bytes::from(message(4_000));
        let answered = tunnel.respond(key, Some(head(&fits)), data, Some(&fits));
        assert_eq!(answered, Ok(()), "all of it at once: {what}");
        pair.drive();
        let answer = pair.gateway.read(call);
        assert_eq!(answer.start.map(|head| head.metadata).as_ref(), Some(&fits));
        assert_eq!(answer.data, message(4_000));
        let trailers = answer.end.expect("the end came").expect("no fault");
        assert_eq!(trailers.metadata, fits, "{what}");
        assert_eq!(pair.gateway.closed, None, "{what}");
        assert_eq!(pair.instance.closed, None, "{what}");
    }
}

#[test]
#[should_panic(expected = "max_metadata: 1024 to 32768 bytes")]
fn a_limit_of_metadata_that_no_frame_holds_is_our_own_bug() {
    Pair::with_both(&Config {
        max_metadata: 64 * 1024,
        ..Config::default()
    });
}
