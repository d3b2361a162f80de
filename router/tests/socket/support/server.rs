//! A raw HTTP/2 server that gives window back for nothing but what its script took.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::far::{Counts, FarCall, Step};

/// The server's stream window W_i, in bytes: HTTP/2's default.
pub(crate) const WINDOW: usize = 65_535;

/// Starts a server; `Step` is played as `far` says, everything else echoes.
pub(crate) async fn start(far: mpsc::Sender<FarCall>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("binds");
    let addr = listener.local_addr().expect("is bound");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).expect("a socket");
            tokio::spawn(connection(socket, far.clone()));
        }
    });
    addr
}

async fn connection(socket: TcpStream, far: mpsc::Sender<FarCall>) {
    let handshake = Builder::new()
        .initial_window_size(WINDOW as u32)
        .initial_connection_window_size(1 << 30)
        .max_concurrent_streams(4_096)
        .data_frame_budget(1 << 30)
        .handshake(socket);
    let Ok(mut connection) = handshake.await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(serve(request, respond, far.clone()));
    }
}

async fn serve(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    far: mpsc::Sender<FarCall>,
) {
    let response = Response::builder().header("content-type", "application/grpc");
    let send = respond.send_response(response.body(()).expect("a response"), false);
    // A client that has gone again needs no service.
    let Ok(send) = send else { return };
    let stepped = request.uri().path().ends_with("/Step");
    let recv = request.into_body();
    if stepped {
        let (end, steps, counts) = FarCall::new();
        let _ = far.send(end).await;
        let _ = play(recv, send, steps, &counts).await;
    } else {
        let _ = echo(recv, send).await;
    }
}

async fn echo(mut recv: RecvStream, mut send: SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = recv.data().await {
        let data = data?;
        recv.flow_control().release_capacity(data.len())?;
        send_all(&mut send, data, &Counts::default()).await?;
    }
    send.send_trailers(ok())
}

async fn play(
    mut recv: RecvStream,
    mut send: SendStream<Bytes>,
    mut steps: mpsc::Receiver<Step>,
    counts: &Counts,
) -> Result<(), h2::Error> {
    let mut kept = BytesMut::new();
    loop {
        let step = tokio::select! {
            biased;
            // As a server library tells its handler of a cancel.
            _ = poll_fn(|cx| send.poll_reset(cx)) => return Ok(()),
            step = steps.recv() => step,
        };
        match step {
            None => return Ok(()),
            Some(Step::Take(n, reply)) => {
                let _ = reply.send(take(&mut recv, &mut kept, n, counts).await?);
            }
            Some(Step::Give(data, reply)) => {
                send_all(&mut send, data, counts).await?;
                let _ = reply.send(());
            }
            Some(Step::Finish) => return send.send_trailers(ok()),
        }
    }
}

/// Reads `n` bytes. The application's reading is what opens the window, to the byte.
async fn take(
    recv: &mut RecvStream,
    kept: &mut BytesMut,
    n: usize,
    counts: &Counts,
) -> Result<Bytes, h2::Error> {
    let mut taken = BytesMut::new();
    loop {
        let piece = kept.split_to(kept.len().min(n - taken.len()));
        counts.read.fetch_add(piece.len(), Ordering::Relaxed);
        recv.flow_control().release_capacity(piece.len())?;
        taken.extend_from_slice(&piece);
        if taken.len() == n {
            return Ok(taken.freeze());
        }
        match recv.data().await {
            Some(data) => kept.extend_from_slice(&data?),
            None => return Ok(taken.freeze()),
        }
    }
}

async fn send_all(
    send: &mut SendStream<Bytes>,
    mut data: Bytes,
    counts: &Counts,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        while send.capacity() == 0 {
            match poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(room) => {
                    room?;
                }
                None => return Err(h2::Reason::STREAM_CLOSED.into()),
            }
        }
        let piece = data.split_to(data.len().min(send.capacity()));
        counts.sent.fetch_add(piece.len(), Ordering::Relaxed);
        send.send_data(piece, false)?;
    }
    Ok(())
}

fn ok() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    trailers
}
