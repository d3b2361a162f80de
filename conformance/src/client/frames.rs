//! HTTP/2 written by hand: for peers that do what no library would, and for counting windows exactly.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::wire::{
    ACK, DEFAULT_WINDOW, END_HEADERS, END_STREAM, Frame, FrameReader, INITIAL_WINDOW_SIZE, PREFACE,
    call_headers, frame, header_block, kind, number_at,
};
use crate::wait::{LIMIT, within};

/// What the peer sees when it has read everything that an attack sent.
const SENTINEL: [u8; 8] = *b"sentinel";

/// The most bytes in one DATA frame that every peer must take.
const MAX_DATA: usize = 16_384;

/// A connection that says exactly what it is told to, and counts the windows that the peer gives.
#[derive(Debug)]
pub struct Frames {
    write: OwnedWriteHalf,
    read: FrameReader<OwnedReadHalf>,
    /// The peer's first settings: id and value.
    pub settings: Vec<(u16, u32)>,
    windows: Windows,
}

/// What the peer lets this side send, in bytes of DATA.
#[derive(Debug, Clone)]
pub struct Windows {
    /// With which each stream begins, by the peer's settings.
    pub initial: i64,
    /// Of the connection, left.
    pub connection: i64,
    /// Of each stream that was opened, left.
    pub streams: BTreeMap<u32, i64>,
    /// Bytes that WINDOW_UPDATEs have given: by stream, 0 for the connection.
    pub granted: BTreeMap<u32, u64>,
    /// WINDOW_UPDATE frames: by stream, 0 for the connection.
    pub updates: BTreeMap<u32, u64>,
}

/// What an attack came to.
#[derive(Debug)]
pub struct Outcome {
    /// All that the peer sent meanwhile.
    pub frames: Vec<Frame>,
    /// The peer has read all of it, and the connection goes on.
    pub lives: bool,
}

impl Frames {
    /// Connects, sends preface and empty settings, and reads the peer's.
    ///
    /// # Errors
    /// Where the peer does not speak HTTP/2.
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        Self::with_settings(addr, &[]).await
    }

    /// As [`Frames::connect`], with settings of one's own.
    ///
    /// # Errors
    /// As [`Frames::connect`].
    pub async fn with_settings(addr: SocketAddr, settings: &[(u16, u32)]) -> Result<Self> {
        let mut frames = Self::silent(addr).await?;
        let mut hello = PREFACE.to_vec();
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        frame(&mut hello, kind::SETTINGS, 0, 0, &payload);
        frames.write(&hello).await?;
        let first = frames.next().await?.context("the connection ended")?;
        ensure!(
            (first.kind, first.flags) == (kind::SETTINGS, 0),
            "settings come first, not {first:?}"
        );
        frames.settings = first.settings();
        Ok(frames)
    }

    /// A connection on which nothing was said.
    ///
    /// # Errors
    /// Where nobody listens.
    pub async fn silent(addr: SocketAddr) -> Result<Self> {
        let socket = within("connection", LIMIT, TcpStream::connect(addr)).await?;
        let socket = socket.with_context(|| format!("cannot connect to {addr}"))?;
        socket.set_nodelay(true)?;
        let (read, write) = socket.into_split();
        Ok(Self {
            write,
            read: FrameReader::new(read),
            settings: Vec::new(),
            windows: Windows::default(),
        })
    }

    /// Writes bytes as they are. They are not counted.
    ///
    /// # Errors
    /// Where the peer has closed, or does not read.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = within("room to write", LIMIT, self.write.write_all(bytes)).await?;
        written.context("the connection was closed")
    }

    /// Writes one frame, and counts what is DATA.
    ///
    /// # Errors
    /// As [`Frames::write`].
    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        let mut bytes = Vec::with_capacity(9 + payload.len());
        frame(&mut bytes, kind, flags, stream, payload);
        self.write(&bytes).await?;
        if kind == kind::DATA {
            self.windows.spend(stream, payload.len());
        }
        Ok(())
    }

    /// Opens a call on a stream, which is odd and higher than those before.
    ///
    /// # Errors
    /// As [`Frames::write`].
    pub async fn open(&mut self, stream: u32, path: &str, more: &[(&str, &str)]) -> Result<()> {
        let headers = call_headers(path);
        let block = header_block(headers.iter().chain(more).copied());
        self.windows.open(stream);
        self.frame(kind::HEADERS, END_HEADERS, stream, &block).await
    }

    /// Sends as many of these bytes as both windows let it, in frames that every peer takes: how many.
    ///
    /// # Errors
    /// As [`Frames::write`].
    pub async fn data(&mut self, stream: u32, bytes: &[u8]) -> Result<usize> {
        let room = usize::try_from(self.windows.room(stream)).unwrap_or(0);
        let bytes = &bytes[..bytes.len().min(room)];
        for piece in bytes.chunks(MAX_DATA) {
            self.frame(kind::DATA, 0, stream, piece).await?;
        }
        Ok(bytes.len())
    }

    /// Ends the request of a stream.
    ///
    /// # Errors
    /// As [`Frames::write`].
    pub async fn half_close(&mut self, stream: u32) -> Result<()> {
        self.frame(kind::DATA, END_STREAM, stream, &[]).await
    }

    /// The next frame; none at the connection's end, clean or not. Nothing is lost where this is dropped. Settings and PINGs are answered, windows
    /// counted; all are returned.
    ///
    /// # Errors
    /// Where nothing comes.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        let read = within("frame or end", LIMIT, self.read.next()).await?;
        let Some(frame) = read else {
            return Ok(None);
        };
        self.windows.saw(&frame);
        if matches!(frame.kind, kind::SETTINGS | kind::PING) && frame.flags & ACK == 0 {
            let payload = if frame.kind == kind::PING {
                &frame.payload[..]
            } else {
                &[]
            };
            // A peer that has closed shows at the next read.
            let _ = self.frame(frame.kind, ACK, 0, payload).await;
        }
        Ok(Some(frame))
    }

    /// Reads until everything that the peer sent for what was written so far is here: a PING is answered.
    ///
    /// # Errors
    /// Where the answer does not come within the limit.
    pub async fn settle(&mut self) -> Result<Outcome> {
        self.attack(&[]).await
    }

    /// Writes all of `bytes` and a PING behind it, reading all the while, until the PING is answered or
    /// the connection ends. Windows are counted for what is read, not for what the bytes hold.
    ///
    /// # Errors
    /// Where neither happens within the limit.
    pub async fn attack(&mut self, bytes: &[u8]) -> Result<Outcome> {
        let mut all = bytes.to_vec();
        frame(&mut all, kind::PING, 0, 0, &SENTINEL);
        let (write, read, windows) = (&mut self.write, &mut self.read, &mut self.windows);
        // Fails where the peer has had enough; the reader sees how it says so.
        let writing = async { write.write_all(&all).await.is_ok() };
        let reading = async {
            let mut frames = Vec::new();
            while let Some(frame) = read.next().await {
                windows.saw(&frame);
                let answered = frame.kind == kind::PING
                    && frame.flags & ACK != 0
                    && frame.payload[..] == SENTINEL;
                frames.push(frame);
                if answered {
                    return (frames, true);
                }
            }
            (frames, false)
        };
        let both = async { tokio::join!(writing, reading) };
        let (_, (frames, lives)) = within("end of an attack", LIMIT, both).await?;
        let closing = frames.iter().any(|frame| frame.kind == kind::GOAWAY);
        Ok(Outcome {
            frames,
            lives: lives && !closing,
        })
    }

    /// What the peer lets this side send.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }
}

impl Outcome {
    /// The GOAWAY's code and words, where one came.
    pub fn goaway(&self) -> Option<(u32, String)> {
        let goaway = self
            .frames
            .iter()
            .find(|frame| frame.kind == kind::GOAWAY)?;
        let words = goaway.payload.get(8..).unwrap_or_default();
        let words = String::from_utf8_lossy(words).into_owned();
        Some((number_at(&goaway.payload, 4), words))
    }

    /// The streams that were reset, with their codes.
    pub fn resets(&self) -> Vec<(u32, u32)> {
        let resets = self.frames.iter();
        let resets = resets.filter(|frame| frame.kind == kind::RST_STREAM);
        resets.map(|frame| (frame.stream, frame.number())).collect()
    }
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            initial: DEFAULT_WINDOW,
            connection: DEFAULT_WINDOW,
            streams: BTreeMap::new(),
            granted: BTreeMap::new(),
            updates: BTreeMap::new(),
        }
    }
}

impl Windows {
    /// What may be sent on a stream now: less than nothing where it was overspent.
    pub fn room(&self, stream: u32) -> i64 {
        let own = self.streams.get(&stream).copied();
        own.unwrap_or(self.initial).min(self.connection)
    }

    fn open(&mut self, stream: u32) {
        self.streams.insert(stream, self.initial);
    }

    fn spend(&mut self, stream: u32, bytes: usize) {
        let initial = self.initial;
        *self.streams.entry(stream).or_insert(initial) -= bytes as i64;
        self.connection -= bytes as i64;
    }

    fn saw(&mut self, frame: &Frame) {
        match frame.kind {
            kind::SETTINGS if frame.flags & ACK == 0 => {
                for (id, value) in frame.settings() {
                    if id == INITIAL_WINDOW_SIZE {
                        // It also moves the windows of the streams that are open.
                        let change = i64::from(value) - self.initial;
                        self.initial += change;
                        self.streams.values_mut().for_each(|left| *left += change);
                    }
                }
            }
            kind::WINDOW_UPDATE => {
                let bytes = frame.number() & 0x7fff_ffff;
                *self.granted.entry(frame.stream).or_default() += u64::from(bytes);
                *self.updates.entry(frame.stream).or_default() += 1;
                match self.streams.get_mut(&frame.stream) {
                    Some(left) => *left += i64::from(bytes),
                    None if frame.stream == 0 => self.connection += i64::from(bytes),
                    None => {}
                }
            }
            _ => {}
        }
    }
}
