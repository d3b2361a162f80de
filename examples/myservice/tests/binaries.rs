//! The three binaries together, as their users start them.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The most that any event may take; only a failure uses it up.
const LIMIT: Duration = Duration::from_secs(30);

/// A running binary; it is killed when it is dropped.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(binary: &str, args: &[&str]) -> Self {
        let mut child = Command::new(binary)
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await;
        let line = line.expect("a line in time").expect("reads");
        line.expect("it goes on")
    }

    /// Sends SIGTERM; the exit code.
    async fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().expect("it runs").to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(kill.expect("kill").success());
        let ended = tokio::time::timeout(LIMIT, self.child.wait()).await;
        ended.expect("it drains in time").expect("a child").code()
    }

    /// Listening TCP sockets of this very process.
    fn listeners(&self) -> usize {
        let id = self.child.id().expect("it runs");
        let listening: Vec<String> = ["tcp", "tcp6"]
            .iter()
            .flat_map(|table| {
                let table = std::fs::read_to_string(format!("/proc/{id}/net/{table}"));
                let table = table.expect("the process runs");
                let fields = table.lines().skip(1).map(|line| {
                    let fields: Vec<&str> = line.split_whitespace().collect();
                    (fields[3] == "0A").then(|| format!("socket:[{}]", fields[9]))
                });
                fields.flatten().collect::<Vec<_>>()
            })
            .collect();
        let files = std::fs::read_dir(format!("/proc/{id}/fd")).expect("the process runs");
        let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        targets
            .filter(|target| {
                listening
                    .iter()
                    .any(|socket| target.as_os_str() == socket.as_str())
            })
            .count()
    }
}

fn router() -> Process {
    let args = ["--listen", "127.0.0.1:0", "--tunnel-listen", "127.0.0.1:0"];
    Process::start(env!("CARGO_BIN_EXE_myservice-router"), &args)
}

fn instance(args: &[&str]) -> Process {
    Process::start(env!("CARGO_BIN_EXE_myservice"), args)
}

async fn client(args: &[&str]) -> std::process::Output {
    let run = Command::new(env!("CARGO_BIN_EXE_myservice-client"))
        .args(args)
        .output();
    tokio::time::timeout(LIMIT, run)
        .await
        .expect("ends in time")
        .expect("runs")
}

/// What stands behind a name in a line such as `ready client=ADDR tunnel=ADDR`.
fn part<'a>(line: &'a str, name: &str) -> &'a str {
    let found = line.split(' ').find_map(|word| word.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in {line}"))
}

#[tokio::test]
async fn the_same_implementation_answers_alike_in_every_mode() {
    let mut gateway = router();
    let ready = gateway.line().await;
    let target = format!("http://{}", part(&ready, "client="));
    let tunnel = format!("http://{}", part(&ready, "tunnel="));

    let mut direct = instance(&["--mode", "direct", "--listen", "127.0.0.1:0"]);
    let ready = direct.line().await;
    assert!(
        ready.starts_with("ready mode=direct listen=127.0.0.1:"),
        "{ready}"
    );
    let direct_uri = format!("http://{}", part(&ready, "listen="));

    let mut routed = instance(&["--mode", "routed", "--gateway", &tunnel, "--id", "east"]);
    let ready = routed.line().await;
    assert_eq!(ready, format!("ready mode=routed id=east gateway={tunnel}"));

    let listen = ["--listen", "127.0.0.1:0"];
    let both = ["--mode", "both", "--gateway", &tunnel, "--id", "west"];
    let mut both = instance(&[&both[..], &listen[..]].concat());
    let ready = both.line().await;
    assert!(
        ready.starts_with("ready mode=both listen=127.0.0.1:"),
        "{ready}"
    );
    assert!(
        ready.ends_with(&format!("id=west gateway={tunnel}")),
        "{ready}"
    );
    let both_uri = format!("http://{}", part(&ready, "listen="));

    assert_eq!(
        [direct.listeners(), routed.listeners(), both.listeners()],
        [1, 0, 1]
    );

    for (id, other) in [("east", &direct_uri), ("west", &both_uri)] {
        let output = client(&["--target", &target, "--direct", other, "--instance", id]).await;
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{said}{:?}", output.stderr);
        assert_eq!(said.matches(&format!("from {id}")).count(), 8, "{said}");
        assert!(
            said.ends_with("the direct answers are the same\n"),
            "{said}"
        );
    }

    for process in [routed, both, direct, gateway] {
        assert_eq!(process.terminate().await, Some(0));
    }
}

#[tokio::test]
async fn what_cannot_be_is_said_in_one_line() {
    let said = async |args: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_myservice"))
            .args(args)
            .output();
        let output = tokio::time::timeout(LIMIT, run).await;
        let output = output.expect("ends in time").expect("runs");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let line = String::from_utf8(output.stderr).expect("text");
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    let line = said(&["--mode", "routed", "--gateway", "http://127.0.0.1:1"]).await;
    assert!(line.contains("--id is missing"), "{line}");
    let line = said(&["--mode", "routed", "--listen", "127.0.0.1:0", "--id", "a"]).await;
    assert!(line.contains("--listen is given"), "{line}");
    let line = said(&["--mode", "proxy"]).await;
    assert!(line.contains("expected direct, routed or both"), "{line}");
    let output = client(&["--target", "http://127.0.0.1:1"]).await;
    let line = String::from_utf8(output.stderr).expect("text");
    assert!(
        line.contains("http://127.0.0.1:1") && line.contains("refused"),
        "it says what it could not reach, and why: {line}"
    );
}
