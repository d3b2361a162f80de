//! The relay of a mutant: it takes the tunnels that instances dial, dials the gateway for each, and changes
//! what goes between the two.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use grpcrouter_proto::v1::{Heartbeat, RegisterRequest, RegisterResponse, register_response};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::framing::{Messages, framed};

use super::Mutant;
use super::tamper::{Common, Frames, Tamper};

/// HTTP/2's windows, in bytes: as wide as tunnels have them.
const WINDOW: u32 = 8 << 20;
/// The longest frame of a tunnel, in bytes.
const FRAME_MAX: usize = 1 << 20;
/// Frames that wait to be written, each way. A mutant that buffers does so in its spools.
const QUEUE: usize = 1_024;
/// Between two heartbeats of a gateway that is gone: shorter than any that a case sets.
const PRETENDED: std::time::Duration = std::time::Duration::from_millis(50);

/// A relay before a gateway's tunnel port.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// Takes tunnels for this gateway.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn before(gateway: SocketAddr, mutant: Mutant) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let common = Arc::new(Common::default());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let tamper = Tamper::new(mutant, common.clone());
                // What ends a tunnel is told to both of its ends, and is nobody else's business.
                tokio::spawn(connection(socket, gateway, mutant, tamper));
            }
        });
        Ok(Self { addr, task })
    }

    /// Where instances dial it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection of an instance, which has one tunnel.
async fn connection(
    socket: TcpStream,
    gateway: SocketAddr,
    mutant: Mutant,
    tamper: Tamper,
) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let mut connection: h2::server::Connection<_, Bytes> = builder.handshake(socket).await?;
    let mut tamper = Some(tamper);
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let Some(tamper) = tamper.take() else {
            continue;
        };
        tokio::spawn(tunnel(request, respond, gateway, mutant, tamper));
    }
    Ok(())
}

/// What is written.
enum Item {
    Frame(Bytes),
    /// The end, with the other side's last words.
    End(HeaderMap),
}

/// Both ends of a tunnel.
struct Ends {
    tamper: Mutex<Tamper>,
    up: mpsc::Sender<Item>,
    down: mpsc::Sender<Item>,
}

async fn tunnel(
    request: Request<RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    gateway: SocketAddr,
    mutant: Mutant,
    tamper: Tamper,
) -> Result<()> {
    let (parts, from_instance) = request.into_parts();
    let socket = TcpStream::connect(gateway).await?;
    socket.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let (requests, dialled) = builder.handshake::<_, Bytes>(socket).await?;
    let dialled = tokio::spawn(dialled);
    let mut register = Request::post(format!("http://{gateway}{}", parts.uri.path())).body(())?;
    *register.headers_mut() = parts.headers;
    let mut requests = requests.ready().await?;
    let (response, to_gateway) = requests.send_request(register, false)?;
    let response = response.await?;
    let (head, from_gateway) = response.into_parts();
    let mut own = Response::new(());
    *own.headers_mut() = head.headers;
    if from_gateway.is_end_stream() {
        respond.send_response(own, true)?;
        return Ok(());
    }
    let to_instance = respond.send_response(own, false)?;
    let (up, ups) = mpsc::channel(QUEUE);
    let (down, downs) = mpsc::channel(QUEUE);
    let ends = Ends {
        tamper: Mutex::new(tamper),
        up,
        down,
    };
    let uplink = write(to_gateway, ups);
    let downlink = write(to_instance, downs);
    let from_instance = ends.hear_instance(from_instance);
    let from_gateway = ends.hear_gateway(from_gateway, mutant);
    let moved = async { tokio::join!(uplink, downlink, from_instance, from_gateway) };
    moved.await;
    dialled.abort();
    Ok(())
}

impl Ends {
    fn tamper(&self) -> MutexGuard<'_, Tamper> {
        self.tamper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hear_instance(&self, mut body: RecvStream) {
        let mut frames = Messages::up_to(FRAME_MAX);
        while let Some(frame) = next(&mut body, &mut frames).await {
            let Ok(frame) = RegisterRequest::decode(frame) else {
                break;
            };
            let changed = self.tamper().up(frame);
            self.pass(changed).await;
        }
        let last = self.tamper().instance_lost();
        let last = Frames {
            up: last,
            down: Vec::new(),
        };
        self.pass(last).await;
        let _ = self.up.send(Item::End(HeaderMap::new())).await;
    }

    async fn hear_gateway(&self, mut body: RecvStream, mutant: Mutant) {
        let mut frames = Messages::up_to(FRAME_MAX);
        while let Some(frame) = next(&mut body, &mut frames).await {
            let Ok(frame) = RegisterResponse::decode(frame) else {
                break;
            };
            let changed = self.tamper().down(frame);
            self.pass(changed).await;
        }
        if mutant == Mutant::KeepsZombies {
            // The instance is not told, and its calls go on: it hears of a gateway that lives.
            return self.pretend().await;
        }
        let trailers = poll_fn(|cx| body.poll_trailers(cx)).await;
        let trailers = trailers.ok().flatten().unwrap_or_default();
        let _ = self.down.send(Item::End(trailers)).await;
    }

    /// Signs of life, in place of a gateway that is gone, until the instance is gone too.
    async fn pretend(&self) {
        let mut beats = tokio::time::interval(PRETENDED);
        loop {
            beats.tick().await;
            let beat = RegisterResponse {
                frame: Some(register_response::Frame::Heartbeat(Heartbeat::default())),
            };
            let bytes = framed(&beat.encode_to_vec());
            if self.down.send(Item::Frame(bytes)).await.is_err() {
                return;
            }
        }
    }

    async fn pass(&self, frames: Frames) {
        for frame in frames.up {
            let bytes = framed(&frame.encode_to_vec());
            // Nobody listens where that end is gone.
            let _ = self.up.send(Item::Frame(bytes)).await;
        }
        for frame in frames.down {
            let bytes = framed(&frame.encode_to_vec());
            let _ = self.down.send(Item::Frame(bytes)).await;
        }
    }
}

/// The next frame; none at the end, whichever it is.
async fn next(body: &mut RecvStream, frames: &mut Messages) -> Option<Bytes> {
    loop {
        if let Some(frame) = frames.next().ok()? {
            return Some(frame.bytes);
        }
        let data = poll_fn(|cx| body.poll_data(cx)).await?.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        frames.push(&data);
    }
}

/// Writes frames as HTTP/2 takes them, to the end.
async fn write(mut stream: SendStream<Bytes>, mut items: mpsc::Receiver<Item>) {
    while let Some(item) = items.recv().await {
        let mut frame = match item {
            Item::Frame(frame) => frame,
            Item::End(trailers) if trailers.is_empty() => {
                let _ = stream.send_data(Bytes::new(), true);
                return;
            }
            Item::End(trailers) => {
                let _ = stream.send_trailers(trailers);
                return;
            }
        };
        while !frame.is_empty() {
            stream.reserve_capacity(frame.len());
            while stream.capacity() == 0 {
                match poll_fn(|cx| stream.poll_capacity(cx)).await {
                    Some(Ok(_)) => {}
                    _ => return,
                }
            }
            let piece = frame.split_to(frame.len().min(stream.capacity()));
            if stream.send_data(piece, false).is_err() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ends").finish_non_exhaustive()
    }
}
