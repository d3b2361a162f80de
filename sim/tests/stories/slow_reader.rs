//! Readers that are slow, but read.

use std::time::Duration;

use grpcrouter_sim::story::Direction::{Request, Response};
use grpcrouter_sim::story::{Call, Kind, Settings, Story};

use super::{KIB, RTT, ms};

/// Proves: ZB-3, ZB-4
#[test]
fn a_slow_reader_sets_the_pace_of_its_sender_and_of_nobody_else() {
    let mut story = Story::new(Settings::with_instances(2));
    // A handler takes 1 KiB in 10 ms: 100 KiB a second. 2 MiB take it 20 s.
    let total = 128 * (16 * 1024 + 5);
    let slow = Call::new(Kind::ClientStream).of(&[16 * KIB; 128]);
    let slow = slow.handler_pauses(1_024, ms(10));
    let slow = [0, 1].map(|instance| story.call(slow.clone().to_instance(instance)));
    story.run_for(Duration::from_secs(1));
    for second in 1..=18 {
        let beside = Call::new(Kind::Bidi).of(&[16 * KIB; 20]).echoed();
        let beside = [0, 1].map(|instance| story.call(beside.clone().to_instance(instance)));
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
        story.assert_ok(&beside);
    }
    story.run_for(Duration::from_secs(6));
    story.assert_ok(&slow);
    story.rest();
}

/// Proves: ZB-2, ZB-6
#[test]
fn a_client_that_stalls_again_and_again_gets_everything() {
    let mut story = Story::new(Settings::with_instances(2));
    // 16 MiB, which take longer than all turns together.
    let call = Call::new(Kind::ServerStream).answered(&[16 * KIB; 1_024]);
    let calls = [0, 1].map(|instance| story.call(call.clone().to_instance(instance)));
    // Each turn lets through what the windows hold, and more while it lasts.
    for _ in 0..10 {
        story.run_for(ms(50));
        for call in calls {
            story.stall_client(call, ms(500));
        }
        story.run_for(ms(400));
        let before = calls.map(|call| story.handed(call, Response));
        story.run_for(ms(90));
        for (call, before) in calls.into_iter().zip(before) {
            assert!(before < 1_024 * (16 * 1024 + 5), "there is more to give");
            assert_eq!(story.handed(call, Response), before, "its handler waits");
            let ahead = story.under_way(call, Response);
            assert!(ahead <= story.bound(Response), "{ahead} bytes ahead");
        }
        story.run_for(ms(10));
    }
    // 64 KiB a round trip, and from an agent's server 16 KiB.
    story.run_for(RTT * 1_024);
    story.assert_ok(&calls);
    story.rest();
}
