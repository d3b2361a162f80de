//! The Docker daemon: whether it answers, and a hop before it for clients that are newer than it is.

use std::io::{Read, Write, copy};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// The longest head of a request, in bytes.
const HEAD_MAX: usize = 64 * 1024;

/// Why no daemon can be used here; none where `docker info` answers.
pub(crate) fn absent() -> Option<&'static str> {
    if !shell::is_there(Command::new("docker").arg("--version")) {
        return Some("docker is absent");
    }
    (!shell::is_there(Command::new("docker").arg("info")))
        .then_some("`docker info` does not answer")
}

/// Where the daemon is asked, for DOCKER_HOST; and the hop, which ends with the value.
///
/// testcontainers asks for the newest version of the API that it knows, and an older daemon refuses that, though
/// nothing that is asked for is new. Requests that go through the hop ask for the daemon's own version.
pub(crate) struct Docker {
    pub(crate) host: String,
    hop: Option<PathBuf>,
}

impl Docker {
    pub(crate) fn find() -> Result<Self> {
        let ask = |args: &[&str]| -> Result<String> {
            let text = shell::output(Command::new("docker").args(args))?;
            Ok(text.trim().to_owned())
        };
        let host = ask(&[
            "context",
            "inspect",
            "--format",
            "{{.Endpoints.docker.Host}}",
        ])?;
        let Some(socket) = host.strip_prefix("unix://").map(PathBuf::from) else {
            // One behind TCP, perhaps with TLS: it is used as it is.
            return Ok(Self { host, hop: None });
        };
        let version = ask(&["version", "--format", "{{.Server.APIVersion}}"])?;
        let version = Version::parse(&version).context("the daemon's API version")?;
        // Not in the target folder, whose path may be too long for a socket.
        let name = format!("grpcrouter-docker-{}.sock", std::process::id());
        let hop = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&hop);
        let listener = listener.with_context(|| format!("cannot listen at {}", hop.display()))?;
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let socket = socket.clone();
                // A client that is cut off says why.
                std::thread::spawn(move || relay(client, &socket, version));
            }
        });
        Ok(Self {
            host: format!("unix://{}", hop.display()),
            hop: Some(hop),
        })
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some(hop) = &self.hop {
            let _ = std::fs::remove_file(hop);
        }
    }
}

/// Of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// One request, and whatever comes back. No second one follows on the connection, so only one head is read.
fn relay(mut client: UnixStream, daemon: &Path, version: Version) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0; 4_096];
    let end = loop {
        if let Some(at) = head.windows(4).position(|it| it == b"\r\n\r\n") {
            break at + 4;
        }
        match client.read(&mut piece)? {
            0 => return Ok(()),
            _ if head.len() > HEAD_MAX => return Ok(()),
            n => head.extend(&piece[..n]),
        }
    };
    let body = head.split_off(end);
    let mut daemon = UnixStream::connect(daemon)?;
    daemon.write_all(rewritten(&String::from_utf8_lossy(&head), version).as_bytes())?;
    daemon.write_all(&body)?;
    let (mut up, mut to) = (client.try_clone()?, daemon.try_clone()?);
    std::thread::spawn(move || {
        let _ = copy(&mut up, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let copied = copy(&mut daemon, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    copied.map(drop)
}

/// The head with a version that the daemon knows. It is the last one of its connection, unless that is to become
/// something else than HTTP.
fn rewritten(head: &str, version: Version) -> String {
    let Some((first, rest)) = head.split_once("\r\n") else {
        return head.to_owned();
    };
    let upgrades = rest.to_ascii_lowercase().contains("\r\nupgrade:")
        || rest.to_ascii_lowercase().starts_with("upgrade:");
    let close = if upgrades {
        ""
    } else {
        "connection: close\r\n"
    };
    format!("{}\r\n{close}{rest}", asked(first, version))
}

/// The request line `GET /v1.53/info HTTP/1.1` with the smaller of both versions.
fn asked(line: &str, version: Version) -> String {
    let replaced = || {
        let (method, path) = line.split_once(" /v")?;
        let (asked, rest) = path.split_once('/')?;
        let Version(major, minor) = Version::parse(asked)?.min(version);
        Some(format!("{method} /v{major}.{minor}/{rest}"))
    };
    replaced().unwrap_or_else(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_lowered_and_an_older_one_kept() {
        let daemon = Version(1, 41);
        let lowered = asked("GET /v1.53/info?a=/v1.99/ HTTP/1.1", daemon);
        assert_eq!(lowered, "GET /v1.41/info?a=/v1.99/ HTTP/1.1");
        let older = "POST /v1.9/build HTTP/1.1";
        assert_eq!(asked(older, daemon), older);
        assert_eq!(asked("GET /info HTTP/1.1", daemon), "GET /info HTTP/1.1");
    }

    #[test]
    fn a_connection_carries_one_request_unless_it_is_upgraded() {
        let head = |more: &str| format!("POST /v1.53/x HTTP/1.1\r\nhost: a\r\n{more}\r\n");
        let plain = rewritten(&head(""), Version(1, 41));
        assert!(plain.starts_with("POST /v1.41/x HTTP/1.1\r\nconnection: close\r\n"));
        let session = rewritten(
            &head("Upgrade: h2c\r\nConnection: Upgrade\r\n"),
            Version(1, 41),
        );
        assert!(!session.contains("close"));
    }
}
