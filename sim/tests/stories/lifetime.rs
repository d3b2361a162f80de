//! How long calls live, and where they go, when hosts and links fail.

use std::time::Duration;

use grpcrouter::routing::{Balance, Route, ServiceRoutes};
use grpcrouter_sim::story::Direction::Response;
use grpcrouter_sim::story::Node::{Client, Gateway, Instance};
use grpcrouter_sim::story::{Call, Fault, Kind, SERVICE, Settings, Story, between, one_way};

use super::{DEADLINE_EXCEEDED, HOP, RTT, SILENCE, UNAVAILABLE, failed, ms};

/// A call that lasts for 5 s.
fn chat() -> Call {
    Call::new(Kind::Bidi)
        .of(&[1_000; 500])
        .echoed()
        .every(ms(10))
}

/// Proves: R10
#[test]
fn deadlines_are_kept_while_the_instance_is_cut_off() {
    let ways = [
        between(Gateway(0), Instance(0)),
        one_way(Gateway(0), Instance(0)),
        one_way(Instance(0), Gateway(0)),
    ];
    for line in ways {
        for fault in [Fault::Hold(line), Fault::Part(line)] {
            let name = format!("{fault:?}");
            let mut story = Story::named(&name, Settings::default());
            let before = story.call(chat().timeout(ms(700)));
            story.run_for(ms(200));
            story.begin(fault);
            let during = story.call(chat().timeout(ms(300)));
            // Both end before the silence is noticed, after 1,000 ms.
            story.run_for(ms(700));
            for (call, timeout) in [(before, ms(700)), (during, ms(300))] {
                assert_eq!(
                    story.failure(call),
                    failed(DEADLINE_EXCEEDED, "deadline"),
                    "{name}"
                );
                // The gateway hears of a call a hop after it begins, and tells its end a hop later.
                let took = story.took(call).expect("it ended");
                assert!(took >= timeout && took <= timeout + RTT, "{name}: {took:?}");
            }
            // The instance keeps the time itself; it need not be told.
            let cancelled = story.cancelled(before).expect("its handler is cancelled");
            let begun = story.started(before).expect("it began");
            assert!(cancelled - begun <= ms(700) + RTT, "{name}");
            story.rest();
        }
    }
}

/// Proves: R12
#[test]
fn a_client_that_dies_cancels_all_its_calls_and_no_other() {
    // Reset: the gateway knows a hop later. Without a word: when it has missed a ping. Then the instance is
    // told, a hop away.
    let ways = [
        (Fault::Kill(Client(0)), HOP * 2),
        (Fault::Crash(Client(0)), SILENCE + HOP),
    ];
    for (fault, limit) in ways {
        let settings = Settings {
            instances: 2,
            clients: 2,
            ..Settings::default()
        };
        let mut story = Story::named(format!("{fault:?}"), settings);
        let its: Vec<u32> = (0..4)
            .map(|n| story.call(chat().to_instance(n % 2)))
            .collect();
        let others: Vec<u32> = (0..4)
            .map(|n| story.call(chat().to_instance(n % 2).by_client(1)))
            .collect();
        story.run_for(ms(200));
        assert_eq!((story.open_calls(0), story.handlers()), (8, 8));
        story.begin(fault);
        let dead = story.now();
        story.run_for(limit);
        for call in its {
            let after = story.cancelled(call).expect("its handler is cancelled") - dead;
            assert!(after <= limit, "{fault:?}: {after:?}");
        }
        assert_eq!((story.open_calls(0), story.handlers()), (4, 4), "{fault:?}");
        story.run_for(Duration::from_secs(5));
        for call in others {
            assert!(story.is_ok(call) && !story.is_touched(call), "{fault:?}");
        }
        story.rest();
    }
}

/// Proves: R15
#[test]
fn an_instance_that_dies_fails_each_of_its_calls_once_and_no_other() {
    for instance in [0, 1] {
        let silent = SILENCE + HOP;
        let ways = [
            (Some(Fault::Kill(Instance(instance))), HOP * 2),
            (Some(Fault::Crash(Instance(instance))), silent),
            // A reset in the middle of a frame, after 500 bytes more: half of what is sent in 10 ms.
            (None, HOP * 2 + ms(10)),
        ];
        for (fault, limit) in ways {
            let name = format!("instance {instance}: {fault:?}");
            let settings = Settings {
                instances: 3,
                ..Settings::default()
            };
            let mut story = Story::named(&name, settings);
            let its: Vec<u32> = (0..4)
                .map(|_| story.call(chat().to_instance(instance)))
                .collect();
            let other = story.call(chat().to_instance(2));
            story.run_for(ms(200));
            match fault {
                Some(fault) => story.begin(fault),
                None => story.reset(Instance(instance), Gateway(0), 500),
            }
            story.run_for(limit);
            for call in &its {
                // A second end would break a rule of the ledger.
                let lost = failed(UNAVAILABLE, "instance-lost");
                assert_eq!(story.failure(*call), lost, "{name}");
            }
            story.run_for(Duration::from_secs(5));
            assert!(its.iter().all(|call| story.runs(*call) == 1), "{name}");
            assert!(story.is_ok(other) && !story.is_touched(other), "{name}");
            story.rest();
        }
    }
}

/// Proves: R16
#[test]
fn what_may_have_reached_a_handler_is_never_tried_again() {
    let mut story = Story::new(Settings::with_instances(3));
    // Any instance may take these calls, so that there is always another one. The answers of instance 0 are
    // lost: its handlers run, and nobody hears of it.
    story.begin(Fault::Part(one_way(Instance(0), Gateway(0))));
    let calls: Vec<u32> = (0..30)
        .map(|_| story.call(Call::new(Kind::Unary)))
        .collect();
    story.run_for(SILENCE + RTT * 2);
    let (mut ok, mut lost) = (0, 0);
    for call in &calls {
        assert_eq!(story.runs(*call), 1, "its handler ran");
        if story.ran_at(*call) == Some(0) {
            lost += 1;
            assert_eq!(story.failure(*call), failed(UNAVAILABLE, "instance-lost"));
            assert_eq!(story.delivered(*call, Response), 0);
        } else {
            ok += 1;
            assert!(story.is_ok(*call), "{:?}", story.outcome(*call));
        }
    }
    assert_eq!((ok, lost), (20, 10), "they take turns");
    story.run_for(Duration::from_secs(60));
    assert!(calls.iter().all(|call| story.runs(*call) == 1));
    story.rest();
}

/// Proves: R16
#[test]
fn in_a_storm_of_faults_no_handler_runs_twice() {
    let settings = Settings {
        instances: 3,
        clients: 2,
        heartbeat: ms(200),
        ..Settings::default()
    };
    let mut story = Story::new(settings);
    let mut calls = Vec::new();
    for n in 0..60 {
        let (client, instance) = (n % 2, n % 3);
        for kind in Kind::ALL {
            calls.push(story.call(Call::new(kind).by_client(client)));
        }
        let fault = match n % 5 {
            0 => Fault::Part(one_way(Instance(instance), Gateway(0))),
            1 => Fault::Hold(between(Client(client), Gateway(0))),
            2 => Fault::Kill(Instance(instance)),
            3 => Fault::Part(one_way(Gateway(0), Instance(instance))),
            _ => Fault::Crash(Instance(instance)),
        };
        story.run_for(ms(30));
        story.begin(fault);
        story.run_for(ms(300));
        story.end(fault);
        story.run_for(ms(170));
    }
    story.run_for(Duration::from_secs(5));
    let ran = calls.iter().filter(|call| story.runs(**call) == 1).count();
    let failed = calls.iter().filter(|call| story.failure(**call).is_some());
    assert!(
        ran > 150 && failed.count() > 10,
        "{ran} of {} ran",
        calls.len()
    );
    assert!(calls.iter().all(|call| story.runs(*call) <= 1));
    story.rest();
}

/// Proves: R19
#[test]
fn a_key_stays_with_its_instance_while_that_lives_and_comes_back_to_it() {
    let mut story = Story::new(Settings::with_instances(4));
    let hashed = Route::new()
        .metadata("x-key")
        .balance(Balance::ConsistentHash);
    story.route(&ServiceRoutes::new(SERVICE).default_route(hashed));
    let first = owners(&mut story);
    assert!(
        (0..4).all(|instance| first.contains(&instance)),
        "{first:?}"
    );
    let down = Fault::Crash(Instance(2));
    story.begin(down);
    story.run_for(SILENCE + ms(5));
    assert_eq!(story.registered(0), 3);
    // Only the keys of the one that is gone have moved.
    let second = owners(&mut story);
    for (before, after) in first.iter().zip(&second) {
        match before {
            2 => assert_ne!(*after, 2),
            stays => assert_eq!(after, stays),
        }
    }
    story.end(down);
    story.run_until("it is back", Duration::from_secs(1), |story| {
        story.registered(0) == 4
    });
    assert_eq!(owners(&mut story), first);
    story.rest();
}

/// At which instance each of 20 keys is, in three calls one after another.
fn owners(story: &mut Story) -> Vec<usize> {
    let mut owners = Vec::new();
    for key in 0..20 {
        let call = || Call::new(Kind::Unary).keyed(&format!("key-{key}"));
        let mut at = Vec::new();
        for _ in 0..3 {
            let call = story.call(call());
            story.run_until("it is answered", ms(20) + HOP * 8, |story| {
                story.is_ok(call)
            });
            at.extend(story.ran_at(call));
        }
        assert!(
            at.len() == 3 && at.iter().all(|it| *it == at[0]),
            "key {key}: {at:?}"
        );
        owners.push(at[0]);
    }
    owners
}
