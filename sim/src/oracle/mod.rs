//! The oracle: what both edges of every call saw, and the rules that it must keep to.
//!
//! It knows nothing of tunnels, windows or frames. A simulation tells a [`Ledger`] what its clients handed
//! over and were given, what its handlers did, and which calls a fault touched; what follows from that is
//! judged here, the same for both layers.

mod call;
mod ledger;
mod payload;
mod rule;
mod trace;

pub use call::{Outcome, Record};
pub use ledger::{Bounds, Ledger, Slack};
pub use payload::{Direction, PREFIX, Stream, message, prefix};
pub use rule::{Rule, Violation};
pub use trace::{Edge, Event, Trace, What};
