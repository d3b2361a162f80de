//! One call: from a client's HTTP/2 stream to a tunnel, and back.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use grpcrouter_core::frame::{Head, Trailers};
use grpcrouter_core::tunnel::CallRequest;
use grpcrouter_core::{Gateway, OpenError, Received, Time, config};
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use http::request::Parts;

use crate::outflow::{Outflow, OutflowEnd};
use crate::status::{Code, GatewayStatus, Reason};
use crate::tunnel::{Call, Payload, Taken};

use super::access::Access;
use super::config::REPLAY_MAX;
use super::directory::TunnelLink;
use super::request::Ingress;
use super::{Shared, respond};

/// Carries one call from beginning to end.
pub(super) async fn relay(
    shared: Arc<Shared>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Payload>,
) {
    let (parts, body) = request.into_parts();
    let mut access = Access::begin(&shared, &parts);
    let ingress = match Ingress::parse(&parts, shared.config.tunnel.max_metadata) {
        Ok(ingress) => ingress,
        Err(refusal) => {
            access.refused(&refusal);
            return respond::refuse(&mut respond, &refusal);
        }
    };
    let _open = shared.gauges.calls.enter();
    let request = Inflow {
        body,
        ended: false,
        received: 0,
        released: 0,
        replay: Some(BytesMut::new()),
    };
    let mut relay = Relay {
        shared: &shared,
        parts: &parts,
        ingress,
        request,
        respond,
    };
    match relay.run(&mut access).await {
        Ok(()) => {}
        Err(Failure::Gone) => access.gone(),
        Err(Failure::Status(mut status)) => {
            if status.reason == Reason::NoInstance && *shared.drain.borrow() {
                status = GatewayStatus::new(
                    Code::Unavailable,
                    Reason::Draining,
                    "the gateway is shutting down",
                );
            }
            access.status(&status);
            respond::trailers_only(&mut relay.respond, status.trailers());
        }
    }
}

struct Relay<'a> {
    shared: &'a Shared,
    parts: &'a Parts,
    ingress: Ingress<'a>,
    request: Inflow,
    respond: SendResponse<Payload>,
}

/// Why a call got no answer from an instance.
enum Failure {
    /// Nobody is there any more to tell.
    Gone,
    /// Nothing was answered yet: the client gets this.
    Status(GatewayStatus),
}

impl<T: Into<GatewayStatus>> From<T> for Failure {
    fn from(status: T) -> Self {
        Self::Status(status.into())
    }
}

impl Relay<'_> {
    async fn run(&mut self, access: &mut Access<'_>) -> Result<(), Failure> {
        let deadline = self
            .ingress
            .timeout
            .map(|timeout| self.shared.clock.now() + timeout);
        let mut data = poll_fn(|cx| Poll::Ready(self.take_arrived(cx))).await?;
        let mut tried = None;
        loop {
            let Ingress {
                service, pinned, ..
            } = self.ingress;
            let (key, link) = self.shared.directory.pick(service, pinned, tried)?;
            let call = match self.open(&link, deadline, data) {
                Ok(call) => call,
                // It began to drain, or was lost, after it was picked.
                Err(OpenError::NotLive) if tried.is_none() => {
                    tried = Some(key);
                    data = self.request.replay();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match poll_fn(|cx| self.poll_head(cx, &call)).await? {
                Received::Start(head) => return self.stream(access, call, head).await,
                Received::End(trailers) => {
                    self.trailers_only(access, trailers);
                    return Ok(());
                }
                Received::Failed(fault)
                    if fault.never_dispatched()
                        && tried.is_none()
                        && self.request.replay.is_some() =>
                {
                    tried = Some(key);
                    data = self.request.replay();
                }
                Received::Failed(fault) => return Err((&fault).into()),
                Received::Data(_) | Received::Pending => unreachable!("the head comes first"),
            }
        }
    }

    /// What of the request has arrived with its head. A call that was reset while it waited to be taken
    /// costs its instance nothing.
    fn take_arrived(&mut self, cx: &mut Context<'_>) -> Result<Bytes, Failure> {
        let data = self.request.take_arrived(cx)?;
        if self.respond.poll_reset(cx).is_ready() {
            return Err(Failure::Gone);
        }
        Ok(data)
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
    ) -> Poll<Result<Received<Head, Trailers>, Failure>> {
        if self.respond.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Failure::Gone));
        }
        self.request.poll(cx, call)?;
        match ready!(call.poll_take(cx, 0)) {
            Taken::Received(received) => Poll::Ready(Ok(received)),
            Taken::Waiting(_) => unreachable!("the head comes first"),
        }
    }

    /// The head has come: the rest of the call, both ways.
    async fn stream(
        &mut self,
        access: &mut Access<'_>,
        call: Call<Gateway>,
        head: Head,
    ) -> Result<(), Failure> {
        // From here on the call has an answer, and is not sent elsewhere.
        self.request.replay = None;
        let send = self.respond.send_response(respond::head(head), false);
        let mut out = Outflow::new(send.map_err(|_| Failure::Gone)?);
        let end = poll_fn(|cx| {
            if self.request.poll(cx, &call).is_err() {
                return Poll::Ready(OutflowEnd::Gone);
            }
            out.poll(cx, &call, |_| {})
        });
        let end = end.await;
        access.bytes(self.request.received as u64, out.bytes);
        match end {
            OutflowEnd::End(trailers) => {
                access.code(trailers.status);
                out.trailers(trailers.into_headers());
            }
            OutflowEnd::Failed(fault) => {
                let status = GatewayStatus::from(&fault);
                access.status(&status);
                out.trailers(status.trailers());
            }
            OutflowEnd::Gone => return Err(Failure::Gone),
        }
        Ok(())
    }

    fn trailers_only(&mut self, access: &mut Access<'_>, trailers: Trailers) {
        access.bytes(self.request.received as u64, 0);
        access.code(trailers.status);
        respond::trailers_only(&mut self.respond, trailers.into_headers());
    }
}

/// The request's bytes on their way to the tunnel.
struct Inflow {
    body: RecvStream,
    /// The client has half-closed.
    ended: bool,
    received: usize,
    /// What of it HTTP/2 was told is gone: it left for the tunnel.
    released: usize,
    /// All of the request so far, while it is short enough to be sent again.
    replay: Option<BytesMut>,
}

impl Inflow {
    /// What of the request has arrived with its head: often all of it.
    fn take_arrived(&mut self, cx: &mut Context<'_>) -> Result<Bytes, Failure> {
        let mut arrived = BytesMut::new();
        while arrived.len() < config::SMALL
            && !self.ended
            && let Poll::Ready(data) = self.poll_data(cx)?
        {
            if self.ended && arrived.is_empty() {
                return Ok(data);
            }
            arrived.extend_from_slice(&data);
        }
        Ok(arrived.freeze())
    }

    /// Reads the request eagerly; its window bounds what waits here. A slow handler must not leave frames
    /// in HTTP/2's queue, where they would count against the whole connection.
    fn poll(&mut self, cx: &mut Context<'_>, call: &Call<Gateway>) -> Result<(), Failure> {
        if self.ended && self.received == self.released {
            return Ok(());
        }
        let mut passed = call.poll_passed(cx);
        while !self.ended
            && let Poll::Ready(data) = self.poll_data(cx)?
        {
            passed += call.send(data, self.ended);
        }
        self.release(passed);
        Ok(())
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Result<Poll<Bytes>, Failure> {
        let Poll::Ready(data) = self.body.poll_data(cx) else {
            return Ok(Poll::Pending);
        };
        let Some(data) = data else {
            self.ended = true;
            return Ok(Poll::Ready(Bytes::new()));
        };
        // Reset, or the connection died: a cut is never an end of stream.
        let data = data.map_err(|_| Failure::Gone)?;
        self.ended = self.body.is_end_stream();
        self.received += data.len();
        match &mut self.replay {
            Some(replay) if replay.len() + data.len() <= REPLAY_MAX => {
                replay.extend_from_slice(&data);
            }
            replay => *replay = None,
        }
        Ok(Poll::Ready(data))
    }

    fn release(&mut self, passed: usize) {
        // A second try passes bytes again that HTTP/2 was already told of.
        let passed = passed.min(self.received - self.released);
        self.released += passed;
        if passed > 0 {
            // Fails only for a stream that is gone, which its next poll says.
            let _ = self.body.flow_control().release_capacity(passed);
        }
    }

    fn replay(&self) -> Bytes {
        self.replay
            .as_ref()
            .map_or_else(Bytes::new, |replay| Bytes::copy_from_slice(replay))
    }
}
