//! One HTTP/2 connection of a client or an instance.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use grpcrouter_core::registry::Identity;
use grpcrouter_core::sabotage::{self, Sabotage};
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Sleep, sleep, timeout};

use crate::flag::raised;
use crate::h2_service;
use crate::hop::{DATA_FRAME_BUDGET, HEADER_LIST_MAX, SEND_BUFFER, TUNNEL_WINDOW};
use crate::net::{BoxIo, Gathered, gathered};
use crate::tunnel::{H2Transport, Payload};

use super::keepalive::Keepalive;
use super::listen::Serves;
use super::{Shared, admin, health, reflection, register, relay, respond};

/// How soon to try again to widen a connection's windows.
const WIDEN_AGAIN: Duration = Duration::from_millis(10);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection to its end.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut io: BoxIo,
    serves: Serves,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let limit = shared.config.preface_timeout;
    let first = timeout(limit, preface(&mut io)).await??;
    let (io, outlet) = gathered(io, first);
    let config = &shared.config;
    let (stream_window, connection_window) = if serves.clients() {
        let all = u64::from(config.client_window) * u64::from(config.max_streams);
        (
            config.client_window,
            u32::try_from(all).unwrap_or(u32::MAX).min(i32::MAX as u32),
        )
    } else {
        (TUNNEL_WINDOW, TUNNEL_WINDOW)
    };
    let handshake = h2::server::Builder::new()
        .initial_window_size(stream_window)
        .initial_connection_window_size(connection_window)
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(HEADER_LIST_MAX)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(DATA_FRAME_BUDGET)
        .handshake(io);
    let mut connection: Connection<Gathered<BoxIo>, Payload> = timeout(limit, handshake).await??;
    let mut keepalive = connection
        .ping_pong()
        .filter(|_| !sabotage::is(Sabotage::KeepaliveNever))
        .map(|pings| Keepalive::new(pings, config.client_keepalive));
    let mut drain = shared.drain.subscribe();
    // Made once, as everything here that waits: a future of each for every call would cost as much as all the rest of
    // this task.
    let mut drains = pin!(raised(&mut drain));
    let mut draining = false;
    // A port for both learns only from a request that its connection carries a tunnel. Until the peer has acknowledged
    // the first settings there can be no others.
    let mut widen: Option<Pin<Box<Sleep>>> = None;
    loop {
        let next = poll_fn(|cx| {
            if !draining && drains.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Next::Drain);
            }
            if let Some(widen) = &mut widen
                && widen.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Next::Widen);
            }
            if let Some(keepalive) = &mut keepalive
                && keepalive.poll_silent(cx, || outlet.heard()).is_ready()
            {
                return Poll::Ready(Next::Silent);
            }
            let accepted = connection.poll_accept(cx);
            let accepted = outlet.send_after(accepted, cx);
            accepted.map(|accepted| accepted.map_or_else(Next::Broken, Next::Accepted))
        });
        match next.await {
            Next::Drain => {
                draining = true;
                // Streams that are under way are served; a client opens its next call elsewhere.
                connection.graceful_shutdown();
            }
            Next::Widen => {
                // Never narrower: what is lost of a window is not always found again (`CLIENT_WINDOW_MIN`).
                let wide = TUNNEL_WINDOW.max(stream_window);
                widen = match connection.set_initial_window_size(wide) {
                    Ok(()) => {
                        connection.set_target_window_size(TUNNEL_WINDOW.max(connection_window));
                        None
                    }
                    Err(_) => Some(Box::pin(sleep(WIDEN_AGAIN))),
                };
            }
            Next::Silent => return Err("the peer answers no ping".into()),
            Next::Broken(error) => return Err(error.into()),
            Next::Accepted(None) => return Ok(()),
            Next::Accepted(Some(accepted)) => {
                let (request, respond) = accepted?;
                if is_register(&request) && serves.tunnels() {
                    if serves.clients() {
                        widen = Some(Box::pin(sleep(Duration::ZERO)));
                    }
                    tokio::spawn(tunnel(shared.clone(), request, respond));
                } else {
                    dispatch(shared, request, respond, serves);
                }
            }
        }
    }
}

/// A stream that the peer opened.
type Accepted = Result<(Request<RecvStream>, SendResponse<Payload>), h2::Error>;

/// What a connection's task has to do.
#[allow(
    clippy::large_enum_variant,
    reason = "it is made and taken apart at once, for every call: a box would cost more"
)]
enum Next {
    Drain,
    /// The windows are to be those of a tunnel.
    Widen,
    /// The peer is gone, without a word.
    Silent,
    /// Nothing more can be sent.
    Broken(io::Error),
    Accepted(Option<Accepted>),
}

fn is_register(request: &Request<RecvStream>) -> bool {
    request.uri().path() == admin::REGISTER
}

/// Hands a request to who answers it.
fn dispatch(
    shared: &Arc<Shared>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Payload>,
    serves: Serves,
) {
    let path = request.uri().path();
    let pinned = request.headers().contains_key(crate::status::INSTANCE);
    if admin::is_admin(path) {
        if serves.tunnels() {
            tokio::spawn(h2_service::serve(
                admin::Admin::new(shared.clone()),
                request,
                respond,
            ));
        } else {
            let status = admin::not_here();
            respond::trailers_only(&mut respond, status.trailers());
        }
    } else if health::is_health(path) && !pinned {
        tokio::spawn(h2_service::serve(
            health::service(shared.clone()),
            request,
            respond,
        ));
    } else if reflection::is_reflection(path) && !pinned {
        tokio::spawn(h2_service::serve(
            reflection::Reflection::new(shared.clone()),
            request,
            respond,
        ));
    } else if serves.clients() {
        // In a box of its own: a task would move all of it six times.
        tokio::spawn(Box::pin(relay::relay(shared.clone(), request, respond)));
    } else {
        respond::trailers_only(&mut respond, admin::no_calls_here().trailers());
    }
}

async fn tunnel(
    shared: Arc<Shared>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Payload>,
) {
    let head = respond::head(grpcrouter_core::frame::Head::default());
    let Ok(send) = respond.send_response(head, false) else {
        return;
    };
    let transport = H2Transport::new(request.into_body(), send);
    register::serve(shared, transport, Identity::anonymous()).await;
}

/// Reads the first bytes, to tell whoever speaks something else what is spoken here.
async fn preface(io: &mut BoxIo) -> io::Result<BytesMut> {
    let mut first = BytesMut::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() {
        let mut rest = [0; PREFACE.len()];
        let n = io.read(&mut rest[..PREFACE.len() - first.len()]).await?;
        first.extend_from_slice(&rest[..n]);
        if n == 0 || !PREFACE.starts_with(&first) {
            if n > 0 {
                io.write_all(WRONG_PROTOCOL).await?;
                io.shutdown().await?;
            }
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP/2"));
        }
    }
    Ok(first)
}

const WRONG_PROTOCOL: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\n\
    content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: 58\r\n\r\n\
    grpcrouter speaks gRPC over HTTP/2 without TLS, not this.\n";
