//! The response: what a handler sends, one piece at a time, as its transport takes it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::action::Finish;
use super::payload::PREFIX;
use super::side::Run;

/// The most bytes that are given to the transport at a time.
const PIECE: usize = 16 * 1024;

/// The call is gone, and its handler is about to end.
#[derive(Debug)]
pub(super) struct Gone;

/// How a response begins.
pub(super) enum Head {
    /// Messages may follow.
    Open(HeaderMap),
    /// There is nothing else.
    Only(Finish),
    /// The handler fails.
    Abort,
}

/// What follows it.
enum Piece {
    /// Bytes; how many of them are of a message, and whether it ends with them.
    Data {
        data: Bytes,
        of_message: u64,
        ends: bool,
        taken: oneshot::Sender<()>,
    },
    Finish(Finish),
    Abort,
}

/// The handler's end.
pub(super) struct Outbound {
    head: Option<oneshot::Sender<Head>>,
    /// What the initial metadata hold where the script says nothing.
    defaults: HeaderMap,
    pieces: mpsc::Sender<Piece>,
}

/// The transport's end, before the response has begun.
pub(super) struct Beginning {
    head: oneshot::Receiver<Head>,
    pieces: mpsc::Receiver<Piece>,
}

/// Both ends.
pub(super) fn response(defaults: HeaderMap) -> (Outbound, Beginning) {
    let (head, head_recv) = oneshot::channel();
    // One, and it is waited for: what is under way here is a piece.
    let (pieces, pieces_recv) = mpsc::channel(1);
    let outbound = Outbound {
        head: Some(head),
        defaults,
        pieces,
    };
    let beginning = Beginning {
        head: head_recv,
        pieces: pieces_recv,
    };
    (outbound, beginning)
}

impl Outbound {
    /// Sends the initial metadata, if they are not sent yet.
    pub(super) fn head(&mut self, mut metadata: HeaderMap) {
        if let Some(head) = self.head.take() {
            for (name, value) in &self.defaults {
                metadata.entry(name).or_insert_with(|| value.clone());
            }
            let _ = head.send(Head::Open(metadata));
        }
    }

    /// Sends a message in its frame; waits until the transport has all of it.
    pub(super) async fn send(&mut self, mut framed: Bytes) -> Result<(), Gone> {
        self.head(HeaderMap::new());
        let mut prefix = PREFIX;
        while !framed.is_empty() {
            let data = framed.split_to(framed.len().min(PIECE));
            let of_message = (data.len() - std::mem::take(&mut prefix)) as u64;
            let (taken, wait) = oneshot::channel();
            let piece = Piece::Data {
                data,
                of_message,
                ends: framed.is_empty(),
                taken,
            };
            self.pieces.send(piece).await.map_err(|_| Gone)?;
            wait.await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Ends the response.
    pub(super) async fn finish(&mut self, finish: Finish) {
        match self.head.take() {
            Some(head) => drop(head.send(Head::Only(finish))),
            None => drop(self.pieces.send(Piece::Finish(finish)).await),
        }
    }

    /// Fails.
    pub(super) async fn abort(&mut self) {
        match self.head.take() {
            Some(head) => drop(head.send(Head::Abort)),
            None => drop(self.pieces.send(Piece::Abort).await),
        }
    }
}

/// Ends the handler when it is dropped: nobody waits for it any more.
pub(super) struct Guard {
    run: Arc<Run>,
    task: AbortHandle,
}

impl Guard {
    pub(super) fn new(run: Arc<Run>, task: AbortHandle) -> Self {
        Self { run, task }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.run.cancelled();
        self.task.abort();
    }
}

impl Beginning {
    /// The response, once it has begun.
    pub(super) async fn response(self, guard: Guard) -> Response<ProbeBody> {
        let Self { head, pieces } = self;
        match head.await {
            Ok(Head::Open(metadata)) => {
                let open = Open {
                    pieces,
                    given: None,
                };
                let mut response = Response::new(ProbeBody {
                    open: Some(open),
                    guard: Some(guard),
                });
                *response.headers_mut() = metadata;
                response
            }
            Ok(Head::Only(finish)) => {
                guard.run.finished(finish.code);
                let mut response = ended(finish.trailers.unwrap_or_default());
                response.body_mut().guard = Some(guard);
                response
            }
            Ok(Head::Abort) | Err(_) => fail(&guard.run),
        }
    }
}

/// A response of nothing but these headers, with gRPC's content type.
pub(super) fn ended(mut headers: HeaderMap) -> Response<ProbeBody> {
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut response = Response::new(ProbeBody {
        open: None,
        guard: None,
    });
    *response.headers_mut() = headers;
    response
}

/// What a script's Abort is, and what becomes of a task that panicked by itself. It unwinds as a panic does, and
/// prints no report of one: the script wants it, or it was printed.
fn fail(run: &Run) -> ! {
    run.close();
    std::panic::resume_unwind(Box::new("the handler fails, as its script says"))
}

/// The body of a handler's response. Dropped before its end, it cancels the handler.
pub struct ProbeBody {
    /// None once it is over.
    open: Option<Open>,
    /// Kept to the last: the handler lets go of its request when the transport is done with the response.
    guard: Option<Guard>,
}

struct Open {
    pieces: mpsc::Receiver<Piece>,
    /// The piece that the transport was given last: asking for the next one, it has accepted this one.
    given: Option<(u64, bool, oneshot::Sender<()>)>,
}

impl Body for ProbeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let (Some(open), Some(guard)) = (&mut this.open, &this.guard) else {
            return Poll::Ready(None);
        };
        let run = &guard.run;
        if let Some((of_message, ends, taken)) = open.given.take() {
            run.count(|counts| {
                counts.sent.bytes += of_message;
                counts.sent.messages += u64::from(ends);
            });
            let _ = taken.send(());
        }
        let frame = match ready!(open.pieces.poll_recv(cx)) {
            Some(Piece::Data {
                data,
                of_message,
                ends,
                taken,
            }) => {
                open.given = Some((of_message, ends, taken));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Some(Piece::Finish(finish)) => {
                run.finished(finish.code);
                finish
                    .trailers
                    .map(|trailers| Ok(Frame::trailers(trailers)))
            }
            Some(Piece::Abort) | None => fail(run),
        };
        this.open = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }
}
