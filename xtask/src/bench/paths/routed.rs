//! Through this project's gateway, with the README's command lines.

use std::process::Command;

use anyhow::Result;

use super::{Path, Place, direct, named};

/// What differs from the README's command lines.
pub(super) struct Flags {
    gateway: &'static [&'static str],
    instance: &'static [&'static str],
}

pub(super) const DEFAULTS: Flags = Flags {
    gateway: &[],
    instance: &[],
};

/// Windows that hold more than one large message, at the price of a larger B.
pub(super) const WIDE: Flags = Flags {
    gateway: &["--client-window", "1MiB", "--call-window", "256KiB"],
    instance: &["--call-window", "262144"],
};

/// A server that is an instance itself.
pub(super) fn instance(place: &Place<'_>, name: &str, flags: &Flags) -> Result<Path> {
    let mut path = Path::bare(name);
    let tunnel = gateway(&mut path, place, flags.gateway)?;
    let mut instance = Command::new(&place.programs.server);
    instance
        .args(["instance", &format!("http://{tunnel}")])
        .args(flags.instance);
    path.start(place, "instance", &instance)?;
    Ok(path)
}

/// An agent beside a server that knows nothing of it.
pub(super) fn agent(place: &Place<'_>, name: &str) -> Result<Path> {
    let mut path = Path::bare(name);
    let upstream = direct::server(&mut path, place, 1)?;
    let tunnel = gateway(&mut path, place, &[])?;
    let mut agent = Command::new(&place.programs.router);
    agent.args(["agent", "--gateway", &format!("http://{tunnel}")]);
    agent.args([
        "--upstream",
        &format!("http://{upstream}"),
        "--id",
        "site-7",
    ]);
    agent.args(["--service", "bench.v1.Bench"]);
    path.start(place, "agent", &agent)?;
    Ok(path)
}

/// Where instances dial it.
fn gateway(path: &mut Path, place: &Place<'_>, flags: &[&str]) -> Result<String> {
    let mut gateway = Command::new(&place.programs.router);
    gateway.args(["gateway", "--listen", "127.0.0.1:0"]);
    gateway.args(["--tunnel-listen", "127.0.0.1:0"]).args(flags);
    let ready = path.start(place, "gateway", &gateway)?;
    path.address = named(&ready, "client")?;
    named(&ready, "tunnel")
}

/// Of many instances on one machine each has the same address.
const MANY: &[&str] = &["--max-connections-per-ip", "16384"];

/// A gateway that lets many instances in; where they dial it.
pub(in super::super) fn gateway_for_many(path: &mut Path, place: &Place<'_>) -> Result<String> {
    gateway(path, place, MANY)
}

/// The same with an instance that takes calls.
pub(in super::super) fn instance_for_many(place: &Place<'_>, name: &str) -> Result<(Path, String)> {
    let mut path = Path::bare(name);
    let tunnel = gateway(&mut path, place, MANY)?;
    let mut instance = Command::new(&place.programs.server);
    instance.args(["instance", &format!("http://{tunnel}")]);
    path.start(place, "instance", &instance)?;
    Ok((path, tunnel))
}
