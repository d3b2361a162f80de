//! S12: floods of frames that say nothing, and frames that break HTTP/2's arithmetic. Each is answered within
//! bounds or ends its own connection, and no other client notices.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::case::{Case, GATEWAY};
use crate::client::frames::{Frames, Outcome};
use crate::client::wire::{ACK, END_HEADERS, PREFACE, call_headers, frame, header_block, kind};
use crate::probe::side::Watched;
use crate::probe::{self, Script};
use crate::rig::Rig;
use crate::run;
use crate::stage::Stage;
use crate::wait::{LIMIT, within};

use super::{BIDI, ok, same};

pub(super) const CASES: &[Case] = &[Case::new("S12", GATEWAY, run!(floods)).alone()];

/// Frames of a flood whose answers are read.
const FRAMES: usize = 5_000;
/// What the gateway's process may grow by, in bytes, whatever floods it: a third of what all answers to a flood would
/// take. A gateway in Python grows by 5 MiB with the calls beside the floods, and by more where a busy machine needs more
/// of them until a flood stands.
const GROWTH: u64 = 16 << 20;
/// Of a flood whose answers are not read: more than the kernel's buffers hold, both ways.
const UNREAD: usize = 48 << 20;
/// Calls beside it, one after the other, and then time, in which nothing of a flood is taken: then it stands. A busy
/// gateway may serve some calls before it comes back to the flood.
const STAND: usize = 200;
/// Longer than a busy machine's kernel takes to send again what it had to drop: a few of TCP's retransmission timeouts.
/// More calls instead would cost memory that is not the flood's, where a gateway remembers them.
const STAND_TIME: Duration = Duration::from_secs(2);
/// The longest frame that is taken of who has not agreed to more, in bytes.
const MAX_FRAME: usize = 16_384;
/// SETTINGS_MAX_FRAME_SIZE.
const MAX_FRAME_SIZE: u16 = 5;

async fn floods(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    stage.sibling().await?;
    // Where the suite cannot tell, the rest is judged all the same.
    let before = rig.memory().await.ok();
    continuations(&mut stage).await.context("CONTINUATION")?;
    say_nothing(&mut stage).await?;
    windows(&mut stage).await?;
    oversize(&mut stage).await.context("an oversize frame")?;
    overspent(&mut stage)
        .await
        .context("DATA beyond the window")?;
    for (what, kind, payload) in [
        ("PING", kind::PING, &b"12345678"[..]),
        ("SETTINGS", kind::SETTINGS, &[]),
    ] {
        unread(&mut stage, kind, payload)
            .await
            .with_context(|| format!("{what}, whose answers nobody reads"))?;
        if let Some(before) = before {
            let grown = rig.memory().await?.saturating_sub(before);
            ensure!(
                grown <= GROWTH,
                "{what}, whose answers nobody reads: the gateway has grown by {grown} bytes"
            );
        }
    }
    Ok(())
}

/// A connection of the attacker's, with one call on its first stream.
struct Attacker {
    frames: Frames,
    handler: Watched,
    block: Vec<u8>,
}

impl Attacker {
    async fn new(stage: &Stage) -> Result<Self> {
        let script = Script::new().head().wait("never");
        let (_, handler) = stage.unbound(BIDI, &script);
        let (path, script) = (probe::path(BIDI), script.header());
        let more = [
            ("grpcrouter-instance", stage.instance.id()),
            (probe::CALL, handler.name()),
            (probe::SCRIPT, &script),
        ];
        Ok(Self {
            frames: Frames::connect(stage.rig.gateway.clients).await?,
            block: header_block(call_headers(&path).iter().chain(&more).copied()),
            handler,
        })
    }

    /// The same, and its handler runs.
    async fn called(stage: &Stage) -> Result<Self> {
        let mut own = Self::new(stage).await?;
        let block = std::mem::take(&mut own.block);
        own.frames
            .frame(kind::HEADERS, END_HEADERS, 1, &block)
            .await?;
        own.handler.waiting("never").await?;
        Ok(own)
    }

    /// Says all of it, with a call of an honest client under way and another one behind it.
    async fn attack(&mut self, stage: &mut Stage, bytes: &[u8]) -> Result<Outcome> {
        let mut beside = stage.open(BIDI, &Script::new().echo_all()).await?;
        beside.send(b"before").await?;
        beside.exchange.message().await?.context("an echo")?;
        let mut outcome = self.frames.attack(bytes).await?;
        if outcome.lives {
            // A PING is answered ahead of what streams have to say.
            let rest = self.frames.settle().await?;
            outcome.frames.extend(rest.frames);
            outcome.lives = rest.lives;
        }
        stage.sibling().await?;
        ok(&beside.finish(b"after").await?)?;
        Ok(outcome)
    }
}

/// A head without an end.
async fn continuations(stage: &mut Stage) -> Result<()> {
    let mut attacker = Attacker::new(stage).await?;
    let mut bytes = Vec::new();
    frame(&mut bytes, kind::HEADERS, 0, 1, &attacker.block);
    let piece = header_block([("a", "b")]);
    for _ in 0..FRAMES {
        frame(&mut bytes, kind::CONTINUATION, 0, 1, &piece);
    }
    let outcome = attacker.attack(stage, &bytes).await?;
    ensure!(!outcome.lives, "{FRAMES} of them were taken");
    same("handlers that ran", stage.runs(&attacker.handler).await?, 0)
}

/// Frames without any use: borne, with one answer for each at most, or ended.
async fn say_nothing(stage: &mut Stage) -> Result<()> {
    let floods: [(&str, u8, u8, u32, &[u8]); 4] = [
        ("empty DATA", kind::DATA, 0, 1, &[]),
        ("PING", kind::PING, 0, 0, b"12345678"),
        ("SETTINGS", kind::SETTINGS, 0, 0, &[]),
        ("SETTINGS that agree", kind::SETTINGS, ACK, 0, &[]),
    ];
    for (what, kind, flags, stream, payload) in floods {
        let mut attacker = Attacker::called(stage).await?;
        let mut bytes = Vec::new();
        for _ in 0..FRAMES {
            frame(&mut bytes, kind, flags, stream, payload);
        }
        let outcome = attacker.attack(stage, &bytes).await.context(what)?;
        // Beside those the two PINGs of the suite's own, and what belongs to the call.
        let answers = outcome.frames.len();
        ensure!(
            answers <= FRAMES + 20,
            "{what}: {FRAMES} were answered with {answers} frames"
        );
        drop(attacker.frames);
        attacker.handler.cancelled().await.context(what)?;
    }
    Ok(())
}

/// Windows that do not open, or overflow: the stream ends, or the connection, and the call with it.
async fn windows(stage: &mut Stage) -> Result<()> {
    for (stream, window) in [(0, 0), (0, i32::MAX as u32), (1, 0), (1, i32::MAX as u32)] {
        let what = || format!("WINDOW_UPDATE of {window} on stream {stream}");
        let mut attacker = Attacker::called(stage).await?;
        let mut bytes = Vec::new();
        frame(
            &mut bytes,
            kind::WINDOW_UPDATE,
            0,
            stream,
            &window.to_be_bytes(),
        );
        let outcome = attacker.attack(stage, &bytes).await.with_context(what)?;
        ensure!(
            stream == 1 || !outcome.lives,
            "{}: the connection goes on",
            what()
        );
        attacker.handler.cancelled().await.with_context(what)?;
    }
    Ok(())
}

/// A frame that is longer than was agreed.
async fn oversize(stage: &mut Stage) -> Result<()> {
    let mut attacker = Attacker::called(stage).await?;
    let settings = attacker.frames.settings.iter();
    let agreed = settings.filter(|(id, _)| *id == MAX_FRAME_SIZE);
    let agreed = agreed.map(|(_, bytes)| *bytes as usize).next_back();
    let mut bytes = Vec::new();
    let long = vec![0; agreed.unwrap_or(MAX_FRAME) + 1];
    frame(&mut bytes, kind::DATA, 0, 1, &long);
    let outcome = attacker.attack(stage, &bytes).await?;
    ensure!(
        !outcome.lives || !outcome.resets().is_empty(),
        "a frame of {} bytes was taken",
        long.len()
    );
    attacker.handler.cancelled().await?;
    Ok(())
}

/// A call whose reader stands is sent more than there is window for.
async fn overspent(stage: &mut Stage) -> Result<()> {
    let mut attacker = Attacker::called(stage).await?;
    attacker.frames.settle().await?;
    // One message that is longer than everything that comes.
    let mut piece = vec![0];
    piece.extend_from_slice(&(1_u32 << 30).to_be_bytes());
    piece.resize(MAX_FRAME, 0);
    // All that a path may hold, and as much again.
    let most = 2 * stage.bound().unwrap_or_default().max(2 << 20) as usize;
    let mut bytes = Vec::new();
    for _ in 0..most.div_ceil(MAX_FRAME) {
        frame(&mut bytes, kind::DATA, 0, 1, &piece);
    }
    let outcome = attacker.attack(stage, &bytes).await?;
    ensure!(
        !outcome.lives || !outcome.resets().is_empty(),
        "{} bytes were taken of a call that nobody reads",
        bytes.len()
    );
    attacker.handler.cancelled().await?;
    Ok(())
}

/// A flood whose sender reads no answer comes to a stand, or ends: the gateway keeps no answers for it.
async fn unread(stage: &mut Stage, kind: u8, payload: &[u8]) -> Result<()> {
    let mut piece = Vec::new();
    while piece.len() < 64 << 10 {
        frame(&mut piece, kind, 0, 0, payload);
    }
    let sent = AtomicUsize::new(0);
    let flood = flood(stage.rig.gateway.clients, &piece, &sent);
    tokio::pin!(flood);
    loop {
        let before = sent.load(Ordering::Relaxed);
        tokio::select! {
            biased;
            ended = &mut flood => return ended,
            beside = others_have_had_their_turn(stage) => beside?,
        }
        if before > 0 && sent.load(Ordering::Relaxed) == before {
            return Ok(());
        }
    }
}

/// Calls beside a flood, and then time.
async fn others_have_had_their_turn(stage: &mut Stage) -> Result<()> {
    for _ in 0..STAND {
        stage.sibling().await?;
    }
    tokio::time::sleep(STAND_TIME).await;
    Ok(())
}

/// Sends the same again and again. No error where the gateway ends the connection.
async fn flood(addr: SocketAddr, piece: &[u8], sent: &AtomicUsize) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    // What waits in this end's buffers tells nothing of the gateway's.
    socket.set_recv_buffer_size(16 << 10)?;
    socket.set_send_buffer_size(64 << 10)?;
    let mut socket = within("connection", LIMIT, socket.connect(addr)).await??;
    let mut hello = PREFACE.to_vec();
    frame(&mut hello, kind::SETTINGS, 0, 0, &[]);
    socket.write_all(&hello).await?;
    while sent.load(Ordering::Relaxed) < UNREAD {
        let mut rest = piece;
        while !rest.is_empty() {
            let Ok(some) = socket.write(rest).await else {
                return Ok(());
            };
            rest = &rest[some..];
            sent.fetch_add(some, Ordering::Relaxed);
        }
    }
    bail!("{UNREAD} bytes were taken")
}
