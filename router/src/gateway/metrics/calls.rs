//! Calls by service and code.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Metrics;

impl Metrics {
    /// How many services each shard counts by their names, the first that it had calls of. Each costs a scrape a line
    /// for every code that it had.
    pub const MAX_SERVICES: usize = 256;

    /// Under what name all other services are counted. No service has it: theirs have no spaces.
    pub const OTHER_SERVICES: &str = "other services";
}

/// gRPC's status codes, 0 to 16.
const CODES: usize = 17;

/// What an unknown code counts as, as it does for clients.
const UNKNOWN: usize = 2;

/// The calls of a service.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CallCounts {
    /// Those that are open now.
    pub open: u64,
    /// Those that ended, by gRPC's status code: its place. A call whose client went away counts as CANCELLED (1), a code
    /// that gRPC does not know as UNKNOWN (2).
    pub ended: [u64; CODES],
}

/// The calls of one shard.
#[derive(Debug, Default)]
pub(in crate::gateway) struct CallMeter {
    services: Mutex<BTreeMap<Box<str>, Arc<Counts>>>,
    others: Arc<Counts>,
    http_refusals: Mutex<BTreeMap<u16, u64>>,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    ended: [AtomicU64; CODES],
}

/// A call that is counted as open, until it ends with a code.
#[derive(Debug)]
pub(in crate::gateway) struct Counting(Arc<Counts>);

impl CallMeter {
    /// A call of a service begins. `is_known` tells whether a service that has not been counted may be, by its name.
    pub(in crate::gateway) fn begin(
        &self,
        service: &str,
        is_known: impl FnOnce() -> bool,
    ) -> Counting {
        let mut services = lock(&self.services);
        let counts = match services.get(service) {
            Some(counts) => counts,
            None if services.len() < Metrics::MAX_SERVICES && is_known() => {
                services.entry(service.into()).or_default()
            }
            None => &self.others,
        };
        counts.open.fetch_add(1, Ordering::Relaxed);
        Counting(counts.clone())
    }

    /// A request was no call.
    pub(in crate::gateway) fn refused(&self, http_status: u16) {
        *lock(&self.http_refusals).entry(http_status).or_default() += 1;
    }

    pub(super) fn add_to(&self, metrics: &mut Metrics) {
        let services = lock(&self.services);
        let services = services.iter().map(|(name, counts)| (&**name, counts));
        for (name, counts) in services.chain([(Metrics::OTHER_SERVICES, &self.others)]) {
            counts.add_to(metrics.calls.entry(name.to_owned()).or_default());
        }
        for (status, count) in &*lock(&self.http_refusals) {
            *metrics.http_refusals.entry(*status).or_default() += count;
        }
    }
}

impl Counts {
    fn add_to(&self, sum: &mut CallCounts) {
        sum.open += self.open.load(Ordering::Relaxed);
        for (sum, count) in sum.ended.iter_mut().zip(&self.ended) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
}

impl Counting {
    pub(in crate::gateway) fn end(self, code: u32) {
        let code = usize::try_from(code).ok().filter(|code| *code < CODES);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.ended[code.unwrap_or(UNKNOWN)].fetch_add(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(meter: &CallMeter) -> BTreeMap<String, CallCounts> {
        let mut metrics = Metrics::default();
        meter.add_to(&mut metrics);
        metrics.calls
    }

    #[test]
    fn a_call_is_open_until_it_ends_with_a_code() {
        let meter = CallMeter::default();
        let calls = [(); 3].map(|()| meter.begin("pkg.A", || true));
        assert_eq!(counted(&meter)["pkg.A"].open, 3);
        for (call, code) in calls.into_iter().zip([0, 14, 4_000]) {
            call.end(code);
        }
        let counts = &counted(&meter)["pkg.A"];
        assert_eq!(counts.open, 0);
        let ended: Vec<_> = (0..CODES).filter(|code| counts.ended[*code] > 0).collect();
        assert_eq!(ended, [0, UNKNOWN, 14], "4,000 is no code");
    }

    #[test]
    fn services_that_nobody_declared_and_those_beyond_the_limit_count_together() {
        let meter = CallMeter::default();
        meter.begin("strange", || false).end(12);
        for n in 0..Metrics::MAX_SERVICES + 3 {
            meter.begin(&format!("pkg.S{n}"), || true).end(0);
        }
        let counted = counted(&meter);
        assert_eq!(counted.len(), Metrics::MAX_SERVICES + 1);
        let others = &counted[Metrics::OTHER_SERVICES];
        assert_eq!((others.ended[12], others.ended[0]), (1, 3));
        assert_eq!(counted["pkg.S0"].ended[0], 1);
    }
}
