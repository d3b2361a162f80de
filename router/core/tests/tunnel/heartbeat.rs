//! Heartbeats: a silent peer is given up, a busy one never.

use std::time::Duration;

use grpcrouter_core::tunnel::{GatewayEvent, Phase};
use grpcrouter_core::{CallFault, Config, TunnelError};
use grpcrouter_proto::v1::{
    HealthStatus, Heartbeat, RegisterRequest, ServiceInfo, register_request,
};

use crate::pair::{Pair, framed};

const INTERVAL: Duration = Duration::from_secs(5);

/// Proves: T5
#[test]
fn both_sides_detect_a_silent_link_within_two_intervals() {
    let mut pair = Pair::new();
    pair.drive_for(Duration::from_secs(33));
    let call = pair.opened();
    let cut_at = pair.time;
    pair.gateway.link.cut = true;
    pair.instance.link.cut = true;
    pair.drive_until(cut_at + INTERVAL);
    assert_eq!(pair.gateway.closed, None, "one interval is no proof");
    pair.drive_until(cut_at + INTERVAL * 2 + pair.latency * 2);
    for closed in [&pair.gateway.closed, &pair.instance.closed] {
        assert!(matches!(closed, Some(TunnelError::Silent(_))), "{closed:?}");
    }
    let answer = pair.gateway.read(call.gateway);
    assert_eq!(answer.fault(), Some(&CallFault::Lost { sent: true }));
    let request = pair.instance.read(call.instance);
    assert_eq!(
        request.fault(),
        Some(&CallFault::Lost { sent: true }),
        "its handler is told"
    );
}

/// Proves: T5
#[test]
fn a_link_that_is_silent_one_way_is_given_up_by_who_hears_nothing() {
    let mut pair = Pair::new();
    pair.instance.link.cut = true;
    pair.drive_for(INTERVAL * 2 + pair.latency * 2);
    assert!(matches!(pair.gateway.closed, Some(TunnelError::Silent(_))));
    let told = &pair.instance.closed;
    assert!(
        matches!(told, Some(TunnelError::Refused { reason, .. }) if reason == "heartbeat-lost"),
        "the gateway's frames still came, its last one too: {told:?}"
    );
}

/// Proves: T5
#[test]
fn a_busy_tunnel_is_never_declared_dead() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.head(call.instance, "");
    pair.drive();
    // A slow line: a heartbeat never comes through, but something always does.
    for _ in 0..40 {
        pair.instance.link.held = true;
        pair.data(call.instance, "x");
        pair.drive_for(INTERVAL);
        pair.instance.link.held = false;
        pair.drive();
    }
    assert_eq!(pair.gateway.closed, None);
    assert_eq!(pair.instance.closed, None);
}

/// Proves: T5
#[test]
fn a_saturated_tunnel_passes_heartbeats() {
    let mut pair = Pair::new();
    let calls: Vec<_> = (0..50).map(|_| pair.opened()).collect();
    pair.instance.link.room = 0;
    for call in &calls {
        pair.head(call.instance, vec![1; 10 << 20]);
    }
    pair.forget_wires();
    // The line takes 40 KiB a second, an endless backlog behind it.
    for _ in 0..60 {
        pair.instance.link.room = 40 * 1024;
        pair.drive_for(Duration::from_secs(1));
        for call in &calls {
            pair.gateway.read(call.gateway);
        }
    }
    assert_eq!(pair.gateway.closed, None);
    let wires = &pair.instance.link.wires;
    let beats = wires.iter().filter(|wire| wire.what == "heartbeat").count();
    assert!(beats >= 11, "one each 5 s for a minute: {beats}");
    let data: usize = wires.iter().map(|wire| wire.data).sum();
    assert!(data > 1 << 20, "and the tunnel was saturated: {data}");
}

#[test]
fn an_idle_tunnel_lives_on_heartbeats_alone_and_knows_its_round_trip() {
    let mut pair = Pair::new();
    pair.latency = Duration::from_millis(20);
    pair.drive_for(Duration::from_secs(3_600));
    assert_eq!(pair.gateway.tunnel.phase(), Phase::Live);
    assert_eq!(pair.gateway.tunnel.rtt(pair.time), Some(pair.latency * 2));
    assert_eq!(pair.instance.tunnel.rtt(pair.time), Some(pair.latency * 2));
    for link in [&pair.gateway.link, &pair.instance.link] {
        let frames = link.wires.len();
        // The gateway's beats and the instance's answers, and twice a minute the other way about.
        assert!((720..=720 + 120).contains(&frames), "{frames} in an hour");
    }
}

#[test]
fn an_instance_whose_gateway_does_not_ask_asks_itself() {
    let mut pair = Pair::new();
    pair.drive_for(INTERVAL * 3);
    // The gateway's frames are held back, then come: no question is left out for longer than half an interval more.
    pair.gateway.link.held = true;
    pair.forget_wires();
    pair.drive_for(INTERVAL * 3 / 2);
    let wires = &pair.instance.link.wires;
    assert!(wires.iter().any(|wire| wire.what == "heartbeat"));
    pair.gateway.link.held = false;
    pair.drive_for(INTERVAL);
    assert_eq!(pair.instance.closed, None);
}

#[test]
fn the_gateway_decides_the_interval() {
    let mut pair = Pair::with(
        Config {
            heartbeat_interval: Duration::from_secs(1),
            ..Config::default()
        },
        Config::default(),
    );
    pair.gateway.link.cut = true;
    pair.drive_for(Duration::from_millis(2_010));
    assert!(matches!(pair.instance.closed, Some(TunnelError::Silent(_))));
}

#[test]
fn a_handshake_that_nobody_answers_ends() {
    let mut pair = Pair::unregistered(Config::default(), Config::default());
    pair.accepts = false;
    pair.drive_for(Duration::from_secs(10));
    for closed in [&pair.gateway.closed, &pair.instance.closed] {
        assert_eq!(closed, &Some(TunnelError::HandshakeTimeout(10_000)));
    }
}

#[test]
fn a_tunnel_that_ended_has_nothing_to_send_and_no_timer() {
    let mut pair = Pair::new();
    pair.gateway.link.room = 0;
    let call = pair.open("", false);
    pair.drive_for(INTERVAL);
    pair.gateway.tunnel.handle_end(pair.time, "reset by peer");
    assert!(
        !pair.gateway.tunnel.has_transmit(),
        "not the beat that was due"
    );
    assert_eq!(pair.gateway.tunnel.poll_timeout(), None);
    assert!(pair.gateway.read(call).fault().is_some());
}

#[test]
fn a_flood_of_health_is_one_event_with_the_last_word_on_each_service() {
    let mut pair = Pair::new();
    let report = |name: &str, health: HealthStatus| ServiceInfo {
        name: name.into(),
        health: health.into(),
    };
    let (ill, well) = (HealthStatus::Unhealthy, HealthStatus::Healthy);
    let mut bytes = Vec::new();
    for n in 0..1_000 {
        let health = if n % 2 == 0 { ill } else { well };
        let heartbeat = Heartbeat {
            services: vec![report("s.B", health), report("s.A", ill)],
            ..Heartbeat::default()
        };
        let frame = Some(register_request::Frame::Heartbeat(heartbeat));
        bytes.extend_from_slice(&framed(&RegisterRequest { frame }));
    }
    pair.gateway
        .tunnel
        .handle_bytes(pair.time, bytes.clone().into());
    pair.gateway.step(pair.time);
    pair.gateway.tunnel.handle_bytes(pair.time, bytes.into());
    pair.gateway.step(pair.time);
    assert_eq!(
        pair.gateway.roles.len(),
        2,
        "one for each time it was asked"
    );
    let last = [report("s.A", ill), report("s.B", well)];
    for event in &pair.gateway.roles {
        assert!(matches!(event, GatewayEvent::Health(services) if *services == last));
    }
}
