//! From what the command line says of a subject to one that runs.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::process::{Process, Running};
use super::wire;
use crate::pb::{SubjectInstance, SubjectReply, SubjectRequest};
use crate::probe::side::Side;

/// How long a subject may take to reply: an interpreter starts within seconds, on a busy machine too.
const READY: Duration = Duration::from_secs(30);
/// How long a process that is of no use may take to end by itself, before it is killed.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the command line said of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A program that speaks `subject.proto`, and its arguments.
    Program(Vec<String>),
    /// A gateway that runs already, with limits that the suite did not choose.
    Gateway {
        /// Where clients call.
        client: SocketAddr,
        /// Where instances dial.
        tunnel: SocketAddr,
    },
    /// A program that is a gateway, and its arguments. Its first line on the standard output says that it is ready,
    /// `ready client=IP:PORT tunnel=IP:PORT`, and `bound=BYTES` where it declares one. It takes no settings.
    Ready(Vec<String>),
    /// A program that is an instance, and its arguments, in which `{gateway}` stands for a gateway's tunnel port,
    /// `{id}` for the instance's id and `{side}` for where the side channel is dialled. It is ready when it says
    /// hello there.
    Instance(Vec<String>),
}

/// A subject that did not start.
#[derive(Debug, thiserror::Error)]
#[error("subject `{command}`: {what}{}", after(stderr))]
pub struct StartError {
    command: String,
    what: String,
    stderr: String,
}

fn after(stderr: &str) -> String {
    match stderr.trim_end() {
        "" => String::new(),
        text => format!("; its standard error:\n{text}"),
    }
}

impl Subject {
    /// A program by its command line: words between spaces, and no shell.
    pub fn program(command: &str) -> Self {
        Self::Program(words(command))
    }

    /// A gateway by its command line, which is cut in the same way.
    pub fn ready(command: &str) -> Self {
        Self::Ready(words(command))
    }

    /// An instance by its command line, which is cut in the same way.
    pub fn instance(command: &str) -> Self {
        Self::Instance(words(command))
    }

    /// Starts it, and waits until it is ready, 30 s at most.
    ///
    /// # Errors
    /// Why it is not, with the last of its log.
    pub async fn start(
        &self,
        request: &SubjectRequest,
        side: &Side,
    ) -> Result<Running, StartError> {
        self.start_within(READY, request, side).await
    }

    /// The same within another limit.
    ///
    /// # Errors
    /// Why it is not ready, with the last of its log.
    pub async fn start_within(
        &self,
        limit: Duration,
        request: &SubjectRequest,
        side: &Side,
    ) -> Result<Running, StartError> {
        match self {
            Self::Gateway { client, tunnel } => Ok(Running {
                reply: SubjectReply {
                    client_addr: client.to_string(),
                    tunnel_addr: tunnel.to_string(),
                    ..SubjectReply::default()
                },
                process: None,
            }),
            Self::Program(words) => {
                let mut process = spawn(words)?;
                match tokio::time::timeout(limit, ask(&mut process, request)).await {
                    Ok(Ok(reply)) if reply.error.is_empty() => {
                        process.release_stdout();
                        let process = Some(process);
                        Ok(Running { reply, process })
                    }
                    Ok(Ok(reply)) => Err(failed(process, reply.error).await),
                    Ok(Err(error)) => Err(failed(process, format!("no reply: {error}")).await),
                    Err(_) => Err(failed(process, format!("no reply within {limit:?}")).await),
                }
            }
            Self::Ready(words) => {
                let mut process = spawn(words)?;
                let line = tokio::time::timeout(limit, first_line(&mut process)).await;
                match line.map(|line| line.map(|line| ready(&line).ok_or(line))) {
                    Ok(Ok(Ok(reply))) => {
                        process.release_stdout();
                        let process = Some(process);
                        Ok(Running { reply, process })
                    }
                    Ok(Ok(Err(line))) => {
                        let what = "is no `ready client=IP:PORT tunnel=IP:PORT`";
                        Err(failed(process, format!("its first line {line:?} {what}")).await)
                    }
                    Ok(Err(error)) => Err(failed(process, format!("not ready: {error}")).await),
                    Err(_) => Err(failed(process, format!("not ready within {limit:?}")).await),
                }
            }
            Self::Instance(words) => {
                let asked = request.instance.as_ref();
                let Some((asked, gateway)) = asked.and_then(|it| Some((it, it.gateways.first()?)))
                else {
                    let command = words.join(" ");
                    let what = "a command is an instance, and needs a gateway".to_owned();
                    let stderr = String::new();
                    return Err(StartError {
                        command,
                        what,
                        stderr,
                    });
                };
                let before = side.said_hello(&asked.id);
                let mut process = spawn(&filled(words, asked, gateway))?;
                process.release_stdout();
                let hello = side.hellos(&asked.id, before + 1);
                let exited = process.child.wait();
                let said = tokio::time::timeout(limit, async {
                    tokio::select! {
                        biased;
                        hello = hello => hello.map_err(|missed| missed.to_string()),
                        status = exited => Err(match status {
                            Ok(status) => format!("it ended before its hello: {status}"),
                            Err(error) => error.to_string(),
                        }),
                    }
                });
                match said.await {
                    Ok(Ok(())) => Ok(Running {
                        reply: SubjectReply::default(),
                        process: Some(process),
                    }),
                    Ok(Err(what)) => Err(failed(process, what).await),
                    Err(_) => Err(failed(process, format!("no hello within {limit:?}")).await),
                }
            }
        }
    }
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

fn filled(words: &[String], asked: &SubjectInstance, gateway: &str) -> Vec<String> {
    let fill = |word: &String| {
        let word = word
            .replace("{gateway}", gateway)
            .replace("{id}", &asked.id);
        word.replace("{side}", &asked.side)
    };
    words.iter().map(fill).collect()
}

fn spawn(words: &[String]) -> Result<Process, StartError> {
    Process::spawn(words).map_err(|error| StartError {
        command: words.join(" "),
        what: format!("cannot be started: {error}"),
        stderr: String::new(),
    })
}

/// The first line of a process's standard output, at most 4 KiB of it.
async fn first_line(process: &mut Process) -> std::io::Result<String> {
    let Some(stdout) = &mut process.stdout else {
        return Err(std::io::Error::other("it has no standard output"));
    };
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 4_096 && stdout.read(&mut byte).await? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// What a line that says `ready` says of addresses and bound.
fn ready(line: &str) -> Option<SubjectReply> {
    let mut parts = line.trim().split(' ');
    if parts.next() != Some("ready") {
        return None;
    }
    let parts: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let of = |name| {
        parts
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    };
    Some(SubjectReply {
        client_addr: of("client")?.to_owned(),
        tunnel_addr: of("tunnel")?.to_owned(),
        bound_bytes: of("bound").map_or(Some(0), |bytes| bytes.parse().ok())?,
        ..SubjectReply::default()
    })
}

/// Sends the request, and reads the reply.
async fn ask(process: &mut Process, request: &SubjectRequest) -> std::io::Result<SubjectReply> {
    let (Some(stdin), Some(stdout)) = (&mut process.stdin, &mut process.stdout) else {
        return Err(std::io::Error::other("it has no standard input or output"));
    };
    // What it says counts, also where it does not read all.
    let written = wire::write(stdin, request).await;
    let reply = wire::read(stdout).await;
    reply.map_err(|error| written.err().unwrap_or(error))
}

/// Ends a process that is of no use, and tells what it said.
async fn failed(mut process: Process, what: String) -> StartError {
    process.stdin = None;
    let ended = tokio::time::timeout(GOODBYE, process.child.wait()).await;
    let what = match ended {
        Ok(Ok(status)) if !status.success() => format!("{what} ({status})"),
        _ => what,
    };
    let _ = process.child.start_kill();
    process.last_words().await;
    StartError {
        command: process.command.clone(),
        what,
        stderr: process.tail.text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_says_ready_has_two_addresses() {
        let reply = ready("ready client=127.0.0.1:1 tunnel=127.0.0.1:2 bound=99").unwrap();
        assert_eq!(
            (&reply.client_addr[..], reply.bound_bytes),
            ("127.0.0.1:1", 99)
        );
        assert!(ready("ready client=127.0.0.1:1").is_none());
        assert!(ready("client=127.0.0.1:1 tunnel=127.0.0.1:2").is_none());
        assert!(ready("ready client=a tunnel=b bound=much").is_none());
    }

    #[test]
    fn words_are_filled_one_by_one() {
        let asked = SubjectInstance {
            id: "it is one word".to_owned(),
            side: "127.0.0.1:2".to_owned(),
            ..SubjectInstance::default()
        };
        let Subject::Instance(words) = Subject::instance("run  --id={id} {gateway} {side}") else {
            panic!("an instance");
        };
        let filled = filled(&words, &asked, "127.0.0.1:1");
        let expected = ["run", "--id=it is one word", "127.0.0.1:1", "127.0.0.1:2"];
        assert_eq!(filled, expected);
    }
}
