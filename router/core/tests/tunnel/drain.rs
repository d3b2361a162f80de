//! The end of a tunnel that both sides want: the handshake of unregister and drain.

use std::time::Duration;

use grpcrouter_core::tunnel::{GatewayEvent, Phase};
use grpcrouter_core::{CallFault, Config, OpenError, TunnelError};
use grpcrouter_proto::v1::{RpcCall, register_request, register_response};

use crate::pair::{OPEN, Pair};

/// Proves: T6
#[test]
fn a_call_that_crosses_the_unregister_is_served() {
    let mut pair = Pair::new();
    let running = pair.opened();
    pair.instance.tunnel.unregister("going");
    let crossing = pair.open("hi", true);
    pair.drive();
    let (key, _) = pair.incoming();
    assert_eq!(pair.instance.drains(), [true], "the gateway answered");
    assert!(matches!(
        pair.gateway.roles[..],
        [GatewayEvent::Unregistering]
    ));
    pair.answer(key, "served");
    pair.answer(running.instance, "served too");
    pair.drive();
    assert_eq!(pair.gateway.read(crossing).data, b"served");
    assert_eq!(pair.gateway.read(running.gateway).data, b"served too");
}

/// Proves: T6
#[test]
fn no_call_is_opened_after_the_answer() {
    let mut pair = Pair::new();
    pair.instance.tunnel.unregister("going");
    pair.drive();
    assert_eq!(pair.try_open(None, "", true), Err(OpenError::NotLive));
    assert_eq!(pair.gateway.tunnel.phase(), Phase::Draining);
    pair.call(RpcCall {
        request_id: 99 << 32,
        flags: OPEN,
        method: "/a/b".into(),
        ..RpcCall::default()
    });
    assert!(
        pair.instance.incoming().is_none(),
        "one that comes all the same is refused"
    );
    pair.forget_wires();
    pair.instance.transmit(pair.time, pair.latency);
    let flags = pair.instance.link.wires[0].flags;
    assert_eq!(flags, crate::pair::RESET | crate::pair::REFUSED);
}

/// Proves: T6
#[test]
fn a_thousand_drains_under_load_lose_no_call() {
    for n in 0..1_000u64 {
        let mut pair = Pair::new();
        pair.latency = Duration::from_micros(100 + n % 7 * 300);
        let mut calls = Vec::new();
        for step in 0..12 {
            if step == n % 12 {
                pair.instance.tunnel.unregister("going");
            }
            match pair.try_open(None, "request", step % 2 == 0) {
                Ok(key) => calls.push(key),
                Err(error) => assert_eq!(error, OpenError::NotLive),
            }
            let soon = Duration::from_micros(n * 37 % 500);
            pair.drive_for(soon);
            while let Some((key, _)) = pair.instance.incoming() {
                pair.answer(key, "answer");
                pair.instance.tunnel.release(key);
            }
        }
        pair.drive();
        while let Some((key, _)) = pair.instance.incoming() {
            pair.answer(key, "answer");
            pair.instance.tunnel.release(key);
        }
        pair.drive();
        assert_eq!(pair.instance.drains(), [true]);
        for key in calls {
            let answer = pair.gateway.read(key);
            assert!(answer.ended(), "drain {n}: {answer:?}");
            pair.gateway.tunnel.release(key);
        }
        assert_eq!(pair.gateway.tunnel.open_calls(), 0);
        assert_eq!(pair.instance.tunnel.open_calls(), 0);
    }
}

#[test]
fn a_gateway_that_drains_opens_nothing_and_finishes_what_runs() {
    let mut pair = Pair::new();
    let running = pair.opened();
    let crossing = pair.open("", true);
    pair.gateway.tunnel.drain("restart");
    assert_eq!(pair.try_open(None, "", true), Err(OpenError::NotLive));
    pair.drive();
    assert_eq!(pair.instance.drains(), [false], "nobody asked for it");
    let (key, _) = pair.incoming();
    pair.answer(key, "");
    pair.answer(running.instance, "");
    pair.drive_for(Duration::from_secs(60));
    assert!(pair.gateway.read(running.gateway).ended());
    assert!(pair.gateway.read(crossing).ended());
    assert_eq!(
        pair.gateway.closed, None,
        "heartbeats go on while calls may finish"
    );
}

#[test]
fn both_sides_may_drain_at_once() {
    let mut pair = Pair::new();
    pair.gateway.tunnel.drain("restart");
    pair.instance.tunnel.unregister("going");
    pair.drive();
    assert_eq!(pair.instance.drains(), [false, true]);
    assert_eq!(pair.gateway.closed, None);
}

#[test]
fn a_refused_registration_says_why() {
    let mut pair = Pair::unregistered(Config::default(), Config::default());
    pair.accepts = false;
    pair.drive();
    pair.gateway
        .tunnel
        .refuse(6, "lower-epoch", "a newer one is here");
    pair.drive();
    let refused = TunnelError::Refused {
        code: 6,
        reason: "lower-epoch".into(),
        message: "a newer one is here".into(),
    };
    assert_eq!(pair.instance.closed, Some(refused));
}

#[test]
fn a_superseded_tunnel_does_not_send_the_calls_that_it_gave_up_as_never_sent() {
    let mut pair = Pair::new();
    let sent = pair.opened();
    let waiting = pair.open("do it once", true);
    pair.gateway
        .tunnel
        .refuse(10, "superseded", "a newer one is here");
    let answer = pair.gateway.read(waiting);
    assert!(
        answer.fault().is_some_and(CallFault::never_dispatched),
        "it never left, so it may go elsewhere: {answer:?}"
    );
    let answer = pair.gateway.read(sent.gateway);
    assert_eq!(answer.fault(), Some(&CallFault::Lost { sent: true }));
    pair.drive();
    assert!(
        pair.instance.incoming().is_none(),
        "so it must not arrive here, or it would be served twice"
    );
    assert!(
        matches!(&pair.instance.closed, Some(TunnelError::Refused { reason, .. }) if reason == "superseded")
    );
}

/// Proves: T1
#[test]
fn calls_go_from_the_acceptance_on_and_not_before() {
    let mut pair = Pair::unregistered(Config::default(), Config::default());
    pair.accepts = false;
    pair.drive();
    assert_eq!(
        pair.try_open(None, "", true),
        Err(OpenError::NotLive),
        "not registered yet"
    );
    pair.gateway
        .tunnel
        .accept(pair.time, "g".into(), Vec::new());
    let key = pair.open("", true);
    pair.drive();
    let (instance, _) = pair.incoming();
    pair.answer(instance, "");
    pair.drive();
    assert!(
        pair.gateway.read(key).ended(),
        "the call behind the acceptance is served"
    );
}

#[test]
fn a_registration_out_of_range_is_told_as_one() {
    use grpcrouter_proto::v1::{InstanceInfo, Revisions};
    let sound = InstanceInfo {
        revisions: Some(Revisions { min: 1, max: 1 }),
        ..InstanceInfo::default()
    };
    let stories = [
        ("revisions", InstanceInfo::default()),
        (
            "call_window",
            InstanceInfo {
                call_window: 1 << 31,
                ..sound.clone()
            },
        ),
        (
            "max_frame",
            InstanceInfo {
                max_frame: 65_535,
                ..sound
            },
        ),
    ];
    for (field, info) in stories {
        let mut pair = Pair::unregistered(Config::default(), Config::default());
        pair.gateway_reads(register_request::Frame::InstanceInfo(info));
        let closed = pair.gateway.closed.expect("refused");
        assert_eq!(closed.verdict(), (3, "bad-registration"), "{closed}");
        assert!(closed.to_string().contains(field), "{closed}");
    }
}

#[test]
fn an_end_that_the_instance_wants_is_no_error() {
    let mut pair = Pair::new();
    pair.instance.tunnel.unregister("going");
    pair.drive();
    pair.gateway.tunnel.handle_end(pair.time, "half-closed");
    pair.gateway.step(pair.time);
    let closed = pair.gateway.closed.expect("told");
    assert_eq!(closed.verdict(), (0, ""));
}

#[test]
fn only_the_first_frames_make_a_handshake() {
    use register_request::Frame::Unregister;
    let mut pair = Pair::unregistered(Config::default(), Config::default());
    pair.gateway_reads(Unregister(
        grpcrouter_proto::v1::UnregisterRequest::default(),
    ));
    pair.instance_reads(register_response::Frame::Drain(
        grpcrouter_proto::v1::Drain::default(),
    ));
    for closed in [&pair.gateway.closed, &pair.instance.closed] {
        assert!(
            matches!(closed, Some(TunnelError::Handshake(_))),
            "{closed:?}"
        );
    }
}

#[test]
fn a_peer_that_repeats_that_it_drains_is_heard_once() {
    let mut pair = Pair::new();
    pair.forget_wires();
    for _ in 0..100 {
        pair.gateway_reads(register_request::Frame::Unregister(
            grpcrouter_proto::v1::UnregisterRequest::default(),
        ));
    }
    assert!(matches!(
        pair.gateway.roles[..],
        [GatewayEvent::Unregistering]
    ));
    pair.drive();
    let answers = pair.gateway.link.wires.iter();
    assert_eq!(answers.filter(|wire| wire.what == "drain").count(), 1);
    for answer in [false, true, false, true] {
        pair.instance_reads(register_response::Frame::Drain(
            grpcrouter_proto::v1::Drain {
                answer,
                ..grpcrouter_proto::v1::Drain::default()
            },
        ));
    }
    assert_eq!(pair.instance.drains(), [true, false], "each kind once");
}
