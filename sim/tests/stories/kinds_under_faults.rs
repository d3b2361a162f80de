//! All four kinds of calls, while one link is held or cut: each link, each way and both.

use std::time::Duration;

use grpcrouter_sim::story::Direction::{Request, Response};
use grpcrouter_sim::story::Node::{Client, Gateway, Instance};
use grpcrouter_sim::story::{
    Call, Direction, Fault, Kind, Line, Node, Settings, Story, between, one_way,
};

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
    let mut told = Told::begun(path, format!("{what:?} {line}"));
    let (fault, length) = match what {
        What::HeldBriefly => (Fault::Hold(line), ms(400)),
        What::HeldLong => (Fault::Hold(line), ms(3_000)),
        What::Cut => (Fault::Part(line), ms(3_000)),
    };
    let before = told.story.delivered(told.beside, Response);
    told.story.begin(fault);
    match what {
        What::HeldBriefly => told.senders_wait(length),
        What::HeldLong | What::Cut => told.calls_fail(path.reason, length),
    }
    // A message every 10 ms, of 1,005 bytes each with its prefix; some are on their way.
    let messages = (told.story.delivered(told.beside, Response) - before) / 1_005;
    let due = length.as_millis() as u64 / 10 - 10;
    let name = &told.name;
    assert!(messages >= due, "{name}: beside it {messages} of {due}");

    told.story.end(fault);
    told.nothing_comes_late(matches!(what, What::HeldBriefly));
    told.calls_succeed_again(path.over);
    told.story.rest();
}

/// A story of one fault.
struct Told {
    name: String,
    story: Story,
    /// One of each kind, over the link.
    calls: [u32; 4],
    /// One that does not go over it.
    beside: u32,
}

impl Told {
    /// All calls have begun, and none has ended.
    fn begun(path: &Path, name: String) -> Self {
        let settings = Settings {
            instances: 2,
            clients: 2,
            ..Settings::default()
        };
        let mut story = Story::named(&name, settings);
        let (client, instance) = path.over;
        let over = |kind| long(kind).by_client(client).to_instance(instance);
        let calls = Kind::ALL.map(|kind| story.call(over(kind)));
        // 500 messages, 10 ms apart: it lasts for 5 s.
        let chat = Call::new(Kind::Bidi).of(&[1_000; 500]);
        let chat = chat.echoed().every(ms(10));
        let beside = story.call(chat.by_client(path.beside.0).to_instance(path.beside.1));
        story.run_for(ms(200));
        for (call, kind) in calls.into_iter().zip(Kind::ALL) {
            let moved = story.delivered(call, Request) + story.delivered(call, Response);
            assert!(moved > 0, "{name}: the {kind:?} call has begun");
            assert_eq!(story.outcome(call), None, "{name}: the {kind:?} call");
        }
        Self {
            name,
            story,
            calls,
            beside,
        }
    }

    /// What a look at each call and direction gives.
    fn each<T>(&self, look: impl Fn(&Story, u32, Direction) -> T) -> [[T; 2]; 4] {
        self.calls
            .map(|call| [Request, Response].map(|way| look(&self.story, call, way)))
    }

    /// What a sender may have under way is used up long before the link is free again.
    fn senders_wait(&mut self, length: Duration) {
        self.story.run_for(length - ms(100));
        let full = self.each(Story::handed);
        self.story.run_for(ms(100));
        let name = &self.name;
        assert_eq!(self.each(Story::handed), full, "{name}: senders wait");
    }

    /// Both edges know in time.
    fn calls_fail(&mut self, reason: &str, length: Duration) {
        self.story.run_for(SILENCE + RTT);
        for (call, kind) in self.calls.into_iter().zip(Kind::ALL) {
            let kind = format!("{}: the {kind:?} call", self.name);
            let failure = self.story.failure(call);
            assert_eq!(failure, failed(UNAVAILABLE, reason), "{kind}");
            let told = self.story.cancelled(call).is_some();
            assert!(told, "{kind}'s handler");
        }
        self.story.run_for(length - SILENCE - RTT);
    }

    /// 60 s, in which calls that `go_on` end well, and nothing comes to the handler of one that is over.
    fn nothing_comes_late(&mut self, go_on: bool) {
        let at_the_end = self.each(Story::delivered);
        self.story.run_for(Duration::from_secs(60));
        let (name, story) = (&self.name, &self.story);
        match go_on {
            true => {
                story.assert_ok(&self.calls);
                assert_eq!(self.each(Story::is_whole), [[true; 2]; 4], "{name}");
            }
            false => {
                let later = self.each(Story::delivered);
                assert_eq!(later, at_the_end, "{name}: nothing comes later");
            }
        }
        assert_eq!(self.calls.map(|call| story.runs(call)), [1; 4], "{name}");
        let over = self.each(|story, call, way| {
            let most = story.most_under_way(call, way);
            most.saturating_sub(story.bound(way))
        });
        assert_eq!(over, [[0; 2]; 4], "{name}: bytes over the bound");
        story.assert_ok([&self.beside]);
        assert!(!story.is_touched(self.beside), "{name}: beside it");
    }

    /// Client to gateway to instance and back, each with the dial that it may need.
    fn calls_succeed_again(&mut self, (client, instance): (usize, usize)) {
        let again = Call::new(Kind::Unary).by_client(client);
        let again = self.story.call(again.to_instance(instance));
        self.story.run_for(ms(20) + HOP * 8);
        self.story.assert_ok([&again]);
    }
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
