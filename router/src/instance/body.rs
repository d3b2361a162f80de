//! The body of a call's request, as the service reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::{CallFault, Received};
use http_body::{Body, Frame};

use crate::hop::PIECE;
use crate::tunnel::{Call, Taken};

/// The body of a call's request. Credit goes back to the client's side as it is read, and only then.
///
/// A call that was cut ends in an error, never as if the client had ended it.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    ended: bool,
}

#[derive(Debug)]
enum Source {
    Call(Arc<Call<grpcrouter_core::Instance>>),
    /// All of it, from this process.
    Whole(Bytes),
}

impl RequestBody {
    pub(crate) fn new(call: Arc<Call<grpcrouter_core::Instance>>) -> Self {
        Self {
            source: Source::Call(call),
            ended: false,
        }
    }

    /// The body of a request that this process makes itself.
    pub(super) fn whole(body: Bytes) -> Self {
        Self {
            source: Source::Whole(body),
            ended: false,
        }
    }

    /// The call underneath, for a reader that takes no more than its next hop takes; or all of a request
    /// that this process makes itself.
    pub(crate) fn into_call(self) -> Result<Arc<Call<grpcrouter_core::Instance>>, Bytes> {
        match self.source {
            Source::Call(call) => Ok(call),
            Source::Whole(body) => Err(body),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let call = match &mut self.source {
            Source::Call(call) => call,
            Source::Whole(body) => {
                let body = std::mem::take(body);
                self.ended = true;
                return Poll::Ready(Some(Ok(Frame::data(body))));
            }
        };
        match ready!(call.poll_take(cx, PIECE)) {
            Taken::Received(Received::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Taken::Received(Received::End(())) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Taken::Received(Received::Failed(fault)) => {
                self.ended = true;
                if sabotage::is(Sabotage::CutIsEnd) {
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(status(&fault))))
            }
            Taken::Received(Received::Start(_) | Received::Pending) | Taken::Waiting(_) => {
                unreachable!("a call's OPEN comes with its event, and there is room for a piece")
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

fn status(fault: &CallFault) -> tonic::Status {
    match fault {
        CallFault::Deadline => tonic::Status::deadline_exceeded("the deadline passed"),
        CallFault::Lost { .. } => tonic::Status::unavailable("the tunnel ended"),
        fault => tonic::Status::cancelled(fault.to_string()),
    }
}
