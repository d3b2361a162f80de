//! Wall clocks that jump, which nothing but the epoch of a process is taken from.

use std::time::Duration;

use grpcrouter_sim::story::Node::Instance;
use grpcrouter_sim::story::{Call, Fault, Kind, Settings, Story};

use super::{DEADLINE_EXCEEDED, RTT, SILENCE, failed, ms};

const HOUR: Duration = Duration::from_secs(3_600);

/// In virtual time an hour passes while the wall clock of this machine goes on by seconds: to whoever reads
/// it, it jumps back by an hour. Deadlines, heartbeats and back-off come when the hour says so.
///
/// Proves: T19
#[test]
fn an_hour_that_the_wall_clock_does_not_know_of_moves_no_deadline() {
    let settings = Settings {
        heartbeat: Duration::from_secs(5),
        ..Settings::default()
    };
    let mut story = Story::new(settings);
    let silent = Call::new(Kind::Unary).handler_stalls(HOUR * 2);
    let call = story.call(silent.timeout(HOUR));
    story.run_for(HOUR - ms(100));
    assert_eq!(story.outcome(call), None);
    story.run_for(ms(200));
    assert_eq!(story.failure(call), failed(DEADLINE_EXCEEDED, "deadline"));
    let took = story.took(call).expect("it ended");
    assert!(took >= HOUR && took <= HOUR + RTT, "{took:?}");
    assert_eq!(story.registrations(0), 1, "and the tunnel is the same");
    story.rest();
}

/// Proves: T19
#[test]
fn deadlines_stay_where_they_are_when_a_hosts_clock_jumps_by_an_hour() {
    for ahead in [true, false] {
        let settings = Settings {
            instances: 3,
            ..Settings::default()
        };
        let mut story = Story::named(format!("ahead: {ahead}"), settings);
        // Both jump: of one the process goes on, of the other it starts anew by the new clock.
        story.jump_clock(2, HOUR, ahead);
        story.jump_clock(0, HOUR, ahead);
        let stays = Call::new(Kind::Unary)
            .handler_stalls(HOUR)
            .timeout(Duration::from_secs(3));
        let stays = story.call(stays.to_instance(2));
        story.run_for(ms(100));
        let crash = Fault::Crash(Instance(0));
        story.begin(crash);
        story.run_for(ms(100));
        story.end(crash);
        // An hour ahead, it replaces what is left of it at once. An hour back it looks older than that, is
        // refused, and asks again after two heartbeats and 400 ms at the most: then its old tunnel has been
        // given up. A dial takes a few hops.
        let again = if ahead { ms(0) } else { SILENCE + ms(400) };
        story.run_until("it is there", again + ms(100), |story| {
            story.registrations(0) == 1
        });
        let new = Call::new(Kind::Unary).handler_stalls(HOUR).timeout(ms(700));
        let new = story.call(new.to_instance(0));
        story.run_for(Duration::from_secs(3));
        for (call, timeout) in [(stays, ms(3_000)), (new, ms(700))] {
            assert_eq!(story.runs(call), 1, "ahead: {ahead}");
            assert_eq!(story.failure(call), failed(DEADLINE_EXCEEDED, "deadline"));
            let took = story.took(call).expect("it ended");
            assert!(took >= timeout && took <= timeout + RTT, "{took:?}");
        }
        story.rest();
    }
}
