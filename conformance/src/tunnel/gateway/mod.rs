//! The suite as a gateway, for instances under test.
//!
//! [`TunnelPort`] takes tunnels, and each [`Registered`] says what the case says. [`NaiveGateway`] relays calls of
//! clients by itself.

mod careless;
mod download;
mod naive;
mod peer;
mod registry;
mod relay;
mod settings;
mod upload;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use grpcrouter_proto::v1::{
    ErrorResponse, InstanceInfo, RegisterRequest, RegisterResponse, RegistrationAck,
    register_request, register_response,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::stream::{Inbound, Outbound, Stream};
use super::{REGISTER, limits, response};
use crate::wait::{LIMIT, within};

pub use naive::NaiveGateway;
pub use settings::{Bound, Settings};

/// HTTP/2 windows of a tunnel, in bytes: section 1 asks for several megabytes.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What h2 keeps of a tunnel until its socket takes it. Calls' data in it has spent credit.
const SEND_BUFFER: usize = 64 * 1024;

/// Tunnels that wait for the case to take them. Those beyond it wait in their sockets.
const DIALLED: usize = 64;

/// A port for tunnels, in the hands of a case.
#[derive(Debug)]
pub struct TunnelPort {
    addr: SocketAddr,
    dialled: mpsc::Receiver<Stream<RegisterResponse, RegisterRequest>>,
    task: JoinHandle<()>,
}

/// A gateway's end of a tunnel whose instance has said who it is. Nothing was answered yet.
#[derive(Debug)]
pub struct Registered {
    /// Who it says it is.
    pub info: InstanceInfo,
    /// The stream.
    pub stream: Stream<RegisterResponse, RegisterRequest>,
}

impl TunnelPort {
    /// Listens on loopback.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn listen() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let (send, dialled) = mpsc::channel(DIALLED);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let send = send.clone();
                let (own, handle) = tokio::sync::oneshot::channel();
                let task = connections.spawn(async move {
                    if let Ok(handle) = handle.await {
                        // How it ended shows on its streams.
                        let _ = take(socket, handle, send).await;
                    }
                });
                let _ = own.send(task);
            }
        });
        Ok(Self {
            addr,
            dialled,
            task,
        })
    }

    /// Where instances dial.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next Register stream, of which nothing was read yet.
    ///
    /// # Errors
    /// Where nobody dials.
    pub async fn dialled(&mut self) -> Result<Stream<RegisterResponse, RegisterRequest>> {
        let next = within("tunnel", LIMIT, self.dialled.recv()).await?;
        next.context("the port is closed")
    }

    /// The next instance that says who it is.
    ///
    /// # Errors
    /// Where nobody dials, or its first frame is another.
    pub async fn accept(&mut self) -> Result<Registered> {
        Registered::read(self.dialled().await?).await
    }

    /// The next instance, registered with this answer.
    ///
    /// # Errors
    /// As [`TunnelPort::accept`].
    pub async fn register(&mut self, ack: RegistrationAck) -> Result<Registered> {
        let mut registered = self.accept().await?;
        registered.acknowledge(ack).await?;
        Ok(registered)
    }

    /// A tunnel for who runs it by itself; none once the port is closed.
    async fn next(&mut self) -> Option<Stream<RegisterResponse, RegisterRequest>> {
        self.dialled.recv().await
    }
}

impl Drop for TunnelPort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registered {
    async fn read(mut stream: Stream<RegisterResponse, RegisterRequest>) -> Result<Self> {
        match stream.next().await?.frame {
            Some(register_request::Frame::InstanceInfo(info)) => Ok(Self { info, stream }),
            other => bail!("the first frame is {other:?}"),
        }
    }

    /// Answers that it is registered.
    ///
    /// # Errors
    /// Where the stream is over.
    pub async fn acknowledge(&mut self, ack: RegistrationAck) -> Result<()> {
        self.stream
            .send(&response(register_response::Frame::Ack(ack)))
            .await
    }

    /// Ends the tunnel with this error, and with the status that belongs to it.
    ///
    /// # Errors
    /// Where the stream is over.
    pub async fn refuse(&mut self, code: u32, reason: &str, message: &str) -> Result<()> {
        let error = error(code, reason, message);
        self.stream.send(&error).await?;
        self.stream.finish(code);
        Ok(())
    }
}

impl Stream<RegisterResponse, RegisterRequest> {
    /// Ends a gateway's side with this status.
    pub fn finish(&mut self, code: u32) {
        self.outbound.trailers(status(code));
    }
}

/// A RegistrationAck with every default.
pub fn ack() -> RegistrationAck {
    RegistrationAck {
        gateway_id: "conformance".to_owned(),
        revision: 1,
        call_window: limits::CALL_WINDOW,
        max_frame: limits::MAX_FRAME,
        heartbeat_interval_ms: limits::HEARTBEAT_MS,
        gateways: Vec::new(),
        max_metadata: limits::MAX_METADATA,
    }
}

fn error(code: u32, reason: &str, message: &str) -> RegisterResponse {
    response(register_response::Frame::Error(ErrorResponse {
        code,
        reason: reason.to_owned(),
        message: message.to_owned(),
    }))
}

/// Trailers of a tunnel.
fn status(code: u32) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    trailers
}

/// Serves one connection: its Register streams are handed on.
async fn take(
    socket: TcpStream,
    own: AbortHandle,
    dialled: mpsc::Sender<Stream<RegisterResponse, RegisterRequest>>,
) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(1 << 20)
        .data_frame_budget(1 << 30);
    let mut connection = builder.handshake::<_, Bytes>(socket).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        if let Some(stream) = register(request, respond, &own)? {
            // A case that takes none is over, or has a full queue: then the stream is dropped.
            let _ = dialled.try_send(stream);
        }
    }
    Ok(())
}

fn register(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    own: &AbortHandle,
) -> Result<Option<Stream<RegisterResponse, RegisterRequest>>> {
    let head = Response::builder().header("content-type", "application/grpc");
    if request.uri().path() != REGISTER {
        // UNIMPLEMENTED.
        respond.send_response(head.header("grpc-status", "12").body(())?, true)?;
        return Ok(None);
    }
    let send = respond.send_response(head.body(())?, false)?;
    let inbound = Inbound::open(request.into_body());
    Ok(Some(Stream::new(Outbound::new(send), inbound, own.clone())))
}
