//! The hand-over of descriptors: announced, asked for once, in chunks that hold nothing up.

use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::descriptors::Announced;
use grpcrouter_core::error::HandoverError;
use grpcrouter_core::tunnel::{GatewayEvent, InstanceEvent, Phase};
use grpcrouter_core::{Config, TunnelError};
use grpcrouter_proto::v1::{
    DescriptorChunk, DescriptorRequest, DescriptorSetInfo, register_request, register_response,
};

use crate::pair::Pair;

fn set(len: usize) -> Bytes {
    (0..len).map(|i| (i % 249) as u8).collect()
}

/// Registered, by an instance that announced a set.
fn announcing(announced: &Announced) -> Pair {
    let mut pair = Pair::announcing(Config::default(), (*announced).into());
    pair.drive();
    assert_eq!(pair.gateway.tunnel.phase(), Phase::Live, "registered");
    pair
}

fn asked(pair: &mut Pair) -> bool {
    let time = pair.time;
    pair.gateway.tunnel.request_descriptors(time)
}

/// How often the instance was told to hand its set over.
fn wanted(pair: &Pair) -> usize {
    let is = |event: &&InstanceEvent| matches!(event, InstanceEvent::DescriptorsWanted);
    pair.instance.roles.iter().filter(is).count()
}

/// What came of the hand-over, oldest first.
fn outcomes(pair: &Pair) -> Vec<Result<Bytes, HandoverError>> {
    let events = pair.gateway.roles.iter();
    let outcomes = events.filter_map(|event| match event {
        GatewayEvent::Descriptors(outcome) => Some(outcome.clone()),
        _ => None,
    });
    outcomes.collect()
}

fn chunk(offset: u32, data: impl Into<Bytes>) -> register_request::Frame {
    register_request::Frame::DescriptorChunk(DescriptorChunk {
        offset,
        data: data.into(),
    })
}

#[test]
fn an_announced_set_is_handed_over_once_when_it_is_asked_for() {
    let set = set(100_000);
    let announced = Announced::of(&set).expect("not empty");
    let mut pair = announcing(&announced);
    assert_eq!(pair.gateway.tunnel.announced_descriptors(), Some(announced));
    pair.drive_for(Duration::from_secs(20));
    assert_eq!(wanted(&pair), 0, "nothing is sent that was not asked for");
    assert!(asked(&mut pair));
    pair.drive();
    assert_eq!(wanted(&pair), 1);
    pair.instance.tunnel.send_descriptors(set.clone());
    pair.drive();
    assert_eq!(outcomes(&pair), [Ok(set)]);
    let chunks = pair.instance.link.wires.iter();
    let chunks: Vec<_> = chunks.filter(|w| w.what == "descriptor_chunk").collect();
    assert_eq!(chunks.len(), 7, "16 KiB each");
    assert!(chunks.iter().all(|chunk| chunk.data <= 16 * 1024));
    assert!(!asked(&mut pair), "once a tunnel");
    pair.drive_for(Duration::from_secs(100));
    assert_eq!(outcomes(&pair).len(), 1);
    assert_eq!(pair.gateway.closed, None);
}

#[test]
fn who_announces_nothing_is_never_asked() {
    let mut pair = Pair::new();
    assert_eq!(pair.gateway.tunnel.announced_descriptors(), None);
    assert!(!asked(&mut pair));
    pair.drive();
    assert_eq!(wanted(&pair), 0);
}

#[test]
fn a_second_request_is_ignored() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        let request = DescriptorRequest {};
        pair.instance_reads(register_response::Frame::DescriptorRequest(request));
    }
    assert_eq!(wanted(&pair), 1);
    assert_eq!(pair.instance.closed, None);
}

#[test]
fn chunks_hold_up_neither_heartbeats_nor_calls() {
    let set = set(4 << 20);
    let mut pair = announcing(&Announced::of(&set).expect("not empty"));
    let (bulk, small) = (pair.opened(), pair.opened());
    asked(&mut pair);
    pair.drive();
    pair.forget_wires();
    pair.instance.link.room = 0;
    pair.instance.tunnel.send_descriptors(set.clone());
    pair.head(bulk.instance, vec![1; 4 << 20]);
    // The line takes 40 KiB a second, and 8 MiB wait for it.
    for round in 0..40 {
        if round == 20 {
            pair.answer(small.instance, "small");
        }
        pair.instance.link.room = 40 * 1024;
        pair.drive_for(Duration::from_secs(1));
        pair.gateway.read(bulk.gateway);
        if round == 21 {
            assert!(pair.gateway.read(small.gateway).ended(), "it went before");
        }
    }
    let wires = &pair.instance.link.wires;
    let sent = |what| wires.iter().filter(|wire| wire.what == what).count();
    assert!(sent("heartbeat") >= 7, "one each 5 s");
    let bytes = |what| -> usize {
        let own = wires.iter().filter(|wire| wire.what == what);
        own.map(|wire| wire.data).sum()
    };
    let (chunks, calls) = (bytes("descriptor_chunk"), bytes("call"));
    assert!(chunks > 256 * 1024, "they take turns: {chunks}");
    assert!(
        calls > chunks,
        "bulk data of calls has the larger share: {calls} to {chunks}"
    );
    assert!(
        wires.iter().all(|wire| wire.batch < 64 * 1024),
        "one chunk a batch"
    );
    assert_eq!(pair.gateway.closed, None);
}

#[test]
fn a_set_with_another_hash_costs_reflection_and_not_the_tunnel() {
    let set = set(20_000);
    let mut pair = announcing(&Announced::of(&set).expect("not empty"));
    let call = pair.opened();
    asked(&mut pair);
    pair.drive();
    pair.instance
        .tunnel
        .send_descriptors(vec![0; set.len()].into());
    pair.drive();
    assert_eq!(outcomes(&pair), [Err(HandoverError::HashMismatch)]);
    assert!(!asked(&mut pair), "not again on this tunnel");
    pair.answer(call.instance, "fine");
    pair.drive();
    assert!(pair.gateway.read(call.gateway).ended());
}

#[test]
fn a_set_that_is_late_is_given_up_and_what_still_comes_is_ignored() {
    let config = Config {
        descriptors_timeout: Duration::from_secs(30),
        ..Config::default()
    };
    let set = set(20_000);
    let announced = Announced::of(&set).expect("not empty");
    let mut pair = Pair::announcing(config, announced.into());
    pair.drive();
    asked(&mut pair);
    pair.drive_for(Duration::from_secs(29));
    pair.gateway_reads(chunk(0, set.slice(..10_000)));
    assert_eq!(outcomes(&pair), []);
    pair.drive_for(Duration::from_secs(2));
    assert_eq!(outcomes(&pair), [Err(HandoverError::Late(30_000))]);
    pair.gateway_reads(chunk(10_000, set.slice(10_000..)));
    pair.gateway_reads(chunk(7, "whatever"));
    pair.drive_for(Duration::from_secs(100));
    assert_eq!(outcomes(&pair).len(), 1);
    assert_eq!(pair.gateway.closed, None);
}

#[test]
fn a_chunk_that_no_honest_peer_sends_ends_the_tunnel() {
    let set = set(1_000);
    let end = |chunks: &[(u32, usize)], asks: bool| {
        let mut pair = announcing(&Announced::of(&set).expect("not empty"));
        if asks {
            asked(&mut pair);
        }
        for (offset, len) in chunks {
            pair.gateway_reads(chunk(*offset, vec![0; *len]));
        }
        match pair.gateway.closed {
            Some(TunnelError::Descriptors(what)) => what,
            other => panic!("the tunnel goes on: {other:?}"),
        }
    };
    assert!(end(&[(0, 10)], false).contains("not asked for"));
    assert!(end(&[(10, 10)], true).contains("begin where"), "a gap");
    assert!(
        end(&[(0, 10), (0, 10)], true).contains("begin where"),
        "a repeat"
    );
    assert!(end(&[(0, 0)], true).contains("empty"));
    assert!(end(&[(0, 1_001)], true).contains("beyond"));
    assert!(end(&[(0, 900), (900, 200)], true).contains("beyond"));
    assert!(
        end(&[(0, 1_000), (1_000, 1)], true).contains("beyond"),
        "after the end"
    );
}

#[test]
fn an_announcement_out_of_range_is_a_bad_registration() {
    for (sha256, size, field) in [(31, 1, "sha256"), (0, 1, "sha256"), (32, 0, "size")] {
        let sha256 = vec![0; sha256].into();
        let mut pair = Pair::announcing(Config::default(), DescriptorSetInfo { sha256, size });
        pair.drive();
        let closed = pair.gateway.closed.expect("refused");
        let TunnelError::BadRegistration(what) = &closed else {
            panic!("{closed:?}");
        };
        assert!(what.contains(field), "{what}");
    }
}

#[test]
fn an_announcement_alone_takes_no_memory_and_a_lost_tunnel_gives_it_back() {
    let info = DescriptorSetInfo {
        sha256: vec![1; 32].into(),
        size: u32::MAX,
    };
    let mut pair = Pair::announcing(Config::default(), info);
    pair.drive();
    assert!(asked(&mut pair));
    pair.gateway_reads(chunk(0, "abc"));
    pair.gateway.tunnel.handle_end(pair.time, "reset by peer");
    pair.gateway.step(pair.time);
    assert_eq!(pair.gateway.tunnel.poll_timeout(), None);
    assert_eq!(outcomes(&pair), [], "its end was told already");
}
