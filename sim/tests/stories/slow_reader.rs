//! Readers that are slow, but read.

use std::time::Duration;

use grpcrouter_sim::story::Direction::{Request, Response};
use grpcrouter_sim::story::{Call, Kind, Settings, Story};

use super::{KIB, ms};

/// Proves: ZB-3, ZB-4
#[test]
fn a_slow_reader_sets_the_pace_of_its_sender_and_of_nobody_else() {
    let settings = Settings {
        instances: 2,
        ..Settings::default()
    };
    let mut story = Story::new(settings);
    // A handler takes 1 KiB in 10 ms: 100 KiB a second. 2 MiB take it 20 s.
    let total = 128 * (16 * 1024 + 5);
    let slow: Vec<u32> = [0, 1]
        .into_iter()
        .map(|instance| {
            let call = Call::new(Kind::ClientStream).of(&[16 * KIB; 128]);
            let call = call.handler_pauses(1_024, ms(10));
            story.call(call.to_instance(instance))
        })
        .collect();
    story.run_for(Duration::from_secs(1));
    for second in 1..=18 {
        let beside: Vec<u32> = [0, 1]
            .into_iter()
            .map(|instance| {
                let call = Call::new(Kind::Bidi).of(&[16 * KIB; 20]).echoed();
                story.call(call.to_instance(instance))
            })
            .collect();
        story.run_for(Duration::from_secs(1));
        for call in &slow {
            let (taken, ahead) = (
                story.delivered(*call, Request),
                story.under_way(*call, Request),
            );
            // At its own pace: it reads at most 80 KiB at once, and pauses for what it has read.
            let due = (second + 1) * 100 * 1024;
            assert!(taken <= due + 80 * 1024, "{taken} bytes in {second} s");
            assert!(
                taken + 80 * 1024 >= due.min(total),
                "{taken} bytes in {second} s"
            );
            assert!(ahead <= story.bound(Request), "{ahead} bytes ahead");
        }
        for call in beside {
            assert!(story.is_ok(call), "{:?}", story.outcome(call));
        }
    }
    story.run_for(Duration::from_secs(6));
    for call in slow {
        assert!(story.is_ok(call), "{:?}", story.outcome(call));
    }
    story.rest();
}

/// Proves: ZB-2, ZB-6
#[test]
fn a_client_that_stalls_again_and_again_gets_everything() {
    let settings = Settings {
        instances: 2,
        ..Settings::default()
    };
    let mut story = Story::new(settings);
    let calls: Vec<u32> = [0, 1]
        .into_iter()
        .map(|instance| {
            let call = Call::new(Kind::ServerStream).answered(&[16 * KIB; 128]);
            story.call(call.to_instance(instance))
        })
        .collect();
    // Each turn lets through what the windows hold, and more while it lasts.
    for _ in 0..10 {
        story.run_for(ms(50));
        for call in &calls {
            story.stall_client(*call, ms(500));
        }
        story.run_for(ms(400));
        let before = calls
            .clone()
            .into_iter()
            .map(|call| story.handed(call, Response));
        let before: Vec<u64> = before.collect();
        story.run_for(ms(90));
        for (call, before) in calls.iter().zip(before) {
            assert_eq!(story.handed(*call, Response), before, "its handler waits");
            let ahead = story.under_way(*call, Response);
            assert!(ahead <= story.bound(Response), "{ahead} bytes ahead");
        }
        story.run_for(ms(10));
    }
    story.run_for(Duration::from_secs(3));
    for call in calls {
        assert!(story.is_ok(call) && story.is_whole(call, Response));
    }
    story.rest();
}
