//! What a tunnel counts of itself.

use std::time::Duration;

use grpcrouter_core::tunnel::RTT_BOUNDS;

use crate::pair::Pair;

const WINDOW: usize = 80 * 1024;

#[test]
fn a_call_without_credit_counts_as_stalled_for_as_long_as_it_is() {
    let mut pair = Pair::new();
    let stalled = |pair: &mut Pair| {
        pair.gateway.tunnel.advance(pair.time);
        let meters = pair.gateway.tunnel.meters();
        (meters.stalled, meters.stalled_for.as_secs())
    };
    let calls = [pair.opened(), pair.opened()];
    for call in &calls {
        pair.send(call.gateway, vec![7; WINDOW + 1], false);
    }
    pair.drive();
    assert_eq!(stalled(&mut pair), (2, 0));
    pair.drive_for(Duration::from_secs(10));
    assert_eq!(stalled(&mut pair), (2, 20), "both at the same time");

    pair.instance.take(calls[0].instance, WINDOW);
    pair.drive();
    assert_eq!(stalled(&mut pair).0, 1, "it got credit");
    pair.gateway.tunnel.release(calls[1].gateway);
    assert_eq!(
        stalled(&mut pair).0,
        0,
        "a call that is over waits for nothing"
    );
    let so_far = stalled(&mut pair);
    pair.drive_for(Duration::from_secs(10));
    assert_eq!(stalled(&mut pair), so_far);
}

#[test]
fn data_that_waits_for_its_turn_alone_is_queued_and_not_stalled() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.drive();
    pair.gateway.link.room = 0;
    pair.send(call.gateway, vec![7; 10_000], false);
    pair.drive();
    assert_eq!(pair.gateway.tunnel.meters().stalled, 0);
    assert_eq!(pair.gateway.tunnel.waiting_bytes(), (10_000, 0));
    pair.gateway.link.room = usize::MAX;
    pair.drive();
    assert_eq!(pair.gateway.tunnel.waiting_bytes(), (0, 0));
    assert_eq!(pair.instance.tunnel.waiting_bytes(), (0, 10_000));
}

#[test]
fn what_one_end_sends_the_other_receives() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.send(call.gateway, vec![7; 10_000], true);
    pair.head(call.instance, vec![8; 20_000]);
    pair.drive_for(Duration::from_secs(60));
    let (gateway, instance) = (pair.gateway.tunnel.meters(), pair.instance.tunnel.meters());
    assert_eq!(gateway.sent, instance.received);
    assert_eq!(instance.sent, gateway.received);
    assert!(gateway.sent > 10_000 && instance.sent > 20_000);
}

#[test]
fn round_trips_of_heartbeats_are_counted_in_ranges() {
    let mut pair = Pair::new();
    pair.latency = Duration::from_millis(4);
    pair.drive_for(Duration::from_secs(61));
    let rtts = &pair.gateway.tunnel.meters().rtts;
    let range = RTT_BOUNDS
        .iter()
        .position(|it| *it == Duration::from_millis(10));
    let counted = rtts.ranges[range.expect("a bound")];
    assert!(
        (10..=13).contains(&counted),
        "one each five seconds: {rtts:?}"
    );
    assert_eq!(rtts.count, rtts.ranges.iter().sum::<u64>());
    assert!(rtts.sum >= Duration::from_millis(8) * u32::try_from(counted).expect("few"));
}
