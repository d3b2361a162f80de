//! All four kinds of calls, while one link is held or cut: each link, each way and both.

use std::time::Duration;

use grpcrouter_sim::story::Direction::{Request, Response};
use grpcrouter_sim::story::Node::{Client, Gateway, Instance};
use grpcrouter_sim::story::{Call, Fault, Kind, Line, Node, Settings, Story, between, one_way};

use super::{HOP, KIB, MIB, RTT, SILENCE, UNAVAILABLE, failed, ms};

/// A fault of a link, and what must come of it.
#[derive(Debug, Clone, Copy)]
enum What {
    /// Held for 400 ms, which is less than any heartbeat limit: nobody notices.
    HeldBriefly,
    /// Held for 3 s, then all of it is delivered.
    HeldLong,
    /// What is sent in 3 s is lost.
    Cut,
}

/// A link, and calls that go over it and beside it.
struct Path {
    /// Its end that is nearer to the client, and the other one.
    link: (Node, Node),
    /// Client and instance of the calls over it.
    over: (usize, usize),
    /// Client and instance of the call beside it.
    beside: (usize, usize),
    /// What the gateway says of a call whose other end is lost; nothing where the client notices itself.
    reason: &'static str,
}

/// Proves: T11, T13, ZB-6, ZB-7
#[test]
fn between_a_client_and_its_gateway() {
    all(&Path {
        link: (Client(0), Gateway(0)),
        over: (0, 0),
        beside: (1, 0),
        reason: "",
    });
}

/// Proves: R15, T12, T13, ZB-6, ZB-7
#[test]
fn between_the_gateway_and_an_instance() {
    all(&Path {
        link: (Gateway(0), Instance(0)),
        over: (0, 0),
        beside: (0, 1),
        reason: "instance-lost",
    });
}

/// Proves: R15, T12, T13, ZB-6, ZB-7
#[test]
fn between_the_gateway_and_an_agent() {
    all(&Path {
        link: (Gateway(0), Instance(1)),
        over: (0, 1),
        beside: (0, 0),
        reason: "instance-lost",
    });
}

fn all(path: &Path) {
    let (near, far) = path.link;
    let ways = [between(near, far), one_way(near, far), one_way(far, near)];
    for line in ways {
        for what in [What::HeldBriefly, What::HeldLong, What::Cut] {
            tell(path, line, what);
        }
    }
}

fn tell(path: &Path, line: Line, what: What) {
    let settings = Settings {
        instances: 2,
        clients: 2,
        ..Settings::default()
    };
    let name = format!("{what:?} {line}");
    let mut story = Story::named(&name, settings);
    let (client, instance) = path.over;
    let calls =
        Kind::ALL.map(|kind| story.call(long(kind).by_client(client).to_instance(instance)));
    // 500 messages, 10 ms apart: it lasts for 5 s.
    let chat = Call::new(Kind::Bidi)
        .of(&[1_000; 500])
        .echoed()
        .every(ms(10));
    let beside = story.call(chat.by_client(path.beside.0).to_instance(path.beside.1));
    story.run_for(ms(200));
    for (call, kind) in calls.into_iter().zip(Kind::ALL) {
        let moved = story.delivered(call, Request) + story.delivered(call, Response);
        assert!(moved > 0, "{name}: the {kind:?} call has begun");
        assert_eq!(story.outcome(call), None, "{name}: the {kind:?} call");
    }

    let (fault, length) = match what {
        What::HeldBriefly => (Fault::Hold(line), ms(400)),
        What::HeldLong => (Fault::Hold(line), ms(3_000)),
        What::Cut => (Fault::Part(line), ms(3_000)),
    };
    let before = story.delivered(beside, Response);
    story.begin(fault);
    match what {
        What::HeldBriefly => {
            // What a sender may have under way is used up long before.
            story.run_for(length - ms(100));
            let handed = |story: &Story| {
                calls.map(|call| [Request, Response].map(|d| story.handed(call, d)))
            };
            let full = handed(&story);
            story.run_for(ms(100));
            assert_eq!(handed(&story), full, "{name}: senders wait");
        }
        What::HeldLong | What::Cut => {
            story.run_for(SILENCE + RTT);
            for (call, kind) in calls.into_iter().zip(Kind::ALL) {
                let kind = format!("{name}: the {kind:?} call");
                assert_eq!(
                    story.failure(call),
                    failed(UNAVAILABLE, path.reason),
                    "{kind}"
                );
                assert!(story.cancelled(call).is_some(), "{kind}'s handler");
            }
            story.run_for(length - SILENCE - RTT);
        }
    }
    // A message every 10 ms, of 1,005 bytes each with its prefix; some are on their way.
    let messages = (story.delivered(beside, Response) - before) / 1_005;
    let due = length.as_millis() as u64 / 10 - 10;
    assert!(
        messages >= due,
        "{name}: beside it {messages} messages of {due}"
    );

    story.end(fault);
    let seen =
        |story: &Story| calls.map(|call| [Request, Response].map(|d| story.delivered(call, d)));
    let at_the_end = seen(&story);
    // 60 s, in which nothing comes to a handler whose call is over.
    story.run_for(Duration::from_secs(60));
    for (call, kind) in calls.into_iter().zip(Kind::ALL) {
        let kind = format!("{name}: the {kind:?} call");
        assert_eq!(story.runs(call), 1, "{kind}");
        for direction in [Request, Response] {
            let most = story.most_under_way(call, direction);
            assert!(
                most <= story.bound(direction),
                "{kind}: {most} bytes {direction:?}"
            );
        }
        if matches!(what, What::HeldBriefly) {
            assert!(story.is_ok(call), "{kind}: {:?}", story.outcome(call));
            assert!(
                story.is_whole(call, Request) && story.is_whole(call, Response),
                "{kind}"
            );
        }
    }
    if !matches!(what, What::HeldBriefly) {
        assert_eq!(seen(&story), at_the_end, "{name}: nothing comes later");
    }
    assert!(
        story.is_ok(beside) && !story.is_touched(beside),
        "{name}: beside it"
    );

    // The way is free again: client to gateway to instance and back, each with the dial that it may need.
    let again = story.call(
        Call::new(Kind::Unary)
            .by_client(client)
            .to_instance(instance),
    );
    story.run_for(ms(20) + HOP * 8);
    assert!(
        story.is_ok(again),
        "{name}: afterwards {:?}",
        story.outcome(again)
    );
    story.rest();
}

/// A call of this kind that takes a second: 4 MiB in each direction that has a choice, 80 KiB a round trip.
fn long(kind: Kind) -> Call {
    let one = [4 * MIB];
    let many = [16 * KIB; 256];
    let call = Call::new(kind);
    match kind {
        Kind::Unary => call.of(&one).answered(&one),
        Kind::ClientStream => call.of(&many),
        Kind::ServerStream => call.answered(&many),
        Kind::Bidi => call.of(&many).echoed(),
    }
}
