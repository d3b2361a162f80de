//! Processor time of other processes, from the operating system.

use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// Clock ticks a second in `/proc/PID/stat`: what Linux gives to every program on every architecture that it is
/// run on here (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Processes that count as one: a name and their ids, as `gateway=12` or `proxy=34,35`.
#[derive(Debug, Clone)]
pub struct Group {
    name: String,
    pids: Vec<u32>,
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}`: expected NAME=PID[,PID...]");
        let (name, pids) = text.split_once('=').ok_or_else(expected)?;
        let pids = pids
            .split(',')
            .map(|pid| pid.parse().map_err(|_| expected()));
        Ok(Self {
            name: name.to_owned(),
            pids: pids.collect::<Result<_, _>>()?,
        })
    }
}

/// All processes whose time is taken, this one too.
#[derive(Debug, Clone, Default)]
pub struct Processes(Vec<Group>);

impl Processes {
    /// These, and this process under the name `load`.
    pub fn new(mut others: Vec<Group>) -> Self {
        others.push(Group {
            name: "load".to_owned(),
            pids: vec![std::process::id()],
        });
        Self(others)
    }

    /// Processor time of each group so far, in seconds: of all threads, in user and in kernel mode, and of children
    /// that have ended. It moves in steps of 10 ms.
    ///
    /// # Errors
    /// One of the processes is gone, which is no state to measure in.
    pub fn seconds(&self) -> Result<Vec<(String, f64)>> {
        let of_group = |group: &Group| {
            let seconds = group.pids.iter().map(|pid| seconds(*pid));
            let sum: Result<f64> = seconds.sum();
            Ok((group.name.clone(), sum?))
        };
        self.0.iter().map(of_group).collect()
    }
}

fn seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}: the process has ended"))?;
    // The name, in parentheses, may hold anything; utime to cstime are the 12th to 15th words after it.
    let after = text
        .rsplit_once(')')
        .context("a stat file without a name")?
        .1;
    let words: Vec<&str> = after.split_whitespace().collect();
    let Some(times) = words.get(11..15) else {
        bail!("{path} has {} words", words.len());
    };
    let mut ticks = 0;
    for time in times {
        ticks += time
            .parse::<u64>()
            .with_context(|| format!("{path}: `{time}`"))?;
    }
    Ok(ticks as f64 / TICKS)
}
