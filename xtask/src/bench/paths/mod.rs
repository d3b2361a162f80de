//! What stands between client and service, and how it is started.

mod direct;
mod peers;
mod routed;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

pub(super) use routed::{gateway_for_many, instance_for_many};

use super::process::Running;
use super::programs::Programs;
use crate::workspace::Workspace;

/// A way from client to service.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What the others are compared with.
    pub(crate) is_direct: bool,
    /// Somebody else's program, which may not be there.
    pub(crate) is_peer: bool,
    /// Only for echoes, to show what wider windows bring.
    pub(crate) is_wide: bool,
    pub(crate) start: fn(&Place<'_>, &str) -> Result<Path>,
}

const fn ours(
    name: &'static str,
    title: &'static str,
    start: fn(&Place<'_>, &str) -> Result<Path>,
) -> Kind {
    Kind {
        name,
        title,
        is_direct: false,
        is_peer: false,
        is_wide: false,
        start,
    }
}

const fn peer(
    name: &'static str,
    title: &'static str,
    start: fn(&Place<'_>, &str) -> Result<Path>,
) -> Kind {
    Kind {
        is_peer: true,
        ..ours(name, title, start)
    }
}

pub(crate) const ALL: &[Kind] = &[
    Kind {
        is_direct: true,
        ..ours(
            "direct",
            "direct, server on current_thread",
            |place, name| direct::start(place, name, 1),
        )
    },
    Kind {
        is_direct: true,
        ..ours(
            "direct-mt",
            "direct, server on two workers",
            |place, name| direct::start(place, name, 2),
        )
    },
    ours("instance", "gateway + instance library", |place, name| {
        routed::instance(place, name, &routed::DEFAULTS)
    }),
    ours("agent", "gateway + agent + tonic server", routed::agent),
    Kind {
        is_wide: true,
        ..ours(
            "instance-wide",
            "gateway + instance library, wide windows",
            |place, name| routed::instance(place, name, &routed::WIDE),
        )
    },
    ours(
        "tcp-relay",
        "bare TCP relay (an experiment: bytes, no calls)",
        direct::relayed,
    ),
    ours(
        "tcp-relays",
        "two bare TCP relays in a row (an experiment)",
        direct::relayed_twice,
    ),
    peer("haproxy", "HAProxy (forward proxy)", peers::haproxy),
    peer("nginx", "nginx (forward proxy)", peers::nginx),
    peer("envoy", "Envoy, 2 workers (forward proxy)", peers::envoy),
    peer(
        "envoy-reverse",
        "Envoy reverse tunnel",
        peers::envoy_reverse,
    ),
];

/// A way that is up.
pub(crate) struct Path {
    pub(crate) name: String,
    /// Where clients call.
    pub(crate) address: String,
    /// What clients send with each call so that it finds its server, as `NAME=VALUE`.
    pub(crate) header: Option<String>,
    /// What it consists of, by the name under which its processor time and memory are counted.
    pub(crate) processes: Vec<(&'static str, Running)>,
    pub(crate) commands: Vec<String>,
}

/// What starting a path needs.
pub(crate) struct Place<'a> {
    pub(crate) programs: &'a Programs,
    /// Where the settings of peers are, with places to be filled in.
    peers: PathBuf,
    /// Whatever is written meanwhile.
    folder: PathBuf,
    /// What processes say on stderr.
    pub(crate) logs: PathBuf,
}

impl<'a> Place<'a> {
    pub(crate) fn new(workspace: &Workspace, programs: &'a Programs) -> Self {
        Self {
            programs,
            peers: workspace.root.join("benches/peers"),
            folder: workspace.target.join("bench"),
            logs: workspace.target.join("bench/logs"),
        }
    }

    /// A peer's settings, filled in: the file.
    fn config(&self, name: &str, template: &str, filled: &[(&str, &str)]) -> Result<PathBuf> {
        let template = self.peers.join(template);
        let text = std::fs::read_to_string(&template);
        let mut text = text.with_context(|| format!("cannot read {}", template.display()))?;
        for (place, value) in filled {
            text = text.replace(place, value);
        }
        let ending = template.extension().unwrap_or_default();
        let file = self
            .folder
            .join(format!("{name}.{}", ending.to_string_lossy()));
        std::fs::create_dir_all(&self.folder)?;
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

impl Path {
    /// Nothing yet.
    pub(super) fn bare(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: String::new(),
            header: None,
            processes: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// One process more; its ready line.
    fn start(
        &mut self,
        place: &Place<'_>,
        group: &'static str,
        command: &Command,
    ) -> Result<BTreeMap<String, String>> {
        let process = self.start_silent(place, group, command)?;
        process.ready()
    }

    /// One process more, which does not say when it is ready.
    fn start_silent(
        &mut self,
        place: &Place<'_>,
        group: &'static str,
        command: &Command,
    ) -> Result<&mut Running> {
        self.commands.push(shown(command, &place.folder));
        let name = format!("{}-{group}", self.name);
        let process = Running::start(command, &name, &place.logs)?;
        self.processes.push((group, process));
        Ok(&mut self.processes.last_mut().context("it was just added")?.1)
    }

    /// Resident memory by group, in KiB.
    pub(crate) fn memory(&self) -> Result<BTreeMap<String, u64>> {
        let of = |(group, process): &(&str, Running)| Ok(((*group).to_owned(), process.rss_kib()?));
        self.processes.iter().map(of).collect()
    }
}

/// A command as one would type it at the project's root, whatever machine it ran on.
fn shown(command: &Command, folder: &std::path::Path) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let args = command.get_args().map(|arg| arg.to_string_lossy());
    std::iter::once(name)
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
        .replace(&*folder.to_string_lossy(), "target/bench")
}

/// A value of a ready line.
fn named(ready: &BTreeMap<String, String>, name: &str) -> Result<String> {
    let value = ready.get(name).cloned();
    value.with_context(|| format!("a ready line without {name}="))
}
