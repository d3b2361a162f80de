//! The cases of routing, lifetime and retry once more, on a gateway that another server mounts.

use super::support;

#[path = "../balance.rs"]
mod balance;
#[path = "../cancel.rs"]
mod cancel;
#[path = "../deadlines.rs"]
mod deadlines;
#[path = "../key_faults.rs"]
mod key_faults;
#[path = "../keys.rs"]
mod keys;
#[path = "../loss.rs"]
mod loss;
#[path = "../races.rs"]
mod races;
#[path = "../retry.rs"]
mod retry;
#[path = "../routing.rs"]
mod routing;
#[path = "../shares.rs"]
mod shares;
