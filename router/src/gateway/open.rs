//! From a request to an instance's answer: pick, open, and once more elsewhere where that is safe.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use grpcrouter_core::frame::{Head, Trailers};
use grpcrouter_core::registry::{Choice, Key, Load, PickError, Wanted};
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::tunnel::CallRequest;
use grpcrouter_core::{CallFault, Gateway, OpenError, Received, Time};
use http::request::Parts;

use crate::status::{Code, GatewayStatus, Reason};
use crate::tunnel::{Call, Taken};

use super::access::Access;
use super::directory::TunnelLink;
use super::inflow::{Cut, Inflow, Source};
use super::request::Ingress;
use super::{Shared, waiting};

/// A call's first answer.
pub(super) enum Answer {
    /// A head; the call goes on.
    Head(Placed, Head),
    /// A status and nothing else.
    Trailers(Trailers),
}

/// A call at an instance, counted as its load.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) call: Call<Gateway>,
    _load: Loaded,
}

/// A call that counts as load until this is dropped.
#[derive(Debug)]
struct Loaded {
    shared: Arc<Shared>,
    load: Load,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.shared.directory.release(self.load);
    }
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

/// Who did not take a call, and what the call gets where nobody else does.
struct Tried {
    key: Key,
    status: GatewayStatus,
}

impl Tried {
    /// Whether it has as many calls as it may: an answer, for which no call waits that asks to wait for an instance.
    fn is_full(&self) -> bool {
        self.status.reason == Reason::Limit
    }
}

/// A request that is being sent to an instance.
pub(super) struct Opening<'a, S> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) parts: &'a Parts,
    pub(super) ingress: Ingress<'a>,
    pub(super) request: &'a mut Inflow<S>,
    pub(super) access: &'a mut Access,
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
        if self.ingress.pinned.is_none() && self.ingress.routing.waits() {
            data = self.find_key(data, deadline, &mut is_gone).await?;
        }
        let mut tried: Option<Tried> = None;
        loop {
            // A call that was reset while it waited to be taken costs an instance nothing.
            if poll_fn(|cx| Poll::Ready(is_gone(cx))).await {
                return Err(Failure::Gone);
            }
            let wanted = Wanted {
                service: self.ingress.service,
                choice: match self.ingress.pinned {
                    Some(id) => Choice::Instance(id),
                    None => self.ingress.routing.choice()?,
                },
                excluded: tried.as_ref().map(|tried| tried.key),
            };
            let mut picked = self.shared.directory.pick(wanted);
            if let Err(error) = picked
                && self.ingress.waits
                && !tried.as_ref().is_some_and(Tried::is_full)
            {
                let (request, data) = (&mut *self.request, &mut data);
                let waiting = waiting::wait(
                    self.shared,
                    wanted,
                    error,
                    deadline,
                    request,
                    data,
                    &mut is_gone,
                );
                picked = waiting.await?;
            }
            let picked = match picked {
                Ok(picked) => picked,
                Err(error) => {
                    let first =
                        tried.map_or_else(|| none_for(wanted.choice, error), |tried| tried.status);
                    return Err(self.of_gateway(first).into());
                }
            };
            let (key, link) = (picked.key, picked.tunnel);
            self.access.instance(key);
            let load = Loaded {
                shared: self.shared.clone(),
                load: picked.load,
            };
            let call = match self.open(&link, deadline, data.clone()) {
                Ok(call) => call,
                // It is full, or began to drain or was lost after it was picked.
                Err(error) if error.is_of_tunnel() && tried.is_none() => {
                    let status = error.into();
                    tried = Some(Tried { key, status });
                    continue;
                }
                Err(error) => return Err(self.of_gateway(error.into()).into()),
            };
            match poll_fn(|cx| self.poll_head(cx, &call, &mut is_gone)).await? {
                Received::Start(head) => {
                    self.request.forget_replay();
                    return Ok(Answer::Head(Placed { call, _load: load }, head));
                }
                Received::End(trailers) => return Ok(Answer::Trailers(trailers)),
                Received::Failed(fault) => match self.request.replay() {
                    Some(again) if self.may_retry(&fault) && tried.is_none() => {
                        let status = (&fault).into();
                        tried = Some(Tried { key, status });
                        data = again;
                    }
                    _ => return Err((&fault).into()),
                },
                Received::Data(_) | Received::Pending => unreachable!("the head comes first"),
            }
        }
    }

    /// Reads on until the routing key is known, or known to be missing. Nothing is open meanwhile. Gives
    /// what has come of the request.
    async fn find_key(
        &mut self,
        data: Bytes,
        deadline: Option<Time>,
        is_gone: &mut impl FnMut(&mut Context<'_>) -> bool,
    ) -> Result<Bytes, Failure> {
        let limit = self.ingress.routing.key_timeout();
        let left = deadline.map(|at| at - self.shared.clock.now());
        let (limit, reason) = match left {
            Some(left) if left < limit => (left, Reason::Deadline),
            _ => (limit, Reason::BadKey),
        };
        let (request, routing) = (&mut *self.request, &mut self.ingress.routing);
        if routing.search(&data, request.ended) {
            return Ok(data);
        }
        let found = async {
            let mut data = BytesMut::from(data);
            loop {
                let more = poll_fn(|cx| match is_gone(cx) {
                    true => Poll::Ready(Err(Cut)),
                    false => request.poll_more(cx),
                });
                data.extend_from_slice(&more.await.map_err(|Cut| Failure::Gone)?);
                let so_far = data.freeze();
                if routing.search(&so_far, request.ended) {
                    return Ok(so_far);
                }
                data = BytesMut::from(so_far);
            }
        };
        let found = tokio::time::timeout(limit, found).await;
        found.unwrap_or_else(|_| {
            let message = "the message with the routing key did not come in time";
            Err(GatewayStatus::new(Code::DeadlineExceeded, reason, message).into())
        })
    }

    /// Whether the call may be given to another instance: no handler has seen it, or its method says that
    /// a second run does no harm.
    fn may_retry(&self, fault: &CallFault) -> bool {
        let lost = matches!(fault, CallFault::Lost { .. });
        let twice = self.ingress.routing.is_idempotent() || sabotage::is(Sabotage::RetriedWhenLost);
        fault.never_dispatched() || (lost && twice)
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
                method: self.ingress.path,
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

/// No instance takes a call that was to go there. It says how that was decided, and no key.
fn none_for(choice: Choice<'_>, error: PickError) -> GatewayStatus {
    let message = match (error, choice) {
        (PickError::NoInstance, Choice::Instance(_)) => {
            "no live instance of the id that the call names serves it"
        }
        (PickError::NoInstance, Choice::Key(_)) => "no live instance serves this call's key",
        _ => return error.into(),
    };
    GatewayStatus::new(Code::Unavailable, Reason::NoInstance, message)
}
