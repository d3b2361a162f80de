//! The life of a tunnel: it registers, is replaced, falls silent, drains, and comes back.

use std::time::Duration;

use grpcrouter_sim::story::Direction::{Request, Response};
use grpcrouter_sim::story::Node::{Gateway, Instance};
use grpcrouter_sim::story::{Call, Fault, Kind, Settings, Story, between, one_way};

use super::{HOP, KIB, RTT, SILENCE, UNAVAILABLE, failed, ms};

/// From a process's start to its registration: a dial, which takes the network one hop, HTTP/2's request
/// and response, and the first message; each has its step of grace.
const JOIN: Duration = ms(15 * 4 + 5);

/// A call that lasts for the given number of times 10 ms.
fn chat(messages: usize) -> Call {
    let sizes = vec![1_000; messages];
    Call::new(Kind::Bidi).of(&sizes).echoed().every(ms(10))
}

/// Proves: T1
#[test]
fn an_instance_is_routable_from_its_registration_on_and_not_before() {
    let mut story = Story::new(Settings::default());
    let down = Fault::Kill(Instance(0));
    story.begin(down);
    story.run_for(HOP);
    assert_eq!(story.registered(0), 0);
    // Calls begin every 20 ms, while the instance starts anew.
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(story.call(Call::new(Kind::Unary).to_instance(0)));
        story.run_for(ms(20));
    }
    story.end(down);
    let mut there = None;
    for _ in 0..10 {
        calls.push(story.call(Call::new(Kind::Unary).to_instance(0)));
        for _ in 0..4 {
            story.run_for(ms(5));
            if story.registered(0) == 1 {
                there.get_or_insert(story.now());
            }
        }
    }
    story.run_for(HOP * 4);
    let there = there.expect("it has registered");
    let (mut before, mut after) = (0, 0);
    for call in calls {
        let (begun, ended) = (story.started(call), story.ended(call));
        let (begun, ended) = begun.zip(ended).expect("neither lost nor held");
        // A call is at the gateway a hop after it begins, and its end a hop before the client has it.
        if begun >= there {
            after += 1;
            assert!(story.is_ok(call), "registered: {:?}", story.outcome(call));
        } else if ended <= there {
            before += 1;
            assert_eq!(story.failure(call), failed(UNAVAILABLE, "no-instance"));
        }
    }
    assert!(before >= 4 && after >= 4, "{before} before, {after} after");
    story.rest();
}

/// Proves: T2
#[test]
fn a_later_epoch_replaces_at_once_and_for_good() {
    let mut story = Story::new(Settings::default());
    let old = story.call(chat(500).to_instance(0));
    story.run_for(ms(200));
    assert_eq!(story.runs(old), 1);
    let rival = Fault::Replace(0);
    story.begin(rival);
    let took = story.run_until("the call is told", JOIN + HOP, |story| {
        assert_eq!(story.registered(0), 1, "one owner at every moment");
        story.outcome(old).is_some()
    });
    println!("replaced after {took:?}");
    assert_eq!(story.failure(old), failed(UNAVAILABLE, "instance-lost"));
    // It is told `superseded` one hop later, and its process ends.
    story.run_for(HOP);
    assert!(story.has_ended(Instance(0)), "superseded is final");
    let call = story.call(Call::new(Kind::Unary).to_instance(0));
    // No flip-flop: for 10 s there is one tunnel, of the rival.
    story.run_for(HOP);
    story.run_while(
        "the rival's is the only tunnel",
        Duration::from_secs(10),
        |story| story.registered(0) == 1 && story.tunnels(0) == 1,
    );
    assert!(
        story.is_ok(call),
        "the rival serves: {:?}",
        story.outcome(call)
    );
    story.rest();
}

/// Proves: T2
#[test]
fn an_earlier_epoch_disturbs_nobody() {
    let mut story = Story::new(Settings::default());
    // For 5 s; the rival asks again after two heartbeats, and again.
    let call = story.call(chat(500).to_instance(0));
    story.run_for(ms(200));
    story.begin(Fault::Stale(0));
    let (mut asked, mut tunnels) = (0, 1);
    story.run_while("the instance stays", Duration::from_secs(6), |story| {
        asked += story.tunnels(0).saturating_sub(tunnels);
        tunnels = story.tunnels(0);
        story.registered(0) == 1 && !story.has_ended(Instance(0))
    });
    assert!(asked >= 2, "the rival asked {asked} times");
    assert!(story.is_ok(call) && !story.is_touched(call));
    assert_eq!(story.registrations(0), 1);
    story.rest();
}

/// Proves: T3
#[test]
fn an_instance_that_comes_back_need_not_wait_until_its_death_is_noticed() {
    let mut story = Story::new(Settings::default());
    let call = story.call(chat(500).to_instance(0));
    story.run_for(ms(200));
    // Gone without a word: the gateway would know after 1,000 ms of silence.
    let crash = Fault::Crash(Instance(0));
    story.begin(crash);
    story.run_for(ms(100));
    assert_eq!((story.registered(0), story.outcome(call)), (1, None));
    story.end(crash);
    story.run_until("the new tunnel has replaced the old one", JOIN, |story| {
        assert!(story.registered(0) <= 1, "never two owners");
        story.registrations(0) == 1 && story.registered(0) == 1
    });
    // The old tunnel's calls went with it.
    story.run_for(HOP);
    assert_eq!(story.failure(call), failed(UNAVAILABLE, "instance-lost"));
    let call = story.call(Call::new(Kind::Unary).to_instance(0));
    story.run_for(ms(20) + HOP * 4);
    assert!(story.is_ok(call), "{:?}", story.outcome(call));
    story.rest();
}

/// Proves: T3
#[test]
fn what_a_replaced_tunnel_still_had_under_way_is_thrown_away() {
    let mut story = Story::new(Settings::default());
    let call = Call::new(Kind::ServerStream).answered(&[16 * KIB; 256]);
    let call = story.call(call.to_instance(0));
    story.run_for(ms(200));
    // The gateway hears nothing of this instance, whose frames pile up on the way.
    let hold = Fault::Hold(one_way(Instance(0), Gateway(0)));
    story.begin(hold);
    story.run_for(ms(200));
    assert!(story.under_way(call, Response) > 64 * 1024);
    story.begin(Fault::Replace(0));
    story.run_for(JOIN + HOP);
    assert_eq!(story.failure(call), failed(UNAVAILABLE, "instance-lost"));
    let delivered = story.delivered(call, Response);
    let new = story.call(chat(10).to_instance(0));
    story.end(hold);
    story.run_for(Duration::from_secs(5));
    assert_eq!(story.delivered(call, Response), delivered);
    assert!(story.is_ok(new), "{:?}", story.outcome(new));
    assert_eq!((story.registered(0), story.tunnels(0)), (1, 1));
    story.rest();
}

/// Proves: T5
#[test]
fn both_ends_of_a_silent_tunnel_give_it_up_in_time() {
    let mut story = Story::new(Settings::default());
    let call = story.call(chat(500).to_instance(0));
    story.run_for(ms(200));
    story.begin(Fault::Part(between(Gateway(0), Instance(0))));
    let cut = story.now();
    // The last byte came before the cut. A ping of HTTP/2, which was under way then, is missed after 500 ms.
    story.run_for(ms(500) - RTT);
    assert_eq!((story.tunnels(0), story.handlers()), (1, 1), "not before");
    story.run_for(SILENCE - ms(500) + RTT + ms(5));
    assert_eq!(
        (story.tunnels(0), story.registered(0)),
        (0, 0),
        "the gateway"
    );
    let cancelled = story
        .cancelled(call)
        .expect("the instance has ended its calls");
    assert!(cancelled - cut <= SILENCE + ms(5), "{:?}", cancelled - cut);
    story.run_for(HOP);
    assert_eq!(story.failure(call), failed(UNAVAILABLE, "instance-lost"));
    story.rest();
}

/// Proves: T5
#[test]
fn a_saturated_tunnel_is_never_taken_for_dead() {
    let mut story = Story::new(Settings::default());
    let slow = Fault::Drip(between(Gateway(0), Instance(0)));
    story.begin(slow);
    // 60 KB/s each way: 1.5 MiB each way take 26 s at the least, in 16 KiB frames of 0.27 s. Heartbeats are
    // due every 0.5 s and are never behind more than two of them.
    let calls: Vec<u32> = (0..6)
        .map(|_| {
            let call = Call::new(Kind::Bidi).of(&[16 * KIB; 16]).echoed();
            story.call(call.to_instance(0))
        })
        .collect();
    story.run_for(Duration::from_secs(1));
    story.run_while("the tunnel lives", Duration::from_secs(25), |story| {
        story.registered(0) == 1 && story.registrations(0) == 1
    });
    let open = calls.iter().filter(|call| story.outcome(**call).is_none());
    assert!(open.count() > 0, "it was saturated all the time");
    story.end(slow);
    story.run_for(Duration::from_secs(2));
    for call in calls {
        assert!(story.is_ok(call), "{:?}", story.outcome(call));
    }
    assert_eq!(story.registrations(0), 1);
    story.rest();
}

/// Proves: T6
#[test]
fn a_thousand_drains_under_load_lose_no_call() {
    let settings = Settings {
        instances: 3,
        clients: 2,
        ..Settings::default()
    };
    let mut story = Story::new(settings);
    let mut calls = Vec::new();
    for n in 0..1_000 {
        // 8 calls of all kinds, some of which last for 200 ms: the drain finds them running.
        for k in 0..4 {
            let call = Call::new(Kind::ALL[k % 4]).by_client(k % 2);
            calls.push(story.call(call));
            calls.push(story.call(chat(5 * k + 5).by_client(k % 2)));
        }
        story.run_for(ms(25));
        let instance = Instance(n % 3);
        story.drain(instance);
        // The handshake is a round trip, and the longest call a chat of 200 ms.
        story.run_until("it has drained", ms(200) + RTT * 4, |story| {
            story.has_ended(instance)
        });
        assert_eq!(story.registered(0), 2);
        story.restart(instance);
        // An agent first asks its server for its services: as many hops again.
        story.run_until("it is back", JOIN * 2, |story| story.registered(0) == 3);
    }
    story.run_for(ms(500));
    // The ledger knows of no fault: a call that failed would be reported too.
    assert_eq!(calls.len(), 8_000);
    let lost = calls.iter().filter(|call| !story.is_ok(**call)).count();
    assert_eq!(lost, 0);
    story.rest();
}

/// Proves: T7
#[test]
fn a_gateway_that_drains_finishes_its_calls_and_sends_the_others_elsewhere() {
    let settings = Settings {
        gateways: 2,
        instances: 2,
        ..Settings::default()
    };
    let mut story = Story::new(settings);
    // Client 0 begins with gateway 0. The call has 500 ms to go, of the 2 s that a drain may take.
    let running = story.call(chat(70).to_instance(0));
    story.run_for(ms(200));
    assert_eq!(story.open_calls(0), 1);
    story.drain(Gateway(0));
    story.run_for(RTT);
    let next = story.call(chat(10).to_instance(0));
    story.run_for(ms(20) + RTT * 2);
    assert_eq!((story.open_calls(0), story.open_calls(1)), (1, 1));
    assert_eq!(
        story.registered(0),
        1,
        "who has no call there any more has left"
    );
    story.run_until("it has drained", ms(500), |story| {
        story.has_ended(Gateway(0))
    });
    story.run_for(ms(100));
    assert!(story.is_ok(running) && story.is_ok(next));
    assert_eq!((story.tunnels(0), story.tunnels(1)), (0, 2));
    story.rest();
}

/// Proves: T9
#[test]
fn a_gateway_that_restarts_knows_only_who_registers_with_it() {
    let mut story = Story::new(Settings::with_instances(2));
    let (gone, crash) = (Fault::Crash(Instance(1)), Fault::Kill(Gateway(0)));
    story.begin(gone);
    story.begin(crash);
    story.run_for(ms(100));
    story.end(crash);
    // Instance 0 dials again after 400 ms at the most, and instance 1 never.
    story.run_while(
        "nobody is known who is not there",
        Duration::from_secs(3),
        |story| story.registered(0) <= 1,
    );
    assert_eq!((story.registered(0), story.tunnels(0)), (1, 1));
    let there = story.call(Call::new(Kind::Unary).to_instance(0));
    let lost = story.call(Call::new(Kind::Unary).to_instance(1));
    story.run_for(ms(200));
    assert!(story.is_ok(there), "{:?}", story.outcome(there));
    assert_eq!(story.failure(lost), failed(UNAVAILABLE, "no-instance"));
    story.rest();
}

/// Proves: R16, T10
#[test]
fn an_instance_with_two_gateways_runs_no_call_twice() {
    let settings = Settings {
        gateways: 2,
        clients: 2,
        ..Settings::default()
    };
    let mut story = Story::new(settings);
    // Client 0 is at gateway 0 and client 1 at gateway 1; every call may go to the one instance by either.
    let calls: Vec<u32> = (0..2)
        .flat_map(|client| [chat(300), chat(300)].map(|call| call.by_client(client)))
        .map(|call| story.call(call))
        .collect();
    story.run_for(ms(200));
    assert_eq!((story.open_calls(0), story.open_calls(1)), (2, 2));
    story.begin(Fault::Part(between(Gateway(0), Instance(0))));
    story.run_for(SILENCE + RTT);
    for call in &calls[..2] {
        assert_eq!(story.failure(*call), failed(UNAVAILABLE, "instance-lost"));
    }
    // Those of the other tunnel go on.
    story.run_for(Duration::from_secs(3));
    for call in &calls[2..] {
        assert!(story.is_ok(*call) && !story.is_touched(*call));
    }
    for call in calls {
        assert_eq!(story.runs(call), 1);
        assert!(story.delivered(call, Request) > 0);
    }
    story.rest();
}

/// Proves: R15, T8
#[test]
fn when_a_gateway_is_killed_its_clients_know_at_once_or_by_their_pings() {
    // Killed: its host resets what is connected. Crashed: nobody says anything.
    let ways = [
        (Fault::Kill(Gateway(0)), HOP),
        (Fault::Crash(Gateway(0)), SILENCE + RTT),
    ];
    for (fault, limit) in ways {
        let mut story = Story::named(format!("{fault:?}"), Settings::default());
        let call = story.call(chat(500).to_instance(0));
        story.run_for(ms(200));
        story.begin(fault);
        story.run_for(limit);
        assert_eq!(story.failure(call), failed(UNAVAILABLE, ""), "{fault:?}");
        assert!(story.cancelled(call).is_some(), "{fault:?}");
        story.run_for(ms(500));
        story.end(fault);
        // The instance is back within its longest wait of 400 ms, and so is the client, at its next call.
        story.run_until(
            "it is back",
            ms(400) + JOIN + Duration::from_secs(1),
            |story| story.registered(0) == 1,
        );
        let call = story.call(Call::new(Kind::Unary).by_client(0).to_instance(0));
        story.run_for(ms(20) + HOP * 8);
        assert!(story.is_ok(call), "{fault:?}: {:?}", story.outcome(call));
        story.rest();
    }
}
