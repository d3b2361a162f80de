//! The suite as an instance, for gateways under test.
//!
//! [`Tunnel`] says what the case says, and nothing else. [`serve`] keeps to every rule by itself, and hosts a
//! service.

mod answer;
mod body;
mod calls;
mod driver;
mod served;

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use grpcrouter_proto::v1::{
    InstanceInfo, RegisterRequest, RegisterResponse, RegistrationAck, register_request,
    register_response,
};
use http::Request;
use tokio::net::TcpStream;

use super::stream::{Inbound, Outbound, Stream};
use super::{REGISTER, request};
use crate::wait::{LIMIT, within};

pub use body::{IncomingBody, Interrupted};
pub use served::{ServedInstance, serve};

/// HTTP/2 windows of a tunnel, in bytes: section 1 asks for several megabytes.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What h2 keeps of a tunnel until its socket takes it. Calls' data in it has spent credit.
const SEND_BUFFER: usize = 64 * 1024;

/// An instance's end of a tunnel, in the hands of a case.
pub type Tunnel = Stream<RegisterRequest, RegisterResponse>;

impl Tunnel {
    /// Dials a gateway: the stream is open, nothing was said.
    ///
    /// # Errors
    /// Where nobody answers in HTTP/2.
    pub async fn dial(addr: SocketAddr) -> Result<Self> {
        Self::dial_with(addr, |_| {}).await
    }

    /// As [`Tunnel::dial`], with settings of one's own, such as a small window.
    ///
    /// # Errors
    /// As [`Tunnel::dial`].
    pub async fn dial_with(
        addr: SocketAddr,
        settings: impl FnOnce(&mut h2::client::Builder),
    ) -> Result<Self> {
        let socket = within("connection", LIMIT, TcpStream::connect(addr)).await?;
        let socket = socket.with_context(|| format!("cannot dial {addr}"))?;
        socket.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(1 << 30);
        settings(&mut builder);
        let (requests, connection) = within("HTTP/2 handshake", LIMIT, builder.handshake(socket))
            .await?
            .context("the HTTP/2 handshake")?;
        // Its end shows on the stream.
        let connection = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        let mut requests = within("room for a tunnel", LIMIT, requests.ready()).await??;
        let register = Request::post(format!("http://{addr}{REGISTER}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (response, send) = requests.send_request(register, false)?;
        let (outbound, inbound) = (Outbound::new(send), Inbound::coming(response));
        Ok(Self::new(outbound, inbound, connection))
    }

    /// Sends InstanceInfo and reads the answer.
    ///
    /// # Errors
    /// Where it is no RegistrationAck: with what it is.
    pub async fn register(&mut self, info: InstanceInfo) -> Result<RegistrationAck> {
        self.send(&request(register_request::Frame::InstanceInfo(info)))
            .await?;
        match self.next().await?.frame {
            Some(register_response::Frame::Ack(ack)) => Ok(ack),
            other => bail!("not registered: {other:?}"),
        }
    }
}
