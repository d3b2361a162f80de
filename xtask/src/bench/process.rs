//! Programs that run beside: started, waited for with a limit, looked at, and ended with whatever they started.

use std::collections::BTreeMap;
use std::fs::{File, read_to_string};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::shell;

/// How long a program may take until it is ready.
const READY: Duration = Duration::from_secs(20);
/// How often a program that says nothing when it is ready is asked.
const ASK: Duration = Duration::from_millis(50);
/// How long it may take to end once it is told to.
const END: Duration = Duration::from_secs(5);

/// A running program. It ends when this is dropped, and, where `setpriv` is there to see to it, when xtask is killed.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    name: String,
    log: std::path::PathBuf,
}

impl Running {
    /// Starts it; what it says on stderr goes to the file `name.log` in `logs`.
    pub(crate) fn start(command: &Command, name: &str, logs: &Path) -> Result<Self> {
        std::fs::create_dir_all(logs)?;
        let log = logs.join(format!("{name}.log"));
        let mut command = dying_with_us(command);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn();
        let mut child = child.with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (send, lines) = sync_channel(64);
        // Ends with the last process that holds the pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // When nobody reads any more the pipe must still not fill up.
                let _ = send.try_send(line);
            }
        });
        Ok(Self {
            child,
            lines,
            name: name.to_owned(),
            log,
        })
    }

    /// Waits for its line `ready A=B C=D`; gives what it names.
    pub(crate) fn ready(&self) -> Result<BTreeMap<String, String>> {
        self.ready_within(READY)
    }

    /// As `ready`, for what has more to do first.
    pub(crate) fn ready_within(&self, limit: Duration) -> Result<BTreeMap<String, String>> {
        let end = shell::now() + limit;
        loop {
            let left = end.saturating_duration_since(shell::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let Some(words) = line.strip_prefix("ready ") else {
                        continue;
                    };
                    let pairs = words.split(' ').filter_map(|word| word.split_once('='));
                    return Ok(pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect());
                }
                Err(RecvTimeoutError::Disconnected) => bail!("{}", self.trouble("has ended")),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{}", self.trouble(&format!("is not ready after {limit:?}")))
                }
            }
        }
    }

    /// Waits until `is_ready` says so, for a program that does not say so itself.
    pub(crate) fn until(&self, what: &str, is_ready: impl Fn() -> bool) -> Result<()> {
        let end = shell::now() + READY;
        while !is_ready() {
            ensure!(
                shell::now() < end,
                "{}",
                self.trouble(&format!("{what}: not after {READY:?}"))
            );
            if let Err(RecvTimeoutError::Disconnected) = self.lines.recv_timeout(ASK) {
                bail!("{}", self.trouble("has ended"));
            }
        }
        Ok(())
    }

    /// One line of what went wrong, with the end of what it said.
    fn trouble(&self, what: &str) -> String {
        let said = read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        let log = self.log.display();
        format!(
            "{} {what}; it said: {} ({log})",
            self.name,
            last.join(" | ")
        )
    }

    /// It and all that it started, as ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = pids.get(next).copied() {
            next += 1;
            let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
            for thread in threads.into_iter().flatten().flatten() {
                let children = read_to_string(thread.path().join("children")).unwrap_or_default();
                pids.extend(
                    children
                        .split_whitespace()
                        .filter_map(|it| it.parse::<u32>().ok()),
                );
            }
        }
        pids
    }

    /// Memory that is resident, of all its processes together, in KiB. What they share counts for each.
    pub(crate) fn rss_kib(&self) -> Result<u64> {
        let of = |pid: u32| {
            let status = read_to_string(format!("/proc/{pid}/status"));
            let status = status.with_context(|| format!("{} has ended", self.name))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
            kib.with_context(|| format!("no VmRSS of {}", self.name))
        };
        self.pids().into_iter().map(of).sum()
    }

    /// Processor time so far, of all its processes, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let of = |pid: u32| {
            let stat = read_to_string(format!("/proc/{pid}/stat"));
            let stat = stat.with_context(|| format!("{} has ended", self.name))?;
            // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th words after it.
            let words = stat
                .rsplit_once(')')
                .map(|(_, after)| after.split_whitespace());
            let ticks = words.map(|words| words.skip(11).take(2).map(str::parse::<u64>));
            let ticks = ticks.with_context(|| format!("the stat file of {}", self.name))?;
            Ok(ticks.sum::<Result<u64, _>>()? as f64 / TICKS)
        };
        self.pids().into_iter().map(of).sum()
    }
}

/// Clock ticks a second in `/proc/PID/stat` (`USER_HZ`).
const TICKS: f64 = 100.0;

impl Drop for Running {
    fn drop(&mut self) {
        let pids = self.pids();
        tell(&pids[..1], Signal::TERM);
        // The pipe ends with the last of them.
        let end = shell::now() + END;
        loop {
            let left = end.saturating_duration_since(shell::now());
            match self.lines.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    tell(&pids, Signal::KILL);
                    break;
                }
            }
        }
        let _ = self.child.wait();
    }
}

fn tell(pids: &[u32], signal: Signal) {
    for pid in pids {
        let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
        // One that has ended already needs no telling.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }
}

/// The same command, told by the kernel to end when xtask does, however that is: a benchmark that was killed must not
/// leave servers behind.
fn dying_with_us(command: &Command) -> Command {
    let has_setpriv = shell::is_there(Command::new("setpriv").arg("--version"));
    let mut started = if has_setpriv {
        let mut setpriv = Command::new("setpriv");
        setpriv
            .args(["--pdeathsig", "TERM", "--"])
            .arg(command.get_program());
        setpriv
    } else {
        Command::new(command.get_program())
    };
    started.args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            started.env(key, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        started.current_dir(folder);
    }
    started
}
