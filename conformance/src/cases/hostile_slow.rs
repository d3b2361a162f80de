//! S8: peers that connect and then say nothing, or not enough, are let go, and keep nobody waiting.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::future::join_all;
use grpcrouter_proto::v1::register_response;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::case::{Case, GATEWAY};
use crate::client::frames::Frames;
use crate::client::wire::PREFACE;
use crate::pb::SubjectSettings;
use crate::rig::Rig;
use crate::run;
use crate::tunnel::instance::Tunnel;

use super::hostile::Pair;
use super::same;

pub(super) const CASES: &[Case] = &[Case::new("S8", GATEWAY, run!(slow)).with(impatient)];

/// How long a peer may take to speak HTTP/2, and then to say who it is, in milliseconds.
const PATIENCE_MS: u32 = 1_000;
/// Sockets that never speak HTTP/2, on both ports together.
const SOCKETS: usize = 1_000;
/// Tunnels that never say who they are.
const TUNNELS: usize = 20;
/// Files that the suite and a gateway need beside those sockets.
const OTHER_FILES: usize = 200;

const DEADLINE_EXCEEDED: u32 = 4;

fn impatient() -> SubjectSettings {
    SubjectSettings {
        preface_timeout_ms: PATIENCE_MS,
        handshake_timeout_ms: PATIENCE_MS,
        ..SubjectSettings::default()
    }
}

async fn slow(rig: Rig) -> Result<()> {
    let tunnel_port = rig.gateway.tunnels.context("a gateway")?;
    let ports = [rig.gateway.clients, tunnel_port];
    let mut sockets = Vec::new();
    for n in 0..sockets_that_fit() {
        let mut socket = Frames::silent(ports[n % 2]).await?;
        // From nothing to all but the last byte.
        socket.write(&PREFACE[..n / 2 % PREFACE.len()]).await?;
        sockets.push(socket);
    }
    let mut tunnels = Vec::new();
    for n in 0..TUNNELS {
        let mut tunnel = Tunnel::dial(tunnel_port).await?;
        if n % 2 == 1 {
            // A frame of 1,000 bytes, of which three come.
            let begun = Bytes::from_static(&[0, 0, 0, 3, 232, 10, 2, b'a']);
            tunnel.send_raw(begun).await?;
        }
        tunnels.push(tunnel);
    }
    honest(&rig).await?;
    let limit = Duration::from_millis(u64::from(PATIENCE_MS) + 100);
    let gone = async {
        let silent = join_all(sockets.iter_mut().map(closed));
        let unnamed = join_all(tunnels.iter_mut().map(timed_out));
        let (silent, unnamed) = tokio::join!(silent, unnamed);
        silent.into_iter().chain(unnamed).collect::<Result<()>>()
    };
    rig.in_time("end of peers that never say enough", limit, gone)
        .await?
}

/// Somebody registers and is called beside them. A machine that is busy delays one or the other, slow peers would
/// delay all.
async fn honest(rig: &Rig) -> Result<()> {
    const ATTEMPTS: usize = 5;
    let limit = Duration::from_millis(100);
    let mut done = Ok(());
    for _ in 0..ATTEMPTS {
        let honest = async { Pair::new(rig).await?.goes_on().await };
        let what = "registration and call beside slow peers";
        done = rig.in_time(what, limit, honest).await.and_then(|done| done);
        if done.is_ok() {
            break;
        }
    }
    done
}

/// Waits until the peer has closed, whatever it says before.
async fn closed(socket: &mut Frames) -> Result<()> {
    while socket.next().await?.is_some() {}
    Ok(())
}

async fn timed_out(tunnel: &mut Tunnel) -> Result<()> {
    let (said, end) = tunnel.end().await?;
    let reason = said.iter().find_map(|frame| match &frame.frame {
        Some(register_response::Frame::Error(error)) => Some(error.reason.as_str()),
        _ => None,
    });
    same("reason", reason, Some("handshake-timeout"))?;
    same(
        "status of the tunnel",
        end.status(),
        Some(DEADLINE_EXCEEDED),
    )
}

/// How many of the sockets the limit of open files leaves room for, once it is as high as it may be. A gateway that the
/// suite starts has the same limit as the suite has then, or a higher one.
fn sockets_that_fit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let files = now.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    });
    let fit = files.saturating_sub(OTHER_FILES).min(SOCKETS);
    if fit < SOCKETS {
        eprintln!("S8: {fit} sockets instead of {SOCKETS}: the limit of open files is {files}");
    }
    fit
}
