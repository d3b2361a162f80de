//! What may be under way on a call, and what a stalled one does to others.

use std::time::Duration;

use grpcrouter_sim::story::Direction::{Request, Response};
use grpcrouter_sim::story::Node::{Gateway, Instance};
use grpcrouter_sim::story::{Call, Direction, Fault, Kind, Settings, Story, between};

use super::{DEADLINE_EXCEEDED, HOP, KIB, MIB, RTT, SILENCE, UNAVAILABLE, failed, ms};

/// What the endpoints of the simulation hand over at a time.
const PIECE: u32 = 16 * KIB;

/// Each side sends on only when the handler, or the client, has what it sent before: whoever waits for a
/// second message, for the end, for a full frame or for a timer hangs here, or is late.
///
/// Proves: ZB-1
#[test]
fn a_thousand_rounds_in_lock_step_take_a_thousand_round_trips() {
    let mut sizes = [0, 1, 100, 4 * KIB, 5_000, PIECE - 5, 1, 0, 700, 3].repeat(100);
    sizes.push(MIB);
    // With its prefix of 5 bytes, a message goes in pieces of 16 KiB; 1 MiB is 65 of them.
    let pieces: u32 = sizes.iter().map(|size| (size + 5).div_ceil(PIECE)).sum();
    assert_eq!(pieces, 1_000 + 65);
    let mut story = Story::new(Settings::with_instances(2));
    let mut calls = Vec::new();
    // The second instance is an agent: there is one hop more, to its server.
    for (instance, hops) in [(0, 2), (1, 3)] {
        let kinds = [
            (Call::new(Kind::Unary).of(&[MIB]).answered(&[MIB]), 65 + 65),
            (Call::new(Kind::ClientStream).of(&sizes), pieces),
            (Call::new(Kind::ServerStream).answered(&sizes), pieces),
            (Call::new(Kind::Bidi).of(&sizes).echoed(), pieces * 2),
        ];
        for (call, rounds) in kinds {
            let call = story.call(call.to_instance(instance).in_lock_step());
            // A round is a message all the way, and the edge that waits for it looks every ms. The call's head,
            // its other message and its status are as many as four rounds.
            calls.push((call, (HOP * hops + ms(1)) * (rounds + 4)));
        }
    }
    story.run_for(ms(46) * (2 * pieces + 10));
    story.assert_ok(calls.iter().map(|(call, _)| call));
    for (call, most) in calls {
        let took = story.took(call).expect("it ended");
        assert!(took <= most, "call {call}: {took:?}, at most {most:?}");
        // Never more than one piece is under way.
        for direction in [Request, Response] {
            let most = story.most_under_way(call, direction);
            assert!(most <= u64::from(PIECE), "call {call}: {most} bytes");
        }
    }
    story.rest();
}

/// Proves: ZB-2, ZB-6
#[test]
fn a_reader_that_never_reads_stops_its_sender_at_the_bound_however_long_the_stream_is() {
    let mut story = Story::new(Settings::with_instances(2));
    // A call that begins before its client has read the gateway's settings has HTTP/2's own first window, which
    // is smaller: here all of them know it.
    story.call(Call::new(Kind::Unary));
    story.run_for(ms(20) + HOP * 8);
    let mut calls = Vec::new();
    for instance in [0, 1] {
        for messages in [64, 640] {
            // 1 MiB, and 10 MiB.
            let sizes = vec![16 * KIB; messages];
            let up = Call::new(Kind::ClientStream).of(&sizes);
            let down = Call::new(Kind::ServerStream).answered(&sizes);
            let up = up.handler_stalls(Duration::from_secs(60));
            let down = down.reader_stalls(Duration::from_secs(60));
            calls.push((story.call(up.to_instance(instance)), Request));
            calls.push((story.call(down.to_instance(instance)), Response));
        }
    }
    story.run_for(Duration::from_secs(5));
    let mut under_way = Vec::new();
    for (call, direction) in &calls {
        let (held, bound) = (story.under_way(*call, *direction), story.bound(*direction));
        assert_eq!(story.delivered(*call, *direction), 0, "call {call}");
        let stopped = 80 * 1024..=bound;
        assert!(stopped.contains(&held), "call {call}: {held} of {bound}");
        under_way.push(held);
    }
    for n in [0, 1, 4, 5] {
        let (short, long) = (under_way[n], under_way[n + 2]);
        let most = short + u64::from(PIECE);
        assert!(
            long <= most,
            "{long} bytes of ten times the stream, {short}"
        );
    }
    given_up(story, &calls);
}

/// Calls are given up: nothing more reaches their handlers after a hop to the gateway and one to the instance.
fn given_up(mut story: Story, calls: &[(u32, Direction)]) {
    for (call, _) in calls {
        story.cancel(*call);
    }
    story.run_for(HOP * 3);
    assert_eq!((story.handlers(), story.open_calls(0)), (0, 0));
    let delivered = |story: &Story| -> u64 {
        let each = calls
            .iter()
            .map(|(call, _)| story.delivered(*call, Request));
        each.sum()
    };
    let then = delivered(&story);
    story.run_for(Duration::from_secs(60));
    assert_eq!(delivered(&story), then);
    story.rest();
}

/// Proves: ZB-3, ZB-6
#[test]
fn a_stalled_sender_goes_on_by_what_its_reader_takes() {
    // The handler stalls for 4 s, and then pauses 1 s for every 16 KiB that it reads.
    let stall = Duration::from_secs(4);
    let settings = Settings::default();
    let (client_window, bound) = (u64::from(settings.client_window), 240 * 1024);
    let mut story = Story::new(settings);
    let call = Call::new(Kind::ClientStream).of(&[16 * KIB; 128]);
    let call = story.call(
        call.handler_stalls(stall)
            .handler_pauses(PIECE as usize, Duration::from_secs(1)),
    );
    // The windows are full in half a second: 80 KiB a round trip, twice.
    story.run_for(ms(500));
    let full = story.handed(call, Request);
    story.run_while("the sender has no window", stall - ms(600), |story| {
        story.handed(call, Request) == full && story.delivered(call, Request) == 0
    });
    let mut released = 0;
    while !story.is_whole(call, Request) {
        let (taken, handed) = (story.delivered(call, Request), story.handed(call, Request));
        let limit = Duration::from_secs(9);
        story.run_until("the reader takes something", limit, |story| {
            story.delivered(call, Request) > taken
        });
        // Credit goes back two hops, and what it releases is handed over at once; 50 ms to spare.
        story.run_for(RTT + ms(50));
        let k = story.delivered(call, Request) - taken;
        let now = story.handed(call, Request) - handed;
        let due = k.saturating_sub(bound)..=k + client_window;
        assert!(due.contains(&now), "{now} bytes for {k}");
        released += now;
    }
    let all = story.handed(call, Request);
    assert_eq!(released + full, all, "only what was read releases");
    assert_eq!(all, 128 * (16 * 1024 + 5));
    // It pauses for the last time, at most for as long as a window of 80 KiB makes it: 5 x 1 s.
    story.run_for(Duration::from_secs(5) + RTT);
    assert_eq!(story.under_way(call, Request), 0);
    assert!(story.is_ok(call), "{:?}", story.outcome(call));
    story.rest();
}

/// Proves: ZB-4, Z9
#[test]
fn calls_beside_stalled_ones_take_as_long_as_alone() {
    let alone = beside(0, &[]);
    let long = [16 * KIB; 64];
    let tiny = [5; 20_000];
    for (stalled, sizes) in [(1, &long[..]), (50, &long), (10, &tiny)] {
        let times = beside(stalled, sizes);
        for (n, (took, alone)) in times.iter().zip(&alone).enumerate() {
            // Hosts take turns in another order: two steps on each of four hops.
            let most = *alone + ms(2 * 5 * 4);
            let name = format!("{stalled} stalled, call {n}");
            assert!(*took <= most, "{name}: {took:?}, alone {alone:?}");
        }
    }
}

/// How long active calls take beside so many stalled ones, on one client connection and one tunnel. Half of
/// the stalled ones have a handler that does not read, half a client.
fn beside(stalled: u32, sizes: &[u32]) -> Vec<Duration> {
    let mut story = Story::named(format!("{stalled} stalled"), Settings::default());
    let ever = Duration::from_secs(600);
    let stalled: Vec<u32> = (0..stalled)
        .map(|n| {
            story.call(match n % 2 {
                0 => Call::new(Kind::Bidi).of(sizes).handler_stalls(ever),
                _ => Call::new(Kind::ServerStream)
                    .answered(sizes)
                    .reader_stalls(ever),
            })
        })
        .collect();
    story.run_for(Duration::from_secs(2));
    let many = [16 * KIB; 64];
    let mut active = vec![
        story.call(Call::new(Kind::Unary).of(&[MIB]).answered(&[MIB])),
        story.call(Call::new(Kind::ClientStream).of(&many)),
        story.call(Call::new(Kind::ServerStream).answered(&many)),
        story.call(Call::new(Kind::Bidi).of(&many).echoed()),
    ];
    active.extend((0..20).map(|_| story.call(Call::new(Kind::Unary))));
    story.run_for(Duration::from_secs(5));
    for call in &active {
        assert!(story.is_ok(*call), "{:?}", story.outcome(*call));
    }
    for call in &stalled {
        assert_eq!(story.outcome(*call), None, "it is stalled");
        story.cancel(*call);
    }
    let times = active
        .iter()
        .map(|call| story.took(*call).expect("it ended"));
    let times = times.collect();
    story.rest();
    times
}

/// Proves: ZB-6
#[test]
fn a_reader_that_resumes_gets_every_byte() {
    let mut story = Story::new(Settings::with_instances(2));
    let sizes = [16 * KIB; 64];
    let stall = Duration::from_secs(2);
    let calls: Vec<u32> = [0, 1]
        .into_iter()
        .flat_map(|instance| {
            let up = Call::new(Kind::ClientStream)
                .of(&sizes)
                .handler_stalls(stall);
            let down = Call::new(Kind::ServerStream)
                .answered(&sizes)
                .reader_stalls(stall);
            [up, down].map(|call| story.call(call.to_instance(instance)))
        })
        .collect();
    story.run_for(stall);
    // 1 MiB at 80 KiB a round trip, or at an agent at 16 KiB from there to its server: 64 x 30 ms.
    story.run_for(Duration::from_secs(3));
    for call in calls {
        assert!(story.is_ok(call), "{:?}", story.outcome(call));
        let both = [Request, Response];
        assert!(
            both.iter()
                .all(|way: &Direction| story.is_whole(call, *way))
        );
        assert_eq!(both.map(|way| story.under_way(call, way)), [0, 0]);
    }
    story.rest();
}

/// Proves: R10, R15, ZB-8
#[test]
fn a_call_to_an_instance_that_is_cut_off_is_kept_within_its_windows_and_then_fails() {
    let mut story = Story::new(Settings::with_instances(2));
    let cut = Fault::Part(between(Gateway(0), Instance(0)));
    story.begin(cut);
    // The gateway knows it 1,000 ms after it has heard from the instance last. Until then it keeps a head, and
    // what the client's window and its own credit let in.
    let bulk = Call::new(Kind::ClientStream)
        .of(&[16 * KIB; 64])
        .to_instance(0);
    let hurried = [(); 25].map(|()| story.call(bulk.clone().timeout(ms(400))));
    let patient = [(); 25].map(|()| story.call(bulk.clone()));
    story.run_for(ms(300));
    assert_eq!(story.open_calls(0), 50);
    for call in hurried.iter().chain(&patient) {
        let (held, bound) = (story.under_way(*call, Request), story.bound(Request));
        assert!(held <= bound, "{held} bytes, bound {bound}");
    }
    story.run_for(SILENCE - ms(300) + HOP);
    for call in &hurried {
        assert_eq!(story.failure(*call), failed(DEADLINE_EXCEEDED, "deadline"));
        // To the gateway and back; it was asked after that part of the time had gone.
        let took = story.took(*call).expect("it ended");
        assert!(took >= ms(400) && took <= ms(400) + RTT, "{took:?}");
    }
    for call in &patient {
        assert_eq!(story.failure(*call), failed(UNAVAILABLE, "instance-lost"));
    }
    assert_eq!(story.open_calls(0), 0);
    // From now on there is no such instance, and a call is told so at once.
    let late = story.call(bulk);
    story.run_for(ms(20) + RTT);
    assert_eq!(story.failure(late), failed(UNAVAILABLE, "no-instance"));
    story.end(cut);
    story.run_for(Duration::from_secs(60));
    for call in hurried.into_iter().chain(patient).chain([late]) {
        assert_eq!(story.runs(call), 0, "its handler never ran");
    }
    story.rest();
}
