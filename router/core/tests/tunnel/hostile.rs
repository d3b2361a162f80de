//! What a peer that breaks the rules gets, and what its neighbours do not notice.

use bytes::Bytes;
use grpcrouter_core::error::Breach;
use grpcrouter_core::tunnel::Phase;
use grpcrouter_core::{CallFault, Config, TunnelError};
use grpcrouter_proto::v1::{self, RpcCall, RpcResponse, register_request, register_response};
use prost::Message;

use crate::pair::{COMPLETE, HALF_CLOSE, HEAD, OPEN, Pair, RESET, framed};

fn breach(fault: Option<&CallFault>) -> &Breach {
    match fault {
        Some(CallFault::Breach(breach)) => breach,
        other => panic!("a breach was to be seen, not {other:?}"),
    }
}

/// Sends `len` bytes to the gateway in frames, as a head and its data.
fn flood_gateway(pair: &mut Pair, id: u64, len: usize) {
    for (seq, at) in (0..len).step_by(16_384).enumerate() {
        pair.response(RpcResponse {
            request_id: id,
            flags: if seq == 0 { HEAD } else { 0 },
            seq: seq as u32,
            data: Bytes::from(vec![0; 16_384.min(len - at)]),
            ..RpcResponse::default()
        });
    }
}

/// Proves: S1
#[test]
fn an_instance_that_overspends_loses_that_call_and_no_other() {
    let mut pair = Pair::new();
    let (bad, good) = (pair.opened(), pair.opened());
    let window = Config::default().call_window as usize;
    flood_gateway(&mut pair, bad.gateway.to_bits(), window);
    assert_eq!(
        pair.gateway.tunnel.readable(bad.gateway),
        window,
        "all of the credit may be spent"
    );
    pair.response(RpcResponse {
        request_id: bad.gateway.to_bits(),
        seq: (window / 16_384) as u32,
        data: Bytes::from_static(b"x"),
        ..RpcResponse::default()
    });
    assert_eq!(
        pair.gateway.tunnel.readable(bad.gateway),
        0,
        "what it had sent is not kept"
    );
    let answer = pair.gateway.read(bad.gateway);
    assert!(matches!(breach(answer.fault()), Breach::Overspent(_)));

    pair.answer(good.instance, "fine");
    pair.drive();
    let answer = pair.gateway.read(good.gateway);
    assert_eq!(
        (answer.data.as_slice(), answer.ended()),
        (&b"fine"[..], true)
    );
    let request = pair.instance.read(bad.instance);
    assert!(
        matches!(request.fault(), Some(CallFault::Reset(reset)) if reset.code == 3),
        "the instance is told FLOW_CONTROL_ERROR"
    );
}

/// Proves: S1
#[test]
fn a_gateway_that_overspends_loses_that_call_and_no_other() {
    let mut pair = Pair::new();
    let (bad, good) = (pair.opened(), pair.opened());
    for seq in 0..6 {
        pair.call(RpcCall {
            request_id: bad.gateway.to_bits(),
            seq,
            data: Bytes::from(vec![0; 16_384]),
            ..RpcCall::default()
        });
        let held = pair.instance.tunnel.readable(bad.instance);
        assert!(held <= 80 * 1024, "memory is bounded by the window: {held}");
    }
    let request = pair.instance.read(bad.instance);
    assert!(matches!(breach(request.fault()), Breach::Overspent(_)));
    pair.send(good.gateway, "fine", true);
    pair.drive();
    assert_eq!(pair.instance.read(good.instance).data, b"fine");
    assert_eq!(pair.instance.tunnel.phase(), Phase::Live);
}

/// Proves: S2
#[test]
fn an_id_that_was_never_given_ends_the_tunnel_that_names_it_and_no_other() {
    let (mut own, mut others) = (Pair::new(), Pair::new());
    for _ in 0..3 {
        others.opened();
    }
    let victim = others.opened();
    let ours = own.opened();
    own.response(RpcResponse {
        request_id: victim.gateway.to_bits(),
        flags: HEAD | COMPLETE,
        ..RpcResponse::default()
    });
    assert_eq!(
        own.gateway.closed,
        Some(TunnelError::UnknownCall(victim.gateway.to_bits())),
        "the id belongs to another tunnel, so here it was never given"
    );
    let answer = own.gateway.read(ours.gateway);
    assert_eq!(answer.fault(), Some(&CallFault::Lost { sent: true }));

    others.answer(victim.instance, "fine");
    others.drive();
    assert!(
        others.gateway.read(victim.gateway).ended(),
        "the victim did not notice"
    );
}

/// Proves: S2
#[test]
fn a_forged_generation_of_a_used_slot_was_never_given() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.response(RpcResponse {
        request_id: call.gateway.to_bits() + (1 << 32),
        flags: COMPLETE,
        ..RpcResponse::default()
    });
    assert!(matches!(
        pair.gateway.closed,
        Some(TunnelError::UnknownCall(_))
    ));
}

/// Proves: S3
#[test]
fn frames_that_crossed_a_cancel_are_borne() {
    let mut pair = Pair::new();
    for _ in 0..100 {
        let call = pair.opened();
        pair.head(call.instance, vec![1; 10_000]);
        pair.data(call.instance, "more");
        pair.gateway.tunnel.release(call.gateway);
        pair.answer(call.instance, "end");
        pair.drive();
        pair.instance.tunnel.release(call.instance);
    }
    assert_eq!(
        pair.gateway.tunnel.phase(),
        Phase::Live,
        "late is no breach"
    );
    assert_eq!(pair.gateway.tunnel.open_calls(), 0);
    assert_eq!(pair.instance.tunnel.open_calls(), 0);
}

/// Proves: S3
#[test]
fn frames_after_the_end_are_breaches_and_the_64th_within_a_minute_ends_the_tunnel() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.answer(call.instance, "");
    pair.drive();
    assert!(pair.gateway.read(call.gateway).ended());
    pair.gateway.tunnel.release(call.gateway);
    let late = RpcResponse {
        request_id: call.gateway.to_bits(),
        data: Bytes::from_static(b"x"),
        ..RpcResponse::default()
    };
    for _ in 0..63 {
        pair.response(late.clone());
    }
    assert_eq!(pair.gateway.closed, None, "63 are borne");
    pair.time = pair.time + std::time::Duration::from_secs(60);
    for _ in 0..63 {
        pair.response(late.clone());
    }
    assert_eq!(pair.gateway.closed, None, "63 a minute are borne");
    pair.response(late);
    assert_eq!(pair.gateway.closed, Some(TunnelError::TooManyBreaches(64)));
}

/// Proves: S4
#[test]
fn an_id_does_not_come_again_while_frames_of_its_first_call_may_be_under_way() {
    let mut pair = Pair::new();
    let first = pair.opened();
    pair.head(first.instance, "old");
    pair.instance.link.held = true;
    pair.drive();
    pair.gateway.tunnel.release(first.gateway);
    let second = pair.opened();
    assert_eq!(
        first.gateway.slot, second.gateway.slot,
        "the slot is used again"
    );
    assert_ne!(
        first.gateway.to_bits(),
        second.gateway.to_bits(),
        "the id is not"
    );
    pair.instance.link.held = false;
    pair.drive();
    let answer = pair.gateway.read(second.gateway);
    assert!(
        answer.start.is_none() && answer.data.is_empty() && answer.end.is_none(),
        "the old call's answer does not reach the new one"
    );
}

/// Proves: S5
#[test]
fn an_oversize_frame_ends_the_tunnel_at_its_prefix() {
    let mut pair = Pair::new();
    let now = pair.time;
    let prefix = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]);
    pair.gateway.tunnel.handle_bytes(now, prefix.clone());
    pair.instance.tunnel.handle_bytes(now, prefix);
    pair.gateway.step(now);
    pair.instance.step(now);
    for closed in [&pair.gateway.closed, &pair.instance.closed] {
        assert!(
            matches!(closed, Some(TunnelError::Malformed(_))),
            "{closed:?}"
        );
    }
}

/// Proves: S6
#[test]
fn a_response_out_of_order_ends_its_call() {
    type Story = fn(u64) -> Vec<RpcResponse>;
    let stories: [(&str, Story); 6] = [
        ("a second head", |id| {
            vec![part(id, HEAD, 0, b""), part(id, HEAD, 0, b"")]
        }),
        ("data before the head", |id| vec![part(id, 0, 0, b"x")]),
        ("a frame after the end", |id| {
            vec![part(id, COMPLETE, 0, b""), part(id, COMPLETE, 0, b"")]
        }),
        ("a frame after the end", |id| {
            vec![part(id, HEAD | COMPLETE, 0, b""), part(id, 0, 0, b"x")]
        }),
        ("data frame 2 where 1 was due", |id| {
            vec![part(id, HEAD, 0, b"x"), part(id, 0, 2, b"x")]
        }),
        ("data frame 0 where 1 was due", |id| {
            vec![part(id, HEAD, 0, b"x"), part(id, 0, 0, b"x")]
        }),
    ];
    for (fault, story) in stories {
        let mut pair = Pair::new();
        let (bad, good) = (pair.opened(), pair.opened());
        for frame in story(bad.gateway.to_bits()) {
            pair.response(frame);
        }
        let answer = pair.gateway.read(bad.gateway);
        assert_eq!(breach(answer.fault()).to_string(), fault);
        pair.answer(good.instance, "");
        pair.drive();
        assert!(
            pair.gateway.read(good.gateway).ended(),
            "its neighbour lives: {fault}"
        );
    }
}

pub(crate) fn part(id: u64, flags: u32, seq: u32, data: &'static [u8]) -> RpcResponse {
    RpcResponse {
        request_id: id,
        flags,
        seq,
        data: Bytes::from_static(data),
        ..RpcResponse::default()
    }
}

/// Proves: S6
#[test]
fn what_comes_after_an_end_that_was_read_is_counted_and_not_read() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.answer(call.instance, "");
    pair.drive();
    assert!(pair.gateway.read(call.gateway).ended());
    pair.response(part(call.gateway.to_bits(), COMPLETE, 0, b""));
    assert!(
        pair.gateway.read(call.gateway).end.is_none(),
        "a call has one end, whatever its peer sends"
    );
}

/// Proves: S6
#[test]
fn a_request_out_of_order_ends_its_call_and_an_id_in_use_the_tunnel() {
    let mut pair = Pair::new();
    let call = pair.opened();
    let id = call.gateway.to_bits();
    pair.call(RpcCall {
        request_id: id,
        flags: HALF_CLOSE,
        ..RpcCall::default()
    });
    pair.call(RpcCall {
        request_id: id,
        data: Bytes::from_static(b"x"),
        ..RpcCall::default()
    });
    let request = pair.instance.read(call.instance);
    assert_eq!(breach(request.fault()), &Breach::AfterEnd);

    let other = pair.opened();
    pair.call(RpcCall {
        request_id: other.gateway.to_bits(),
        flags: OPEN,
        method: "/a/b".into(),
        ..RpcCall::default()
    });
    let twice = TunnelError::DuplicateCall(other.gateway.to_bits());
    assert_eq!(
        pair.instance.closed,
        Some(twice),
        "which call is meant is not known any more"
    );
}

/// Proves: S7
#[test]
fn frames_and_fields_of_a_later_revision_are_ignored() {
    let mut pair = Pair::new();
    let call = pair.opened();
    let now = pair.time;
    // Field 9 of the outer message, length-delimited; an empty message; a number as field 200.
    for body in [&[0x4a, 2, 1, 2][..], &[], &[0xc0, 0x0c, 7]] {
        let mut bytes = vec![0, 0, 0, 0, body.len() as u8];
        bytes.extend_from_slice(body);
        pair.gateway.tunnel.handle_bytes(now, bytes.clone().into());
        pair.instance.tunnel.handle_bytes(now, bytes.into());
    }
    let mut hot = part(call.gateway.to_bits(), HEAD | COMPLETE | 1 << 20, 0, b"x").encode_to_vec();
    hot.extend_from_slice(&[0xc0, 0x0c, 7]);
    let mut outer = vec![0x22, hot.len() as u8];
    outer.extend_from_slice(&hot);
    let mut bytes = vec![0, 0, 0, 0, outer.len() as u8];
    bytes.extend_from_slice(&outer);
    pair.gateway.tunnel.handle_bytes(now, bytes.into());
    let answer = pair.gateway.read(call.gateway);
    assert!(
        answer.ended(),
        "unknown flags and fields of a call's frame too: {answer:?}"
    );
    assert_eq!(pair.instance.tunnel.phase(), Phase::Live);
}

/// Proves: S7
#[test]
fn no_common_revision_ends_the_handshake() {
    let mut pair = Pair::unregistered(Config::default(), Config::default());
    pair.gateway_reads(register_request::Frame::InstanceInfo(v1::InstanceInfo {
        revisions: Some(v1::Revisions { min: 2, max: 3 }),
        ..v1::InstanceInfo::default()
    }));
    pair.instance_reads(register_response::Frame::Ack(v1::RegistrationAck {
        revision: 2,
        ..v1::RegistrationAck::default()
    }));
    for closed in [&pair.gateway.closed, &pair.instance.closed] {
        assert!(
            matches!(closed, Some(TunnelError::Revision { .. })),
            "{closed:?}"
        );
    }
}

#[test]
fn a_registration_and_a_fault_in_one_read_do_not_trip_the_gateway() {
    let mut pair = Pair::unregistered(Config::default(), Config::default());
    let info = v1::RegisterRequest {
        frame: Some(register_request::Frame::InstanceInfo(v1::InstanceInfo {
            revisions: Some(v1::Revisions { min: 1, max: 1 }),
            ..v1::InstanceInfo::default()
        })),
    };
    let twice = [framed(&info), framed(&info)].concat();
    pair.gateway.tunnel.handle_bytes(pair.time, twice.into());
    assert_eq!(pair.gateway.tunnel.phase(), Phase::Closed);
    // The driver meets the registration first, and the end only after it.
    pair.gateway
        .tunnel
        .accept(pair.time, "g".into(), Vec::new());
    assert_eq!(pair.gateway.tunnel.phase(), Phase::Closed);
    pair.drive();
    let told = &pair.instance.closed;
    assert!(
        matches!(told, Some(TunnelError::Refused { reason, .. }) if reason == "protocol-error"),
        "all that it is told is why, and nothing of a registration: {told:?}"
    );
}

#[test]
fn a_refusal_after_the_head_is_no_licence_to_send_the_call_elsewhere() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.response(part(call.gateway.to_bits(), HEAD, 0, b""));
    pair.response(part(
        call.gateway.to_bits(),
        RESET | crate::pair::REFUSED,
        0,
        b"",
    ));
    let answer = pair.gateway.read(call.gateway);
    assert!(
        answer
            .fault()
            .is_some_and(|fault| !fault.never_dispatched()),
        "{answer:?}"
    );
}

#[test]
fn a_call_that_cannot_be_served_costs_its_gateway_one_breach_however_much_it_carries() {
    let mut pair = Pair::new();
    pair.call(RpcCall {
        request_id: 7 << 32,
        flags: OPEN,
        method: "no path".into(),
        ..RpcCall::default()
    });
    for seq in 0..100 {
        pair.call(RpcCall {
            request_id: 7 << 32,
            seq,
            data: Bytes::from_static(b"x"),
            ..RpcCall::default()
        });
    }
    assert_eq!(
        pair.instance.closed, None,
        "data that crossed the reset is late, not wrong"
    );
}

#[test]
fn credit_past_the_largest_window_ends_that_call() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.response(RpcResponse {
        request_id: call.gateway.to_bits(),
        window: u32::MAX,
        ..RpcResponse::default()
    });
    let answer = pair.gateway.read(call.gateway);
    assert!(matches!(breach(answer.fault()), Breach::WindowOverflow(_)));
    assert_eq!(pair.gateway.closed, None);
}

#[test]
fn a_peer_that_asks_and_never_reads_is_given_up() {
    let mut pair = Pair::with_both(&Config {
        tunnel_queue: 64 * 1024,
        ..Config::default()
    });
    pair.instance.link.room = 0;
    for n in 0..20_000u64 {
        pair.call(RpcCall {
            request_id: n << 32,
            flags: OPEN,
            ..RpcCall::default()
        });
        if pair.instance.closed.is_some() {
            break;
        }
    }
    assert!(
        pair.instance.closed.is_some(),
        "resets were queued without end"
    );
}
