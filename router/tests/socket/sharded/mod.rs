//! Cases of every kind once more, on a gateway in two shards: clients come in at one, tunnels at the other, so that
//! every call crosses between their threads.

use super::support;

#[path = "../balance.rs"]
mod balance;
#[path = "../cancel.rs"]
mod cancel;
mod clients;
#[path = "../deadlines.rs"]
mod deadlines;
#[path = "../drain.rs"]
mod drain;
#[path = "../early.rs"]
mod early;
#[path = "../flow_bound.rs"]
mod flow_bound;
#[path = "../flow_isolation.rs"]
mod flow_isolation;
#[path = "../keys.rs"]
mod keys;
#[path = "../kinds.rs"]
mod kinds;
#[path = "../loss.rs"]
mod loss;
#[path = "../metrics.rs"]
mod metrics;
#[path = "../order.rs"]
mod order;
#[path = "../races.rs"]
mod races;
#[path = "../retry.rs"]
mod retry;
#[path = "../routing.rs"]
mod routing;
#[path = "../waiting.rs"]
mod waiting;
