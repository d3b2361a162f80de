//! Seeds that once found something, each by the name of what it found. CONTRIBUTING says how one comes here.
//!
//! A seed draws other calls and faults once `plan/` draws anything else, and then holds nothing of what it
//! found. So what it found in the library has a test of its own at the lowest level that shows it; here
//! stand the runs themselves, which cost next to nothing.

use grpcrouter_sim::layer::Layer;
use grpcrouter_sim::plan::FaultKind;
use grpcrouter_sim::report::Watch;

/// Every fault that the seed draws.
const DRAWN: Option<&[FaultKind]> = None;

macro_rules! found {
    ($($(#[$found:meta])* $name:ident: $layer:expr, $seed:expr, $faults:expr;)*) => {
        $(
            $(#[$found])*
            #[test]
            fn $name() {
                let report = $layer.run($seed, $faults, Watch::default());
                assert!(report.is_clean(), "{report}");
            }
        )*
    };
}

found! {
    /// An instance that dialled before its rival did was refused, waited two heartbeats, and was away for
    /// longer than the oracle allowed. An error of the simulation.
    an_instance_waits_after_its_rival_has_gone: Layer::Net, 2_000_482, DRAWN;
    /// A link was held just after a client had cancelled, with the cancellation on it. An error of the
    /// simulation.
    a_cancellation_is_held_on_its_way: Layer::Net, 2_000_342, DRAWN;
    /// A peer that overspent used up what may come late for its call, so that the call's own late frames were
    /// breaches too, and there were more than a tunnel bears. An error of the simulation.
    late_frames_of_a_broken_call_are_breaches: Layer::Frame, 2_249_704, DRAWN;
    /// As before, with a call of very many tiny messages.
    tiny_late_frames_are_breaches: Layer::Frame, 2_838_347, DRAWN;
    /// As before, towards an instance.
    late_frames_end_a_tunnel_at_its_instance: Layer::Frame, 2_863_890, DRAWN;
    /// What was asked of a new call, many windows both ways, took longer over slow links than it may. An error of
    /// the simulation.
    a_probe_over_slow_links: Layer::Frame, 2_071_684, DRAWN;
    /// As before, from more clients at once.
    probes_over_slow_links: Layer::Frame, 2_733_920, DRAWN;
    /// A client that read nothing for a while had the end of its connection only then, and no fault was felt any
    /// more. An error of the simulation.
    a_client_that_looks_away_learns_later: Layer::Net, 4_003_139, DRAWN;
    /// A client that was cut off said UNAVAILABLE, which its handler had given too. An error of the simulation.
    a_status_that_the_client_makes_is_the_handlers_too: Layer::Net, 4_001_213, DRAWN;
    /// An agent that lost its server had no calls until it looked again. An error of the simulation.
    an_agent_looks_again_after_a_cut: Layer::Net, 4_003_926, DRAWN;
}
