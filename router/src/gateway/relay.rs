//! One call on a connection of ours: from a client's HTTP/2 stream to a tunnel, and back.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use grpcrouter_core::Gateway;
use grpcrouter_core::frame::Head;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;

use crate::outflow::{Outflow, OutflowEnd};
use crate::status::GatewayStatus;
use crate::tunnel::{Call, Payload};

use super::access::Access;
use super::inflow::Inflow;
use super::open::{Answer, Failure, Opening};
use super::request::Ingress;
use super::{Shared, respond};

/// Carries one call from beginning to end.
pub(super) async fn relay(
    shared: Arc<Shared>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Payload>,
) {
    let (parts, body) = request.into_parts();
    let mut access = Access::begin(shared.clone(), parts.uri.path());
    let routes = shared.routes.load_full();
    let ingress = match Ingress::parse(&parts, &routes, shared.config.tunnel.max_metadata) {
        Ok(ingress) => ingress,
        Err(refusal) => {
            access.refused(&refusal);
            return respond::refuse(&mut respond, &refusal);
        }
    };
    access.resolved(&ingress);
    let _open = shared.gauges.calls.enter();
    let mut request = Inflow::new(body);
    let opening = Opening {
        shared: &shared,
        parts: &parts,
        ingress,
        request: &mut request,
        access: &mut access,
    };
    let answer = opening.run(|cx| respond.poll_reset(cx).is_ready()).await;
    access.bytes(request.received as u64, 0);
    match answer {
        Ok(Answer::Head(placed, head)) => {
            stream(&mut access, request, &placed.call, respond, head).await;
        }
        Ok(Answer::Trailers(trailers)) => {
            access.code(trailers.status);
            respond::trailers_only(&mut respond, trailers.into_headers());
        }
        Err(Failure::Gone) => access.gone(),
        Err(Failure::Status(status)) => {
            access.status(&status);
            respond::trailers_only(&mut respond, status.trailers());
        }
    }
}

/// The head has come: the rest of the call, both ways.
async fn stream(
    access: &mut Access,
    mut request: Inflow<RecvStream>,
    call: &Call<Gateway>,
    mut respond: SendResponse<Payload>,
    head: Head,
) {
    let Ok(send) = respond.send_response(respond::head(head), false) else {
        return access.gone();
    };
    let mut out = Outflow::new(send);
    let end = poll_fn(|cx| {
        if request.poll(cx, call).is_err() {
            return Poll::Ready(OutflowEnd::Gone);
        }
        // A request that goes on is read, and tells of a reset itself. To wait for one here as well would have h2 wake
        // this task for each piece of the answer that it finds room for.
        if request.ended && out.poll_gone(cx) {
            return Poll::Ready(OutflowEnd::Gone);
        }
        out.poll(cx, call, |_| {})
    });
    let end = end.await;
    access.bytes(request.received as u64, out.bytes);
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
        OutflowEnd::Gone => access.gone(),
    }
}
