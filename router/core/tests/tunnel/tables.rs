//! Whole tables, each pinned by one snapshot: the sending half of a call, and the phases of a tunnel.

use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::Config;
use grpcrouter_proto::v1::{
    self, register_request as to_gateway, register_response as to_instance,
};

use crate::pair::{Both, Pair, respond};

const STATES: [&str; 4] = ["Idle", "Open", "Ending", "Ended"];
const AT_GATEWAY: [&str; 4] = ["OPEN", "HALF_CLOSE", "RESET", "REFUSED"];
const AT_INSTANCE: [&str; 4] = ["HEAD", "COMPLETE", "RESET", "REFUSED"];

#[test]
fn the_sending_half_of_an_instance() {
    let commands = [
        "head",
        "data",
        "bulk",
        "end",
        "reset",
        "refuse",
        "deadline",
        "peer's reset",
    ];
    let mut table = String::from("state x command -> frames, whether flushed, whether over\n");
    for state in STATES {
        for command in commands {
            let mut pair = Pair::new();
            let call = answered(&mut pair, state);
            pair.forget_wires();
            let key = call.instance;
            match command {
                // Nothing but a bug of ours would do these two.
                "head" if state != "Idle" => continue,
                "data" | "bulk" if state == "Idle" => continue,
                "head" => pair.head(key, ""),
                "data" => pair.data(key, "x"),
                "bulk" => pair.data(key, vec![1; 20_000]),
                "end" => pair.complete(key),
                "reset" => pair.instance.tunnel.reset(key, 2),
                "refuse" => pair.instance.tunnel.refuse_call(key),
                "deadline" => pair.time = pair.time + Duration::from_secs(1),
                _ => pair.gateway.tunnel.reset(call.gateway, 8),
            }
            pair.gateway.link.room = if command == "peer's reset" { 1 } else { 0 };
            pair.drive();
            let frames: Vec<_> = pair
                .instance
                .link
                .calls()
                .map(|w| w.shown(AT_INSTANCE))
                .collect();
            let tunnel = &pair.instance.tunnel;
            let (flushed, over) = (tunnel.is_flushed(key), tunnel.is_over(key));
            table += &format!("{state} x {command} -> {frames:?} {flushed} {over}\n");
        }
    }
    insta::assert_snapshot!(table);
}

/// A call whose answer has come so far; its deadline is in a second.
fn answered(pair: &mut Pair, state: &str) -> Both {
    let gateway = pair.open_within(Duration::from_secs(1));
    pair.drive();
    let (instance, _) = pair.incoming();
    match state {
        "Idle" => {}
        "Open" => pair.head(instance, ""),
        // More than the window: the end waits for credit.
        "Ending" => respond(
            &mut pair.instance.tunnel,
            instance,
            true,
            vec![1; 100_000].into(),
            true,
        ),
        _ => pair.answer(instance, ""),
    }
    pair.drive();
    Both { gateway, instance }
}

#[test]
fn the_sending_half_of_a_gateway() {
    let commands = [
        "data",
        "bulk",
        "half close",
        "reset",
        "deadline",
        "peer's end",
        "peer's reset",
    ];
    let mut table = String::from("state x command -> frames, whether flushed, whether over\n");
    for state in &STATES[1..] {
        for command in commands {
            let mut pair = Pair::new();
            let key = pair.open_within(Duration::from_secs(1));
            match *state {
                "Open" => {}
                "Ending" => pair.send(key, vec![1; 100_000], true),
                _ => pair.send(key, "", true),
            }
            pair.drive();
            let (instance, _) = pair.incoming();
            pair.forget_wires();
            match command {
                "data" => pair.send(key, "x", false),
                "bulk" => pair.send(key, vec![1; 20_000], false),
                "half close" => pair.send(key, "", true),
                "reset" => pair.gateway.tunnel.reset(key, 8),
                "deadline" => pair.time = pair.time + Duration::from_secs(1),
                "peer's end" => pair.complete(instance),
                _ => pair.instance.tunnel.reset(instance, 2),
            }
            pair.instance.link.room = if command.starts_with("peer") { 1 } else { 0 };
            pair.drive();
            let frames: Vec<_> = pair
                .gateway
                .link
                .calls()
                .map(|w| w.shown(AT_GATEWAY))
                .collect();
            let tunnel = &pair.gateway.tunnel;
            let (flushed, over) = (tunnel.is_flushed(key), tunnel.is_over(key));
            table += &format!("{state} x {command} -> {frames:?} {flushed} {over}\n");
        }
    }
    insta::assert_snapshot!(table);
}

/// A pair in this phase, as both ends see it.
fn in_phase(phase: &str) -> Pair {
    let mut pair = Pair::unregistered(Config::default(), Config::default());
    pair.accepts = phase != "Registering";
    if phase != "Handshake" {
        pair.drive();
    }
    match phase {
        "Draining" => {
            pair.gateway.tunnel.drain("restart");
            pair.drive();
        }
        "Closed" => {
            pair.gateway.tunnel.handle_end(pair.time, "gone");
            pair.instance.tunnel.handle_end(pair.time, "gone");
            pair.drive();
        }
        _ => {}
    }
    pair
}

const PHASES: [&str; 5] = ["Handshake", "Registering", "Live", "Draining", "Closed"];

#[test]
fn the_phases_of_a_gateway() {
    use to_gateway::Frame;
    let info = v1::InstanceInfo {
        revisions: Some(v1::Revisions { min: 1, max: 1 }),
        ..v1::InstanceInfo::default()
    };
    let other = v1::InstanceInfo {
        revisions: Some(v1::Revisions { min: 2, max: 9 }),
        ..v1::InstanceInfo::default()
    };
    let narrow = v1::InstanceInfo {
        max_frame: 1_000,
        ..info.clone()
    };
    let frames = [
        ("instance_info", Frame::InstanceInfo(info)),
        (
            "instance_info of revisions 2 to 9",
            Frame::InstanceInfo(other),
        ),
        (
            "instance_info with a max_frame of 1000",
            Frame::InstanceInfo(narrow),
        ),
        ("heartbeat", Frame::Heartbeat(v1::Heartbeat::default())),
        (
            "unregister",
            Frame::Unregister(v1::UnregisterRequest::default()),
        ),
        (
            "rpc_response of no call",
            Frame::RpcResponse(v1::RpcResponse::default()),
        ),
    ];
    let mut table = String::from("phase x frame -> phase, own frames, or error\n");
    for phase in PHASES {
        for (name, frame) in &frames {
            let mut pair = in_phase(phase);
            pair.accepts = false;
            pair.forget_wires();
            pair.gateway.closed = None;
            pair.gateway_reads(frame.clone());
            pair.gateway.transmit(pair.time, pair.latency);
            let sent: Vec<_> = pair
                .gateway
                .link
                .wires
                .iter()
                .map(|wire| wire.what)
                .collect();
            let after = pair.gateway.tunnel.phase();
            let error = shown(pair.gateway.closed.as_ref());
            table += &format!("{phase} x {name} -> {after:?} {sent:?} {error}\n");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn the_phases_of_an_instance() {
    use to_instance::Frame;
    let ack = v1::RegistrationAck {
        revision: 1,
        ..v1::RegistrationAck::default()
    };
    let later = v1::RegistrationAck {
        revision: 2,
        ..ack.clone()
    };
    let wide = v1::RegistrationAck {
        call_window: 1 << 31,
        ..ack.clone()
    };
    let drain = |answer| v1::Drain {
        answer,
        reason: String::new(),
    };
    let error = v1::ErrorResponse {
        code: 6,
        reason: "superseded".into(),
        message: "a newer one is here".into(),
    };
    let frames = [
        ("ack", Frame::Ack(ack)),
        ("ack of revision 2", Frame::Ack(later)),
        ("ack with a call_window of 2 GiB", Frame::Ack(wide)),
        ("heartbeat", Frame::Heartbeat(v1::Heartbeat::default())),
        ("drain", Frame::Drain(drain(false))),
        ("drain as an answer", Frame::Drain(drain(true))),
        ("error", Frame::Error(error)),
        (
            "rpc_call of no call",
            Frame::RpcCall(v1::RpcCall::default()),
        ),
        (
            "rpc_call that opens",
            Frame::RpcCall(v1::RpcCall {
                request_id: 1 << 40,
                flags: crate::pair::OPEN,
                method: "/a/b".into(),
                data: Bytes::from_static(b"x"),
                ..v1::RpcCall::default()
            }),
        ),
    ];
    let mut table = String::from("phase x frame -> phase, calls, own frames, or error\n");
    for phase in PHASES.into_iter().filter(|phase| *phase != "Registering") {
        for (name, frame) in &frames {
            let mut pair = in_phase(phase);
            pair.instance.transmit(pair.time, pair.latency);
            pair.forget_wires();
            pair.instance.closed = None;
            pair.instance_reads(frame.clone());
            pair.instance.transmit(pair.time, pair.latency);
            let sent: Vec<_> = pair
                .instance
                .link
                .wires
                .iter()
                .map(|wire| wire.what)
                .collect();
            let (after, calls) = (
                pair.instance.tunnel.phase(),
                pair.instance.tunnel.open_calls(),
            );
            let error = shown(pair.instance.closed.as_ref());
            table += &format!("{phase} x {name} -> {after:?} {calls} {sent:?} {error}\n");
        }
    }
    insta::assert_snapshot!(table);
}

fn shown(error: Option<&grpcrouter_core::TunnelError>) -> String {
    error.map(ToString::to_string).unwrap_or_default()
}
