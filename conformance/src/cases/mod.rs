//! The cases: what each id of the catalogue does, and what it must see.
//!
//! One file a subject; each has its list, and all lists together are [`all`].

mod balance;
mod bytes;
mod flow;
mod flow_beside;
mod flow_cut;
mod flow_memory;
mod flow_stall;
mod health;
mod hostile;
mod hostile_flood;
mod hostile_http;
mod hostile_late;
mod hostile_reset;
mod hostile_secrets;
mod hostile_slow;
mod interop;
mod keys;
mod kinds;
mod lifetime;
mod metadata;
mod order;
mod partition;
mod redial;
mod routing;
mod stall;
mod status;
mod tunnel;
mod tunnel_end;

use std::fmt::Debug;

use anyhow::{Result, ensure};

use crate::case::Case;
use crate::client::Answer;
use crate::pb::SubjectSettings;
use crate::probe::side::{Counts, Watched};

const UNARY: &str = "Unary";
const CLIENT_STREAM: &str = "ClientStream";
const SERVER_STREAM: &str = "ServerStream";
const BIDI: &str = "Bidi";

/// Every case that this suite judges.
pub fn all() -> impl Iterator<Item = &'static Case> {
    let lists = [
        kinds::CASES,
        order::CASES,
        metadata::CASES,
        status::CASES,
        bytes::CASES,
        routing::CASES,
        lifetime::CASES,
        flow::CASES,
        hostile::CASES,
        hostile_http::CASES,
        hostile_late::CASES,
        hostile_slow::CASES,
        hostile_reset::CASES,
        hostile_flood::CASES,
        hostile_secrets::CASES,
        flow_stall::CASES,
        flow_beside::CASES,
        flow_cut::CASES,
        flow_memory::CASES,
        tunnel::CASES,
        tunnel_end::CASES,
        keys::CASES,
        balance::CASES,
        health::CASES,
        partition::CASES,
        redial::CASES,
        interop::CASES,
    ];
    lists.into_iter().flatten()
}

/// The implementation of a case; none where this suite has none.
pub fn of(id: &str) -> Option<&'static Case> {
    all().find(|case| case.id == id)
}

/// Settings with so many milliseconds between two heartbeats.
fn heartbeats<const MS: u32>() -> SubjectSettings {
    SubjectSettings {
        heartbeat_ms: MS,
        ..SubjectSettings::default()
    }
}

/// Something is as it must be.
#[allow(
    clippy::needless_pass_by_value,
    reason = "what is due is written where it is said"
)]
fn same<T: PartialEq<U> + Debug, U: Debug>(what: &str, seen: T, due: U) -> Result<()> {
    ensure!(seen == due, "{what}: {seen:?}, due {due:?}");
    Ok(())
}

/// The call ended with OK.
fn ok(answer: &Answer) -> Result<()> {
    let status = answer.status()?;
    ensure!(
        status == 0,
        "status {status}, `{}` {}",
        answer.message(),
        answer.reason()
    );
    Ok(())
}

/// Waits until the handler has finished. Gives its counters.
async fn done(handler: &Watched) -> Result<Counts> {
    handler.finished().await?;
    Ok(handler.counts())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_in_the_catalogue_once() {
        let entries = crate::catalogue::all();
        let mut seen = Vec::new();
        for case in all() {
            assert!(
                entries.iter().any(|entry| entry.id == case.id),
                "{}",
                case.id
            );
            assert!(!seen.contains(&case.id), "{} twice", case.id);
            assert!(!case.roles.is_empty(), "{} in no role", case.id);
            seen.push(case.id);
        }
        for entry in &entries {
            let judged = seen.contains(&&*entry.id);
            let says = entry.apart.is_some();
            assert!(judged != says, "{}: judged, or a reason why not", entry.id);
        }
    }
}
