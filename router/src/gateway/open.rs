//! From a request to an instance's answer: pick, open, and once more elsewhere where that is safe.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpcrouter_core::frame::{Head, Trailers};
use grpcrouter_core::registry::Key;
use grpcrouter_core::tunnel::CallRequest;
use grpcrouter_core::{Gateway, OpenError, Received, Time};
use http::request::Parts;

use crate::status::{Code, GatewayStatus, Reason};
use crate::tunnel::{Call, Taken};

use super::Shared;
use super::directory::TunnelLink;
use super::inflow::{Cut, Inflow, Source};
use super::request::Ingress;

/// A call's first answer.
pub(super) enum Answer {
    /// A head; the call goes on.
    Head(Call<Gateway>, Head),
    /// A status and nothing else.
    Trailers(Trailers),
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The client is gone.
    Gone,
    /// The client gets this.
    Status(GatewayStatus),
}

impl<T: Into<GatewayStatus>> From<T> for Failure {
    fn from(status: T) -> Self {
        Self::Status(status.into())
    }
}

/// A request that is being sent to an instance.
pub(super) struct Opening<'a, S> {
    pub(super) shared: &'a Shared,
    pub(super) parts: &'a Parts,
    pub(super) ingress: &'a Ingress<'a>,
    pub(super) request: &'a mut Inflow<S>,
}

impl<S: Source> Opening<'_, S> {
    /// Sends the request, and waits for the beginning of its answer. `is_gone` tells, and wakes, when
    /// nobody waits for it any more.
    pub(super) async fn run(
        mut self,
        mut is_gone: impl FnMut(&mut Context<'_>) -> bool,
    ) -> Result<Answer, Failure> {
        let deadline = self
            .ingress
            .timeout
            .map(|timeout| self.shared.clock.now() + timeout);
        let arrived = poll_fn(|cx| Poll::Ready(self.request.take_arrived(cx)));
        let mut data = arrived.await.map_err(|Cut| Failure::Gone)?;
        // Who did not take the call, and what it gets where nobody else is there.
        let mut tried: Option<(Key, GatewayStatus)> = None;
        loop {
            // A call that was reset while it waited to be taken costs an instance nothing.
            if poll_fn(|cx| Poll::Ready(is_gone(cx))).await {
                return Err(Failure::Gone);
            }
            let Ingress {
                service, pinned, ..
            } = *self.ingress;
            let excluded = tried.as_ref().map(|(key, _)| *key);
            let (key, link) = match self.shared.directory.pick(service, pinned, excluded) {
                Ok(picked) => picked,
                Err(error) => {
                    let first = tried.map_or_else(|| error.into(), |(_, first)| first);
                    return Err(self.of_gateway(first).into());
                }
            };
            let call = match self.open(&link, deadline, data.clone()) {
                Ok(call) => call,
                // It is full, or began to drain or was lost after it was picked.
                Err(error) if error.is_of_tunnel() && tried.is_none() => {
                    tried = Some((key, error.into()));
                    continue;
                }
                Err(error) => return Err(self.of_gateway(error.into()).into()),
            };
            match poll_fn(|cx| self.poll_head(cx, &call, &mut is_gone)).await? {
                Received::Start(head) => {
                    self.request.forget_replay();
                    return Ok(Answer::Head(call, head));
                }
                Received::End(trailers) => return Ok(Answer::Trailers(trailers)),
                Received::Failed(fault) => match self.request.replay() {
                    Some(again) if fault.never_dispatched() && tried.is_none() => {
                        tried = Some((key, (&fault).into()));
                        data = again;
                    }
                    _ => return Err((&fault).into()),
                },
                Received::Data(_) | Received::Pending => unreachable!("the head comes first"),
            }
        }
    }

    /// Opens the call, in one frame where the request is here whole.
    fn open(
        &mut self,
        link: &TunnelLink,
        deadline: Option<Time>,
        data: Bytes,
    ) -> Result<Call<Gateway>, OpenError> {
        let half_close = self.request.ended;
        let (key, passed) = link.with(|tunnel, now| {
            let request = CallRequest {
                method: self.ingress.method,
                authority: self.ingress.authority,
                timeout: deadline.map(|at| at - now),
                content_type: self.ingress.content_type,
                headers: &self.parts.headers,
            };
            let key = tunnel.open(now, request, data, half_close)?;
            Ok::<_, OpenError>((key, tunnel.take_passed(key)))
        })?;
        self.request.release(passed);
        Ok(Call::new(link.clone(), key))
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        call: &Call<Gateway>,
        is_gone: &mut impl FnMut(&mut Context<'_>) -> bool,
    ) -> Poll<Result<Received<Head, Trailers>, Failure>> {
        if is_gone(cx) || self.request.poll(cx, call).is_err() {
            return Poll::Ready(Err(Failure::Gone));
        }
        match ready!(call.poll_take(cx, 0)) {
            Taken::Received(received) => Poll::Ready(Ok(received)),
            Taken::Waiting(_) => unreachable!("the head comes first"),
        }
    }

    /// A draining gateway's tunnels take no calls, which is no fault of its instances.
    fn of_gateway(&self, status: GatewayStatus) -> GatewayStatus {
        if status.reason == Reason::NoInstance && *self.shared.drain.borrow() {
            let message = "the gateway is shutting down";
            return GatewayStatus::new(Code::Unavailable, Reason::Draining, message);
        }
        status
    }
}
