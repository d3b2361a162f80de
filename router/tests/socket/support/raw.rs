//! HTTP/2 frames written by hand, for what no library would send.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DEFAULT_WINDOW: i64 = 65_535;

/// A connection that says exactly what it is told to. It obeys no rule but these: it answers SETTINGS and
/// PING, and counts the connection's window.
pub(crate) struct Raw {
    socket: TcpStream,
    /// What may still be sent on the connection, in bytes of DATA.
    pub(crate) window: i64,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let socket = within("a connection", TcpStream::connect(addr)).await;
        let socket = socket.expect("connects");
        socket.set_nodelay(true).expect("a socket");
        let mut raw = Self {
            socket,
            window: DEFAULT_WINDOW,
        };
        raw.socket.write_all(PREFACE).await.expect("writes");
        raw.write(SETTINGS, 0, 0, &[]).await;
        raw
    }

    /// Writes one frame. A peer that closed the connection shows in `next`, not here.
    pub(crate) async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        if kind == DATA {
            self.window -= payload.len() as i64;
        }
        let mut frame = BytesMut::with_capacity(9 + payload.len());
        frame.put_uint(payload.len() as u64, 3);
        frame.put_u8(kind);
        frame.put_u8(flags);
        frame.put_u32(stream);
        frame.put_slice(payload);
        let _ = within("room in a socket", self.socket.write_all(&frame)).await;
    }

    /// Opens a call to `/test.Probe/METHOD`, with headers after those that every call has.
    pub(crate) async fn call(&mut self, stream: u32, method: &str, more: &[(&str, &str)]) {
        let path = format!("/test.Probe/{method}");
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "probe.test"),
            (":path", path.as_str()),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let block = header_block(headers.iter().chain(more).copied());
        self.write(HEADERS, END_HEADERS, stream, &block).await;
    }

    /// The next frame that says something; none when the peer closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = within("a frame", self.read()).await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await,
                PING if frame.flags & ACK == 0 => self.write(PING, ACK, 0, &frame.payload).await,
                WINDOW_UPDATE if frame.stream == 0 => self.window += frame.number(),
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    /// Waits for so many PINGs, and answers each.
    pub(crate) async fn answer_pings(&mut self, count: usize) {
        let mut answered = 0;
        while answered < count {
            let frame = within("a PING", self.read()).await;
            let frame = frame.expect("the connection lives");
            if frame.kind == PING && frame.flags & ACK == 0 {
                self.write(PING, ACK, 0, &frame.payload).await;
                answered += 1;
            } else if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                self.write(SETTINGS, ACK, 0, &[]).await;
            }
        }
    }

    /// The next frame, whatever it is.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.socket.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload: payload.into(),
        })
    }

    /// Reads up to the frame that ends the stream; returns its frames.
    pub(crate) async fn read_to_end(&mut self, stream: u32) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await.expect("the connection lives");
            assert_ne!(frame.kind, GOAWAY, "the connection lives: {frame:?}");
            if frame.stream != stream {
                continue;
            }
            let ends = frame.kind == RST_STREAM || frame.ends();
            frames.push(frame);
            if ends {
                return frames;
            }
        }
    }

    /// Whether the connection still serves: a PING is answered, with no GOAWAY before.
    pub(crate) async fn is_alive(&mut self) -> bool {
        self.write(PING, 0, 0, b"are you?").await;
        loop {
            match within("a PING's answer", self.read()).await {
                None => return false,
                Some(frame) if frame.kind == GOAWAY => return false,
                Some(frame) if frame.kind == PING && frame.flags & ACK != 0 => return true,
                Some(frame) if frame.kind == WINDOW_UPDATE && frame.stream == 0 => {
                    self.window += frame.number();
                }
                Some(_) => {}
            }
        }
    }
}

impl Frame {
    /// Whether it ends its stream in good order.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The number that the payload of RST_STREAM or WINDOW_UPDATE is.
    pub(crate) fn number(&self) -> i64 {
        let bytes = self.payload[..4].try_into().expect("four bytes");
        i64::from(u32::from_be_bytes(bytes))
    }
}

/// HPACK without tables: every header is a literal with a literal name, neither of them compressed.
pub(crate) fn header_block<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "a length of one byte");
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
