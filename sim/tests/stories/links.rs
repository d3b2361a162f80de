//! Links that flap, jitter and crawl.

use std::time::Duration;

use grpcrouter_sim::story::Direction::{Request, Response};
use grpcrouter_sim::story::Node::{Client, Gateway, Instance};
use grpcrouter_sim::story::{Call, Fault, Kind, Node, Settings, Story, between};

use super::{KIB, UNAVAILABLE, failed, ms};

/// Proves: T14
#[test]
fn a_link_that_flaps_a_hundred_times_leaves_nothing_behind() {
    let links = [(Gateway(0), Instance(0)), (Client(0), Gateway(0))];
    for (a, b) in links {
        for fault in [Fault::Part(between(a, b)), Fault::Hold(between(a, b))] {
            flap(fault);
        }
    }
}

/// Silence is noticed after 2 x 100 ms. A link is away for 250 ms, and back for 250 ms, in which a client or
/// an instance is there again: it waits 100 ms at the most before it dials for the first time.
fn flap(fault: Fault) {
    let settings = Settings {
        heartbeat: ms(100),
        ..Settings::default()
    };
    let name = format!("{fault:?}");
    let mut story = Story::named(&name, settings);
    let talk = || {
        Call::new(Kind::Bidi)
            .of(&[1_000; 10])
            .echoed()
            .every(ms(10))
    };
    // What there is with one connection of the client and one tunnel, and no call.
    let warm = story.call(talk());
    story.run_for(Duration::from_secs(1));
    assert!(story.is_ok(warm));
    let base = open(&story);
    let mut calls = Vec::new();
    for _ in 0..100 {
        calls.push(story.call(talk()));
        story.run_for(ms(50));
        story.begin(fault);
        calls.push(story.call(talk()));
        story.run_for(ms(250));
        story.end(fault);
        story.run_for(ms(200));
    }
    let hurt = calls.iter().filter(|call| !story.is_ok(**call)).count();
    assert!(hurt > 50, "{name}: it was felt: {hurt} of 200 calls failed");
    let last = story.call(talk());
    story.run_for(Duration::from_secs(2));
    assert!(story.is_ok(last), "{name}: {:?}", story.outcome(last));
    assert_eq!(
        open(&story),
        base,
        "{name}: ends of connections, tasks, calls, tunnels"
    );
    story.rest();
}

/// Ends of connections, tasks at the gateway and at the instance, calls, tunnels.
fn open(story: &Story) -> [usize; 6] {
    [
        story.sockets(),
        story.tasks(Gateway(0)),
        story.tasks(Instance(0)),
        story.open_calls(0),
        story.tunnels(0),
        story.handlers(),
    ]
}

/// Proves: T15
#[test]
fn jitter_reorders_calls_and_never_what_is_in_one() {
    // A message takes 1 to 500 ms for each link, and what is sent after it may be there before it.
    let settings = Settings {
        instances: 3,
        clients: 2,
        latency: ms(1),
        jitter: ms(499),
        heartbeat: Duration::from_secs(2),
        ..Settings::default()
    };
    let mut story = Story::new(settings);
    let many = [50; 10_000];
    let long: Vec<u32> = (0..3)
        .flat_map(|instance| {
            let kinds = [
                Call::new(Kind::ClientStream).of(&many),
                Call::new(Kind::ServerStream).answered(&many),
                Call::new(Kind::Bidi).of(&many).echoed(),
            ];
            kinds.map(|call| call.to_instance(instance).by_client(instance % 2))
        })
        .map(|call| story.call(call))
        .collect();
    let small: Vec<u32> = (0..60)
        .map(|n| story.call(Call::new(Kind::Unary).by_client(n % 2)))
        .collect();
    // 550 KB at 80 KiB a round trip of 2 s at the most, over two links: 7 x 4 s, there and back.
    story.run_for(Duration::from_secs(60));
    // The ledger has looked at every byte of them.
    story.assert_ok(long.iter().chain(&small));
    for call in long.iter().chain(&small) {
        let whole = [Request, Response].map(|way| story.is_whole(*call, way));
        assert_eq!(whole, [true; 2], "call {call}");
    }
    let ends: Vec<_> = small.iter().map(|call| story.ended(*call)).collect();
    let overtaken = ends.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(overtaken > 0, "calls overtake each other: {ends:?}");
    let tunnels = story.registrations(0) + story.registrations(2);
    assert_eq!(tunnels, 2, "no tunnel was lost");
    story.rest();
}

/// The least progress that a link must make: a frame of HTTP/2, which is 16 KiB at the most, within a
/// heartbeat interval. Bytes of a frame that is not whole yet are no sign of life.
const EVERY: Duration = ms(10);

/// Proves: T16
#[test]
fn a_link_that_crawls_is_alive_while_whole_frames_pass_in_time() {
    for (a, b) in [(Gateway(0), Instance(0)), (Client(0), Gateway(0))] {
        let mut story = crawling(a, b);
        // 300 bytes take 3 s each way at one byte in 10 ms, and heads, prefixes and heartbeats less than
        // another second. Pings wait for them, and are answered within their interval of 5 s.
        let call = story.call(Call::new(Kind::Unary).of(&[300]).answered(&[300]));
        story.run_for(Duration::from_secs(2));
        assert_eq!(story.delivered(call, Response), 0, "it takes its time");
        story.run_until("the call is over", Duration::from_secs(18), |story| {
            story.outcome(call).is_some()
        });
        assert!(story.is_ok(call), "{a} {b}: {:?}", story.outcome(call));
        let took = story.took(call).expect("it ended");
        assert!(took > Duration::from_secs(6), "{a} {b}: {took:?}");
        assert_eq!(story.registrations(0), 1, "{a} {b}: nobody gave up");
        story.rest();
    }
}

/// Proves: T16
#[test]
fn a_link_that_crawls_for_a_while_in_the_middle_of_a_frame_loses_nothing() {
    for (a, b) in [(Gateway(0), Instance(0)), (Client(0), Gateway(0))] {
        let mut story = crawling(a, b);
        story.end(Fault::Crawl(between(a, b), EVERY));
        let call = Call::new(Kind::Bidi).of(&[16 * KIB; 256]).echoed();
        let call = story.call(call);
        story.run_for(ms(200));
        // 4 s are 400 bytes of frames of 16 KiB.
        let crawl = Fault::Crawl(between(a, b), EVERY);
        story.begin(crawl);
        story.run_for(ms(100));
        let before = story.delivered(call, Response);
        story.run_for(ms(3_900));
        // A frame that was almost there, and what was past the link already.
        let moved = story.delivered(call, Response) - before;
        assert!(moved <= 64 * 1024, "{a} {b}: {moved} bytes");
        assert_eq!(story.outcome(call), None, "{a} {b}");
        story.end(crawl);
        story.run_for(Duration::from_secs(3));
        assert!(story.is_ok(call), "{a} {b}: {:?}", story.outcome(call));
        assert_eq!(story.registrations(0), 1, "{a} {b}: nobody gave up");
        story.rest();
    }
}

/// Proves: T16
#[test]
fn a_link_that_crawls_below_the_least_progress_is_closed() {
    let links = [
        (Gateway(0), Instance(0), "instance-lost"),
        (Client(0), Gateway(0), ""),
    ];
    for (a, b, reason) in links {
        let mut story = crawling(a, b);
        // A frame of 16 KiB takes 164 s. Nothing is whole before: who has heard nothing for 2 x 5 s goes.
        let call = Call::new(Kind::ClientStream).of(&[16 * KIB; 4]);
        let call = story.call(call);
        story.run_for(Duration::from_secs(5));
        assert_eq!(story.outcome(call), None, "{a} {b}: not at once");
        story.run_for(Duration::from_secs(6));
        assert_eq!(story.failure(call), failed(UNAVAILABLE, reason), "{a} {b}");
        assert_eq!(story.open_calls(0), 0, "{a} {b}");
        story.rest();
    }
}

/// A world with a heartbeat of 5 s, in which a link carries one byte each way in 10 ms: 100 bytes a second.
/// The client is connected.
fn crawling(a: Node, b: Node) -> Story {
    let settings = Settings {
        heartbeat: Duration::from_secs(5),
        ..Settings::default()
    };
    let mut story = Story::named(format!("{a} {b}"), settings);
    let warm = story.call(Call::new(Kind::Unary));
    story.run_for(Duration::from_secs(1));
    assert!(story.is_ok(warm));
    story.begin(Fault::Crawl(between(a, b), EVERY));
    story
}
