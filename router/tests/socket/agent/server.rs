//! A server that speaks HTTP/2 frame by frame, so that a test decides every one of them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grpcrouter::{BoxIo, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, mpsc};

use super::super::support::within;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const ACK: u8 = 0x1;

/// Where connections come in.
pub(crate) struct Server {
    pub(crate) target: Target,
    connections: mpsc::Receiver<Peer>,
}

/// A connection to the agent. SETTINGS and PING are answered; credit is ignored, as no test needs more
/// than it starts with.
pub(crate) struct Peer {
    frames: mpsc::Receiver<Seen>,
    write: Writer,
}

type Writer = Arc<Mutex<WriteHalf<BoxIo>>>;

/// A frame that concerns a stream.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Headers { stream: u32, end: bool },
    Data { stream: u32, data: Bytes, end: bool },
    Reset { stream: u32, code: u32 },
}

impl Server {
    /// Listens on loopback. `max_streams` is what it says in its SETTINGS.
    pub(crate) async fn tcp(max_streams: Option<u32>) -> Self {
        let any = (Ipv4Addr::LOCALHOST, 0);
        let listener = TcpListener::bind(any).await.expect("binds");
        let addr = listener.local_addr().expect("is bound");
        let (send, connections) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).expect("a socket");
                tokio::spawn(accept(Box::new(socket), max_streams, send.clone()));
            }
        });
        let target = format!("http://{addr}").parse().expect("a target");
        Self {
            target,
            connections,
        }
    }

    pub(crate) fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("binds");
        let (send, connections) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(accept(Box::new(socket), None, send.clone()));
            }
        });
        let target = format!("unix:{}", path.display())
            .parse()
            .expect("a target");
        Self {
            target,
            connections,
        }
    }

    pub(crate) async fn accept(&mut self) -> Peer {
        let next = within("a connection of the agent", self.connections.recv());
        next.await.expect("it listens")
    }

    /// How many connections wait to be accepted.
    pub(crate) fn waiting(&self) -> usize {
        self.connections.len()
    }
}

async fn accept(io: BoxIo, max_streams: Option<u32>, connections: mpsc::Sender<Peer>) {
    let (mut read, write) = tokio::io::split(io);
    let write = Arc::new(Mutex::new(write));
    let mut preface = [0; 24];
    if read.read_exact(&mut preface).await.is_err() {
        return;
    }
    if max_streams.is_some() {
        // As from far away: until its settings come, nobody knows its limit.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let settings = max_streams.map_or(Vec::new(), |max| {
        let mut setting = vec![0, 3];
        setting.extend_from_slice(&max.to_be_bytes());
        setting
    });
    put(&write, SETTINGS, 0, 0, &settings).await;
    let (send, frames) = mpsc::channel(1_024);
    let peer = Peer {
        frames,
        write: write.clone(),
    };
    if connections.send(peer).await.is_ok() {
        tell(read, &write, send).await;
    }
}

/// Reads frames until the connection ends.
async fn tell(mut read: ReadHalf<BoxIo>, write: &Writer, frames: mpsc::Sender<Seen>) -> Option<()> {
    loop {
        let mut head = [0; 9];
        read.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes(head[5..].try_into().expect("four bytes"));
        let mut payload = vec![0; length as usize];
        read.read_exact(&mut payload).await.ok()?;
        let end = flags & END_STREAM != 0;
        let seen = match kind {
            HEADERS => Seen::Headers { stream, end },
            DATA => Seen::Data {
                stream,
                data: payload.into(),
                end,
            },
            RST_STREAM => Seen::Reset {
                stream,
                code: u32::from_be_bytes(payload.try_into().expect("four bytes")),
            },
            SETTINGS | PING if flags & ACK == 0 => {
                let echo = if kind == PING { &payload[..] } else { &[] };
                put(write, kind, ACK, 0, echo).await;
                continue;
            }
            SETTINGS | PING | GOAWAY | WINDOW_UPDATE => continue,
            kind => panic!("a frame of kind {kind}"),
        };
        frames.send(seen).await.ok()?;
    }
}

async fn put(write: &Writer, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    // The agent may have gone, as it may.
    let _ = write.lock().await.write_all(&frame).await;
}

impl Peer {
    pub(crate) async fn next(&mut self) -> Seen {
        within("a frame of the agent", self.frames.recv())
            .await
            .expect("the connection stands")
    }

    /// The next request's stream.
    pub(crate) async fn request(&mut self) -> u32 {
        loop {
            if let Seen::Headers { stream, .. } = self.next().await {
                return stream;
            }
        }
    }

    /// The next request that has come to its end: its stream.
    pub(crate) async fn unary(&mut self) -> u32 {
        loop {
            match self.next().await {
                Seen::Data {
                    stream, end: true, ..
                } => return stream,
                Seen::Headers { end: false, .. } | Seen::Data { .. } => {}
                other => panic!("not of a unary call: {other:?}"),
            }
        }
    }

    /// The head of a response, or all of it.
    pub(crate) async fn head(&self, stream: u32, headers: &[(&str, &str)], end: bool) {
        let mut block = Vec::new();
        for (name, value) in headers {
            // A literal without indexing, its name spelled out.
            block.push(0);
            for text in [name, value] {
                block.push(
                    u8::try_from(text.len())
                        .ok()
                        .filter(|n| *n < 127)
                        .expect("short"),
                );
                block.extend_from_slice(text.as_bytes());
            }
        }
        let end = if end { END_STREAM } else { 0 };
        put(&self.write, HEADERS, END_HEADERS | end, stream, &block).await;
    }

    pub(crate) async fn data(&self, stream: u32, data: &[u8], end: bool) {
        put(&self.write, DATA, u8::from(end), stream, data).await;
    }

    /// A whole answer of one message with status OK.
    pub(crate) async fn ok(&self, stream: u32, message: &[u8]) {
        self.head(stream, &HEAD, false).await;
        let framed = super::super::support::framed(message);
        self.data(stream, &framed, false).await;
        self.head(stream, &[("grpc-status", "0")], true).await;
    }

    pub(crate) async fn reset(&self, stream: u32, code: u32) {
        put(&self.write, RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    /// Closes the connection's writing side; the agent closes the other.
    pub(crate) async fn close(&self) {
        let _ = self.write.lock().await.shutdown().await;
    }

    /// Says that streams after `last` were not looked at.
    pub(crate) async fn go_away(&self, last: u32) {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0; 4]);
        put(&self.write, GOAWAY, 0, 0, &payload).await;
    }
}

/// The head of a gRPC response.
pub(crate) const HEAD: [(&str, &str); 2] =
    [(":status", "200"), ("content-type", "application/grpc")];
