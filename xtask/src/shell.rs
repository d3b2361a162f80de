//! Other programs: started with the environment that every task shares, watched with a time limit.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The one reading of the clock in xtask: it times steps, nothing depends on it.
#[expect(
    clippy::disallowed_methods,
    reason = "xtask is not the router: it has no Clock to use"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A cargo command in `root`, in which protoc cannot be used: the build must not need it.
pub(crate) fn cargo(root: &Path, target: &Path) -> Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .env("PROTOC", "/nonexistent")
        .env("PATH", path_without_protoc(target)?);
    Ok(command)
}

/// Runs to the end with output shown; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and returns what it printed to stdout; an error unless it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(command), output.status);
    }
    String::from_utf8(output.stdout).context("output that is not UTF-8")
}

/// Runs with stderr shown and each line of stdout handed to `line`; killed after `limit`.
pub(crate) fn watch(
    command: &mut Command,
    limit: Duration,
    mut line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let end = now() + limit;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let (send, receive) = sync_channel::<String>(64);
    // Not joined: a grandchild that keeps the pipe open must not hold the task up.
    std::thread::spawn(move || {
        for bytes in BufReader::new(stdout)
            .split(b'\n')
            .map_while(std::result::Result::ok)
        {
            if send
                .send(String::from_utf8_lossy(&bytes).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
    loop {
        match receive.recv_timeout(end.saturating_duration_since(now())) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => return Ok(child.wait()?),
            Err(RecvTimeoutError::Timeout) => {
                if child.try_wait()?.is_some() {
                    bail!(
                        "{} left a process behind that holds its output",
                        shown(command)
                    );
                }
                child.kill()?;
                child.wait()?;
                bail!(
                    "{} was still running after {} s",
                    shown(command),
                    limit.as_secs()
                );
            }
        }
    }
}

/// Whether `program args...` can be started and succeeds.
pub(crate) fn is_there(program: &mut Command) -> bool {
    program
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// PATH with a `protoc` in front that only fails. Dropping the directory of a real protoc instead
/// would often drop the C linker with it.
fn path_without_protoc(target: &Path) -> Result<OsString> {
    let folder = target.join("xtask/no-protoc");
    let shim = folder.join("protoc");
    if !shim.exists() {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(
            &shim,
            "#!/bin/sh\necho 'this build must not need protoc' >&2\nexit 1\n",
        )?;
        std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755))?;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(
        std::iter::once(folder).chain(std::env::split_paths(&path)),
    )?)
}

fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let words = std::iter::once(name).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
