//! ZB-2, ZB-3, Z10: a reader stalls, and its sender stands after a declared number of bytes; it goes on as the
//! reader does.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::case::{Case, ROUTED};
use crate::client::frames::Frames;
use crate::pb::SubjectSettings;
use crate::probe::{self, Script};
use crate::rig::Rig;
use crate::run;
use crate::stage::Stage;
use crate::tunnel::limits;
use crate::wait::{LIMIT, within};

use super::stall::{self, BESIDE, Upload, bounded, under_way};
use super::{BIDI, CLIENT_STREAM, SERVER_STREAM, done, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("ZB-2", ROUTED, run!(stalled)),
    Case::new("ZB-3", ROUTED, run!(held_back)).with(fixed),
    Case::new("Z10", ROUTED, run!(updates)).with(fixed),
];

/// Call windows that do not grow: where they may, more is granted than was taken.
fn fixed() -> SubjectSettings {
    SubjectSettings {
        call_window: limits::CALL_WINDOW,
        call_window_max: limits::CALL_WINDOW,
        ..SubjectSettings::default()
    }
}

/// What a case waits for once the reader goes on.
const READ: &str = "messages for the reader";

/// The longest DATA frame that any peer must take, in bytes.
const FRAME: u64 = 16_384;

/// Nothing is read, and the stream ten times as long does not matter.
async fn stalled(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut beside = rig.stage().await?;
    stage.client = stall::narrow(&stage).await?;
    let bound = stage.bound()?;
    let long = bound + 2 * u64::from(stall::CLIENT_WINDOW);
    let mut up = Vec::new();
    let mut down = Vec::new();
    for times in [1, 10] {
        up.push(upload(&mut stage, &mut beside, long * times, bound).await?);
        down.push(download(&mut stage, &mut beside, long * times, bound).await?);
    }
    // Window that was earned need not be given before it is half of what there is, at each hop.
    let late = (u64::try_from(window(&stage).await?)? + u64::from(limits::CALL_WINDOW)) / 2;
    for (what, bytes) in [("request", up), ("response", down)] {
        ensure!(
            bytes[1] <= bytes[0] + late,
            "{what}: {} bytes are under way, and {} where it is ten times as long",
            bytes[0],
            bytes[1]
        );
    }
    Ok(())
}

async fn upload(stage: &mut Stage, beside: &mut Stage, bytes: u64, bound: u64) -> Result<u64> {
    let mut call = stage
        .open(CLIENT_STREAM, &Script::new().head().wait("never"))
        .await?;
    let mut upload = Upload::of_bytes(bytes);
    call.handler.waiting("never").await?;
    upload.stand(&mut call.exchange, stage).await?;
    let bytes = under_way(&call.exchange, &call.handler.counts());
    bounded("request", bytes, bound)?;
    call.exchange.cancel();
    call.handler.cancelled().await?;
    beside.sibling().await?;
    Ok(bytes)
}

async fn download(stage: &mut Stage, beside: &mut Stage, bytes: u64, bound: u64) -> Result<u64> {
    let messages = bytes.div_ceil(FRAME) as u32;
    let script = Script::new().head().send(messages, FRAME as u32);
    let mut call = stage.open(SERVER_STREAM, &script).await?;
    call.exchange.half_close();
    call.handler.started().await?;
    call.handler.until(|seen| seen.sent.bytes > 0).await?;
    let sent = stall::stopped(&call.handler, stage).await?;
    // The client itself holds its own window.
    bounded("response", sent, bound + u64::from(stall::CLIENT_WINDOW))?;
    call.exchange.cancel();
    call.handler.cancelled().await?;
    beside.sibling().await?;
    Ok(sent)
}

/// The sender stands, and is let go by as much as the reader takes.
async fn held_back(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let bound = stage.bound()?;
    let window = u64::try_from(window(&stage).await?)?;
    let step = Upload::of_bytes(bound + (512 << 10));
    let taken = step.messages;
    let script = Script::new().head().wait("some").read(taken);
    let script = script.wait("rest").read_all();
    let mut call = stage.open(BIDI, &script).await?;
    let mut upload = Upload::of_bytes(4 * (bound + (512 << 10)));
    upload.stand(&mut call.exchange, &mut stage).await?;
    let before = call.exchange.sending.sent();
    bounded("request", before, bound)?;
    // It goes on to stand, however long nobody reads.
    for _ in 0..3 * BESIDE {
        same("bytes let go", upload.now(&mut call.exchange).await?, 0)?;
        stage.sibling().await?;
    }
    call.handler.release("some");
    let limit = Duration::from_millis(50);
    let room = call.exchange.sending.room(1);
    rig.in_time("window, when the reader goes on", limit, room)
        .await??;
    let so_many = u64::from(taken);
    within(READ, 3 * LIMIT, async {
        while call.handler.counts().taken.messages < so_many {
            upload.stand(&mut call.exchange, &mut stage).await?;
        }
        anyhow::Ok(())
    })
    .await??;
    upload.stand(&mut call.exchange, &mut stage).await?;
    let let_go = call.exchange.sending.sent() - before;
    let read = so_many * FRAME;
    ensure!(
        (read - bound..=read + window).contains(&let_go),
        "the reader took {read} bytes, and the sender was let go by {let_go}"
    );
    call.handler.release("rest");
    upload.all(&mut call.exchange).await?;
    call.exchange.half_close();
    ok(&call.exchange.answer().await?)?;
    same("checksum", done(&call.handler).await?.crc, upload.crc())
}

/// The gateway's stream window towards clients, in bytes.
async fn window(stage: &Stage) -> Result<i64> {
    let mut frames = Frames::connect(stage.clients.addr()).await?;
    frames.settle().await?;
    let own = frames.settings.iter();
    let own = own.filter(|(id, _)| *id == crate::client::wire::INITIAL_WINDOW_SIZE);
    let own = own.map(|(_, value)| i64::from(*value)).next_back();
    Ok(own.unwrap_or(crate::client::wire::DEFAULT_WINDOW))
}

/// Window updates, byte by byte.
async fn updates(rig: Rig) -> Result<()> {
    const CALL: u32 = 1;
    /// Messages that the reader takes, with their prefixes one frame each.
    const TAKES: u32 = 64;
    let mut stage = rig.stage().await?;
    let bound = stage.bound()?;
    let name = rig.name();
    let handler = rig.host.side.call(&name);
    let script = Script::new().head().wait("some").read(TAKES).wait("rest");
    let script = script.read_all().header();
    let mut frames = Frames::connect(stage.clients.addr()).await?;
    frames.settle().await?;
    let id = stage.instance.id().to_owned();
    let more = [
        (probe::CALL, name.as_str()),
        (probe::SCRIPT, &script),
        ("grpcrouter-instance", &id),
    ];
    frames.open(CALL, &probe::path(BIDI), &more).await?;
    handler.waiting("some").await?;
    let mut upload = Raw::of_bytes(bound * 2 + u64::from(TAKES) * FRAME);
    let before = upload.stand(&mut frames, CALL, &mut stage).await?;
    ensure!(
        before <= bound,
        "window for {before} bytes was given, and nothing was read: {bound} may be under way"
    );
    handler.release("some");
    within(READ, 3 * LIMIT, async {
        while handler.counts().taken.messages < u64::from(TAKES) {
            upload.stand(&mut frames, CALL, &mut stage).await?;
        }
        anyhow::Ok(())
    })
    .await??;
    let after = upload.stand(&mut frames, CALL, &mut stage).await?;
    let half = (frames.windows().initial as u64 + u64::from(limits::CALL_WINDOW)) / 2;
    let read = u64::from(TAKES) * FRAME;
    let given = after - before;
    ensure!(
        given.abs_diff(read) <= half,
        "{read} bytes were read, and window for {given} was given: {half} may wait"
    );
    ensure!(stage.client.is_alive(), "the client's connection ended");
    Ok(())
}

/// A request in DATA frames of its own.
struct Raw {
    bytes: bytes::Bytes,
}

impl Raw {
    fn of_bytes(bytes: u64) -> Self {
        let all = Upload::of_bytes(bytes);
        let messages = (0..all.messages).map(|n| probe::payload::framed_message(n, all.size));
        let bytes = messages.fold(bytes::BytesMut::new(), |mut sum, message| {
            sum.extend_from_slice(&message);
            sum
        });
        Self {
            bytes: bytes.freeze(),
        }
    }

    /// Sends until no window is left, nor comes: the bytes of window that were given on the stream.
    async fn stand(&mut self, frames: &mut Frames, call: u32, beside: &mut Stage) -> Result<u64> {
        let mut quiet = 0;
        while quiet < BESIDE {
            ensure!(!self.bytes.is_empty(), "all of the request was let go");
            let sent = frames.data(call, &self.bytes).await?;
            self.bytes = self.bytes.slice(sent..);
            match sent {
                0 => quiet += 1,
                _ => quiet = 0,
            }
            frames.settle().await?;
            beside.sibling().await?;
        }
        Ok(frames.windows().granted.get(&call).copied().unwrap_or(0))
    }
}
