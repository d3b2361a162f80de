//! A subject that runs: its process, its signals and the last words of its log.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::pb::SubjectReply;

/// What is kept of what a subject writes, in bytes: its last few hundred lines.
const TAIL: usize = 64 * 1024;
/// How long the last words of a process that ended may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A subject that is ready. Its process ends with this value, at the latest.
#[derive(Debug)]
pub struct Running {
    /// What it said of itself.
    pub reply: SubjectReply,
    /// None where it ran before.
    pub(super) process: Option<Process>,
}

impl Running {
    /// Whether the suite started it, and may end it.
    pub fn is_ours(&self) -> bool {
        self.process.is_some()
    }

    /// Asks it to drain and exit: SIGTERM. Nothing, where the suite did not start it or it has exited.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it: SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Stops it where it stands: SIGSTOP.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on: SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Closes its standard input, which asks it to end.
    pub fn close_stdin(&mut self) {
        if let Some(process) = &mut self.process {
            process.stdin = None;
        }
    }

    /// Waits until it has exited.
    ///
    /// # Errors
    /// Where it does not within this limit, or the suite did not start it.
    pub async fn exited(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let Some(process) = &mut self.process else {
            return Err(io::Error::other("the suite did not start this subject"));
        };
        match tokio::time::timeout(limit, process.child.wait()).await {
            Ok(status) => {
                process.last_words().await;
                status
            }
            Err(_) => {
                let say = format!("{} did not exit within {limit:?}", process.command);
                Err(io::Error::new(io::ErrorKind::TimedOut, say))
            }
        }
    }

    /// The last of what it wrote to its standard error.
    pub fn stderr(&self) -> String {
        let process = self.process.as_ref();
        process.map_or_else(String::new, |process| process.tail.text())
    }

    /// The memory that it has resident, in bytes; none where the suite did not start it, it has exited, or the
    /// operating system does not say. Of a program that starts another one it is the first one's.
    pub fn memory(&self) -> Option<u64> {
        let id = self.process.as_ref()?.child.id()?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        resident(&status)
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }
}

/// What Linux says of a process: its resident memory in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let number = line.trim().strip_suffix("kB")?.trim();
    number.parse().ok().map(|kib: u64| kib * 1024)
}

/// A process that the suite started.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) command: String,
    pub(super) child: Child,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) tail: Tail,
    /// What reads its log.
    followers: JoinSet<()>,
}

impl Process {
    /// Starts a program with its arguments. It is killed when this is dropped.
    pub(super) fn spawn(words: &[String]) -> io::Result<Self> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(io::Error::other("no program is named"));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (tail, mut followers) = (Tail::default(), JoinSet::new());
        if let Some(stderr) = child.stderr.take() {
            followers.spawn(tail.clone().follow(stderr));
        }
        Ok(Self {
            command: words.join(" "),
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            child,
            tail,
            followers,
        })
    }

    /// From now on what it writes to its standard output is kept with the rest.
    pub(super) fn release_stdout(&mut self) {
        if let Some(stdout) = self.stdout.take() {
            self.followers.spawn(self.tail.clone().follow(stdout));
        }
    }

    /// Waits until all that a process wrote before it ended is kept. Children of its own may hold its
    /// log open for longer.
    pub(super) async fn last_words(&mut self) {
        let followed = async { while self.followers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, followed).await;
    }

    fn signal(&self, signal: Signal) {
        // There is an id as long as nobody waited for the end, so it is nobody else's.
        let id = self.child.id().and_then(|id| Pid::from_raw(id as i32));
        if let Some(id) = id {
            let _ = kill_process(id, signal);
        }
    }
}

/// The last bytes of a log.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    /// Keeps what comes, to its end.
    async fn follow(self, mut from: impl AsyncRead + Unpin) {
        let mut piece = vec![0; 8 * 1024];
        while let Ok(n @ 1..) = from.read(&mut piece).await {
            self.keep(&piece[..n]);
        }
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let over = kept.len().saturating_sub(TAIL);
        kept.drain(..over);
    }

    pub(super) fn text(&self) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).into_owned()
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_bounded_and_keeps_the_last() {
        let tail = Tail::default();
        tail.keep(&[b'a'; TAIL]);
        tail.keep(b"the end");
        let text = tail.text();
        assert_eq!(text.len(), TAIL);
        assert!(text.starts_with("aaa") && text.ends_with("the end"));
    }

    #[test]
    fn resident_memory_is_read_in_kibibytes() {
        let status = "Name:\tit\nVmHWM:\t  9 kB\nVmRSS:\t  12 kB\nThreads:\t1\n";
        assert_eq!(resident(status), Some(12 * 1024));
        assert_eq!(resident("Name:\tit\n"), None);
    }
}
