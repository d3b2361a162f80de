//! Answers of tiny messages that nobody reads.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::net::TcpListener;

use super::super::support::client::Client;
use super::super::support::framed;
use super::super::support::source::QUIET;
use super::behind;
use super::services::target;

/// Stalled answers at once.
const STALLED: usize = 50;
/// What the way behind the agent holds of an answer, sent in large frames: the tiny ones stay at the agent.
const BEHIND: usize = 96 * 1024;

/// Proves: ZB-4
#[tokio::test]
async fn stalled_answers_of_tiny_messages_stop_nobody_on_their_connection() {
    let sent = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::new(AtomicUsize::new(0));
    let upstream = flooding(sent.clone(), accepted.clone()).await;
    let (world, _agent, _) = behind(&upstream).await;
    let client = Client::with(world.clients, |settings| {
        settings.initial_window_size(0);
    })
    .await;
    let sibling = world.client().await;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let mut call = client.call_ended("Flood").await;
        call.head().await;
        stalled.push(call);
    }
    let (mut seen, mut quiet) = (0, 0);
    while quiet < QUIET {
        assert_eq!(
            sibling.unary("Ask", b"").await.status(),
            0,
            "siblings go on"
        );
        let now = sent.load(Ordering::Relaxed);
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
    }
    assert!(
        seen > STALLED * (BEHIND + 60 * 1024),
        "{seen} B: the agent's window is full"
    );
    assert_eq!(
        world.gateway.gauges().calls.get(),
        STALLED,
        "all of them still run"
    );
    let connections = accepted.load(Ordering::Relaxed);
    assert_eq!(connections, 1, "nobody had to dial again");
}

/// A server whose method `Flood` sends messages of five bytes for as long as there is window.
async fn flooding(sent: Arc<AtomicUsize>, accepted: Arc<AtomicUsize>) -> grpcrouter::Target {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("binds");
    let addr = listener.local_addr().expect("is bound");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            accepted.fetch_add(1, Ordering::Relaxed);
            let sent = sent.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(socket).await else {
                    return;
                };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(answer(request, respond, sent.clone()));
                }
            });
        }
    });
    target(addr)
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    sent: Arc<AtomicUsize>,
) -> Result<(), h2::Error> {
    let response = Response::builder().header("content-type", "application/grpc");
    let mut send = respond.send_response(response.body(()).expect("a response"), false)?;
    if !request.uri().path().ends_with("/Flood") {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", 0.into());
        return send.send_trailers(trailers);
    }
    let mut next = framed(&vec![0; BEHIND - 5]);
    loop {
        while !next.is_empty() {
            send.reserve_capacity(next.len());
            while send.capacity() == 0 {
                let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
                room.ok_or(h2::Reason::CANCEL)??;
            }
            let piece = next.split_to(next.len().min(send.capacity()));
            sent.fetch_add(piece.len(), Ordering::Relaxed);
            send.send_data(piece, false)?;
        }
        next = framed(b"tiny!");
    }
}
