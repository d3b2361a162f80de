//! tonic's client straight to tonic's server, or with nothing but a relay of bytes between them.

use std::process::Command;

use anyhow::Result;

use super::{Path, Place, named};

/// The server on one thread, or on so many workers.
pub(super) fn start(place: &Place<'_>, name: &str, threads: u16) -> Result<Path> {
    let mut path = Path::bare(name);
    path.address = server(&mut path, place, threads)?;
    Ok(path)
}

/// A relay that copies bytes and knows nothing of calls: no hop costs less.
pub(super) fn relayed(place: &Place<'_>, name: &str) -> Result<Path> {
    hops(place, name, &["relay"])
}

/// Two of them in a row, as many hops as a gateway and an agent are.
pub(super) fn relayed_twice(place: &Place<'_>, name: &str) -> Result<Path> {
    hops(place, name, &["second", "relay"])
}

/// A server, and before it relays of these names, the nearest to it first.
fn hops(place: &Place<'_>, name: &str, relays: &[&'static str]) -> Result<Path> {
    let mut path = Path::bare(name);
    let mut next = server(&mut path, place, 1)?;
    for name in relays {
        let mut relay = Command::new(&place.programs.server);
        relay.args(["relay", "127.0.0.1:0", &next]);
        next = named(&path.start(place, name, &relay)?, "addr")?;
    }
    path.address = next;
    Ok(path)
}

/// A server for whatever stands before it; where it listens.
pub(super) fn server(path: &mut Path, place: &Place<'_>, threads: u16) -> Result<String> {
    let mut server = Command::new(&place.programs.server);
    server.args(["direct", "127.0.0.1:0", "--threads", &threads.to_string()]);
    named(&path.start(place, "server", &server)?, "addr")
}
