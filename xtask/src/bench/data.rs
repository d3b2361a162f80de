//! What was measured, raw: the file that is committed, and from which a report can be made again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::machine::Machine;

/// One campaign.
#[derive(Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    /// Length of an interval.
    pub(crate) seconds: f64,
    pub(crate) paths: Vec<PathData>,
    /// Paths that did not run, and why: missing, never beaten.
    pub(crate) missing: Vec<Missing>,
    /// Measurements that are not there because something went wrong.
    pub(crate) failures: Vec<Failure>,
    /// What is measured once, of many instances.
    pub(crate) figures: Vec<Figure>,
    pub(crate) samples: Vec<Sample>,
}

/// A figure with its name.
#[derive(Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// What stands between client and service.
#[derive(Serialize, Deserialize)]
pub(crate) struct PathData {
    pub(crate) name: String,
    pub(crate) title: String,
    /// How it was started.
    pub(crate) commands: Vec<String>,
    /// Resident memory by group of processes, before the first call, in KiB.
    pub(crate) idle_kib: BTreeMap<String, u64>,
    /// The same with 1,000 open and idle streams.
    pub(crate) streams_kib: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) path: String,
    pub(crate) why: String,
}

/// A measurement that gave nothing, and why.
#[derive(Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) path: String,
    pub(crate) what: String,
    pub(crate) why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.path, self.what, self.why)
    }
}

/// One measured interval.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) round: u32,
    pub(crate) path: String,
    pub(crate) workload: String,
    #[serde(flatten)]
    pub(crate) part: Part,
}

/// One interval, as the load program gives it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) seconds: f64,
    pub(crate) count: u64,
    pub(crate) per_second: f64,
    pub(crate) mb_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) bulk_mb_per_second: Option<f64>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) cpu_seconds: BTreeMap<String, f64>,
}

impl Data {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let name = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        serde_json::from_str(&text).with_context(|| format!("{name} is no file of raw data"))
    }

    /// One line a sample: such a file can be read, compared and committed.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut all = serde_json::to_value(self)?;
        let samples = all["samples"].take();
        let samples = samples.as_array().context("samples are a list")?;
        let lines: Result<Vec<String>, _> = samples.iter().map(serde_json::to_string).collect();
        let lines = lines?.join(",\n    ");
        all["samples"] = serde_json::Value::String("@".to_owned());
        let text = serde_json::to_string_pretty(&all)?;
        let text = text.replacen("\"@\"", &format!("[\n    {lines}\n  ]"), 1);
        std::fs::write(file, text + "\n")
            .with_context(|| format!("cannot write {}", file.display()))
    }
}
