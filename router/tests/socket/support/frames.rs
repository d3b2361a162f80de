//! HTTP/2 written by hand, for peers that do what no library would.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::within;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What the peer sees when it has read everything that an attack sent.
const SENTINEL: [u8; 8] = *b"sentinel";

/// One frame as it came.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

/// A connection with the preface and empty settings sent, and the server's settings read.
pub(crate) struct Frames {
    write: OwnedWriteHalf,
    read: OwnedReadHalf,
    /// The server's first settings: id and value.
    pub(crate) settings: Vec<(u16, u32)>,
}

/// What an attack came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// All that the server sent meanwhile.
    pub(crate) frames: Vec<Frame>,
    /// The server has read all of it and the connection is as it was.
    pub(crate) lives: bool,
}

impl Frames {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let socket = within("a connection", TcpStream::connect(addr)).await;
        let (read, mut write) = socket.expect("connects").into_split();
        let mut hello = PREFACE.to_vec();
        frame(&mut hello, kind::SETTINGS, 0, 0, &[]);
        write.write_all(&hello).await.expect("writes");
        let mut frames = Self {
            write,
            read,
            settings: Vec::new(),
        };
        let first = frames.next().await.expect("settings come first");
        assert_eq!((first.kind, first.flags), (kind::SETTINGS, 0));
        let value = |chunk: &[u8]| {
            (
                u16::from_be_bytes([chunk[0], chunk[1]]),
                u32::from_be_bytes([chunk[2], chunk[3], chunk[4], chunk[5]]),
            )
        };
        frames.settings = first.payload.chunks(6).map(value).collect();
        let mut ack = Vec::new();
        frame(&mut ack, kind::SETTINGS, ACK, 0, &[]);
        frames.write.write_all(&ack).await.expect("writes");
        frames
    }

    /// The next frame; none at the connection's end, clean or not.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within("a frame or the end", read_frame(&mut self.read)).await
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let written = within("room to write", self.write.write_all(bytes)).await;
        written.expect("the connection is open");
    }

    /// Writes all of `bytes` and a PING behind it, reading all the while, until the PING is answered or
    /// the connection ends.
    pub(crate) async fn attack(&mut self, bytes: &[u8]) -> Outcome {
        let mut all = bytes.to_vec();
        frame(&mut all, kind::PING, 0, 0, &SENTINEL);
        let (write, read) = (&mut self.write, &mut self.read);
        // Fails where the server has had enough; the reader sees how it says so.
        let writing = async { write.write_all(&all).await.is_ok() };
        let reading = async {
            let mut frames = Vec::new();
            while let Some(frame) = read_frame(read).await {
                let answered = frame.kind == kind::PING && frame.payload[..] == SENTINEL;
                frames.push(frame);
                if answered {
                    return (frames, true);
                }
            }
            (frames, false)
        };
        let attack = async { tokio::join!(writing, reading) };
        let (_, (frames, lives)) = within("the end of an attack", attack).await;
        Outcome { frames, lives }
    }
}

impl Outcome {
    /// The GOAWAY's code and words, where one came.
    pub(crate) fn goaway(&self) -> Option<(u32, String)> {
        let goaway = self.frames.iter().find(|f| f.kind == kind::GOAWAY)?;
        let code = goaway.payload[4..8].try_into().expect("four bytes");
        let say = String::from_utf8_lossy(&goaway.payload[8..]).into_owned();
        Some((u32::from_be_bytes(code), say))
    }

    /// The codes of the streams that were reset.
    pub(crate) fn resets(&self) -> Vec<(u32, u32)> {
        let resets = self.frames.iter().filter(|f| f.kind == kind::RST_STREAM);
        resets
            .map(|f| {
                let code = f.payload[..4].try_into().expect("four bytes");
                (f.stream, u32::from_be_bytes(code))
            })
            .collect()
    }
}

async fn read_frame(read: &mut OwnedReadHalf) -> Option<Frame> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    read.read_exact(&mut payload).await.ok()?;
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
        payload: payload.into(),
    })
}

/// Appends a frame.
pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = payload.len() as u32;
    out.put_slice(&length.to_be_bytes()[1..]);
    out.put_slice(&[kind, flags]);
    out.put_u32(stream);
    out.put_slice(payload);
}

/// A request's header block for a method of `test.Probe`, without compression.
pub(crate) fn call(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let path = format!("/test.Probe/{method}");
    let mut block = Vec::new();
    let fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path.as_str()),
        (":authority", "probe.test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in fixed.iter().chain(more) {
        // Literal, never indexed, with a literal name.
        block.push(0x10);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// HPACK's string: length with a 7-bit prefix, then the bytes.
fn text(block: &mut Vec<u8>, text: &str) {
    match text.len().checked_sub(127) {
        None => block.push(text.len() as u8),
        Some(mut rest) => {
            block.push(127);
            while rest >= 128 {
                block.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.put_slice(text.as_bytes());
}
