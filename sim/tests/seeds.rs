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
    /// The call was late, and the oracle did not know that it waited for another call's dial, over a
    /// link that was held. An error of the simulation.
    a_call_waits_for_the_dial_of_another_one: Layer::Net, 2264, DRAWN;
    /// An instance that dialled before its rival did was refused, waited two heartbeats, and was away for
    /// longer than the oracle allowed. An error of the simulation.
    an_instance_waits_after_its_rival_has_gone: Layer::Net, 2_000_482, DRAWN;
    /// A link was held just after a client had cancelled, with the cancellation on it. An error of the
    /// simulation.
    a_cancellation_is_held_on_its_way: Layer::Net, 2_000_342, DRAWN;
}
