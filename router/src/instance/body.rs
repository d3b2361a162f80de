//! The body of a call's request, as the service reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpcrouter_core::{CallFault, Received};
use http_body::{Body, Frame};

use crate::hop::PIECE;
use crate::tunnel::{Call, Taken};

/// The body of a call's request. Credit goes back to the client's side as it is read, and only then.
///
/// A call that was cut ends in an error, never as if the client had ended it.
#[derive(Debug)]
pub struct RequestBody {
    call: Arc<Call<grpcrouter_core::Instance>>,
    ended: bool,
}

impl RequestBody {
    pub(crate) fn new(call: Arc<Call<grpcrouter_core::Instance>>) -> Self {
        Self { call, ended: false }
    }

    /// The call underneath, for a reader that takes no more than its next hop takes.
    pub(crate) fn into_call(self) -> Arc<Call<grpcrouter_core::Instance>> {
        self.call
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
        match ready!(self.call.poll_take(cx, PIECE)) {
            Taken::Received(Received::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Taken::Received(Received::End(())) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Taken::Received(Received::Failed(fault)) => {
                self.ended = true;
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
