//! The request's body at the instance: what a handler takes of it is what credit is granted for.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::calls::{RequestEnd, RequestFlow};

/// The gRPC byte stream of a request. Who does not read it holds its sender back.
#[derive(Debug)]
pub struct IncomingBody {
    flow: Arc<RequestFlow>,
}

/// The request did not come to its end: the call is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl IncomingBody {
    pub(super) fn new(flow: Arc<RequestFlow>) -> Self {
        Self { flow }
    }
}

impl http_body::Body for IncomingBody {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        Poll::Ready(match ready!(self.flow.poll_next(cx)) {
            Ok(data) => {
                self.flow.took(data.len());
                Some(Ok(Frame::data(data)))
            }
            Err(RequestEnd::HalfClosed) => None,
            Err(_) => Some(Err(Interrupted)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.flow.is_done()
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call is over")
    }
}

impl std::error::Error for Interrupted {}
