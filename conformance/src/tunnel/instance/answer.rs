//! One call at the instance: the service runs, and what it answers goes out in frames.

use std::fmt::Display;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use grpcrouter_proto::v1::{RegisterRequest, RpcCall, RpcResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::body::IncomingBody;
use super::calls::{RequestEnd, RequestFlow};
use crate::client::{decode_bin, text};
use crate::tunnel::lane::{Gone, Lane};
use crate::tunnel::metadata::{List, content_type, content_type_header, size};
use crate::tunnel::{flags, limits, part, reset};
use crate::wait::now;

/// How long the gateway has to end a call whose time is over, before its instance does: it answers the client.
const GRACE: Duration = Duration::from_secs(1);

const RESOURCE_EXHAUSTED: u32 = 8;
const UNKNOWN: u32 = 2;

/// One call's way out.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) id: u64,
    pub(super) flow: Arc<RequestFlow>,
    pub(super) lane: Lane<RegisterRequest>,
    /// Of InstanceInfo: half of it is granted at a time.
    pub(super) window: u32,
    /// The smaller of both sides' limits of a list.
    pub(super) max_metadata: usize,
    /// Of RegistrationAck.
    pub(super) max_frame: usize,
    pub(super) seq: u32,
}

/// Why a call ends without COMPLETE.
enum Ends {
    /// The tunnel is gone.
    Gone,
    /// By RESET with this code.
    Reset(u32),
}

impl From<Gone> for Ends {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Runs one call to its end: the service's future is dropped where the call ends before it.
pub(super) async fn run<S, B>(mut answer: Answer, service: S, open: RpcCall)
where
    S: Service<Request<IncomingBody>, Response = Response<B>>,
    S::Error: Display,
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let timeout = Duration::from_micros(open.timeout_us);
    let deadline = (open.timeout_us > 0)
        .then(|| now().checked_add(timeout))
        .flatten();
    let (flow, lane) = (answer.flow.clone(), answer.lane.clone());
    let (id, window) = (answer.id, answer.window);
    let grants = async {
        loop {
            let window = flow.due(window).await;
            let grant = RpcResponse {
                request_id: id,
                window,
                ..RpcResponse::default()
            };
            if lane.of_call(part(grant), flow.over()).await.is_err() {
                return;
            }
        }
    };
    let passes = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let ends = {
        // A panic of a handler's ends its own call.
        let serving = AssertUnwindSafe(answer.serve(service, open)).catch_unwind();
        tokio::select! {
            biased;
            cut = flow.when_cut() => match cut {
                RequestEnd::Breach(code) => Err(Ends::Reset(code)),
                _ => Err(Ends::Gone),
            },
            served = serving => served.unwrap_or(Err(Ends::Reset(reset::INTERNAL_ERROR))),
            () = passes => Err(Ends::Reset(reset::CANCEL)),
            () = grants => Err(Ends::Gone),
        }
    };
    match ends {
        Err(Ends::Reset(reset::CANCEL)) => {
            // The handler is gone; the gateway says it to the client.
            if tokio::time::timeout(GRACE, flow.when_cut()).await.is_err() {
                let _ = answer.reset(reset::CANCEL).await;
            }
        }
        Err(Ends::Reset(code)) => {
            let _ = answer.reset(code).await;
        }
        Ok(()) | Err(Ends::Gone) => {}
    }
}

impl Answer {
    async fn serve<S, B>(&mut self, mut service: S, open: RpcCall) -> Result<(), Ends>
    where
        S: Service<Request<IncomingBody>, Response = Response<B>>,
        S::Error: Display,
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let broken = |_| Ends::Reset(reset::INTERNAL_ERROR);
        let request = incoming(open, IncomingBody::new(self.flow.clone()))
            .ok_or(Ends::Reset(reset::PROTOCOL_ERROR))?;
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(broken)?;
        let response = service.call(request).await.map_err(broken)?;
        let (parts, body) = response.into_parts();
        let mut body = pin!(body);
        if body.is_end_stream() && parts.headers.contains_key("grpc-status") {
            return self.complete(&parts.headers).await;
        }
        if !self.head(&parts.headers).await? {
            return Ok(());
        }
        let mut trailers = HeaderMap::new();
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|_| Ends::Reset(reset::INTERNAL_ERROR))?;
            match frame.into_data() {
                Ok(data) => self.data(data).await?,
                Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        self.complete(&trailers).await
    }

    /// `false` where the head was too large, and the call is over.
    async fn head(&mut self, headers: &HeaderMap) -> Result<bool, Ends> {
        let metadata = List::Said.travelling(headers);
        if size(&metadata) > self.max_metadata {
            self.exhausted("the initial metadata are too large").await?;
            return Ok(false);
        }
        let head = RpcResponse {
            flags: flags::HEAD,
            content_type: content_type(headers),
            metadata,
            ..self.part()
        };
        self.send(head).await?;
        Ok(true)
    }

    async fn data(&mut self, mut data: Bytes) -> Result<(), Ends> {
        while !data.is_empty() {
            let most = data.len().min(limits::CHUNK);
            let some = self.flow.credit(most).await;
            let chunk = RpcResponse {
                seq: self.seq,
                data: data.split_to(some),
                ..self.part()
            };
            self.seq = self.seq.wrapping_add(1);
            self.send(chunk).await?;
        }
        Ok(())
    }

    async fn complete(&mut self, trailers: &HeaderMap) -> Result<(), Ends> {
        let status = text(trailers, "grpc-status").parse().ok();
        let bytes = |name| trailers.get(name).map(HeaderValue::as_bytes);
        let details = bytes("grpc-status-details-bin").and_then(|value| decode_bin(value).ok());
        let complete = RpcResponse {
            flags: flags::COMPLETE,
            status: status.filter(|status| *status <= 16).unwrap_or(UNKNOWN),
            message: bytes("grpc-message").map_or(Bytes::new(), Bytes::copy_from_slice),
            details: details.unwrap_or_default(),
            trailers: List::Answer.travelling(trailers),
            ..self.part()
        };
        let fits = size(&complete.trailers) <= self.max_metadata
            && prost::Message::encoded_len(&part(complete.clone())) <= self.max_frame;
        match fits {
            true => self.send(complete).await,
            false => self.exhausted("the end is too large").await,
        }
    }

    async fn exhausted(&mut self, why: &'static str) -> Result<(), Ends> {
        let complete = RpcResponse {
            flags: flags::COMPLETE,
            status: RESOURCE_EXHAUSTED,
            message: Bytes::from_static(why.as_bytes()),
            ..self.part()
        };
        self.send(complete).await
    }

    pub(super) async fn reset(&self, code: u32) -> Result<(), Gone> {
        let reset = RpcResponse {
            flags: flags::RESET,
            reset_code: code,
            ..self.part()
        };
        self.lane.of_call(part(reset), self.flow.over()).await
    }

    async fn send(&self, frame: RpcResponse) -> Result<(), Ends> {
        Ok(self.lane.of_call(part(frame), self.flow.over()).await?)
    }

    fn part(&self) -> RpcResponse {
        RpcResponse {
            request_id: self.id,
            ..RpcResponse::default()
        }
    }
}

/// The request as a service has it; none where HTTP does not allow it.
fn incoming(open: RpcCall, body: IncomingBody) -> Option<Request<IncomingBody>> {
    let mut uri = http::Uri::builder().path_and_query(open.method);
    if !open.authority.is_empty() {
        uri = uri.scheme("http").authority(open.authority);
    }
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = uri.build().ok()?;
    let headers = request.headers_mut();
    List::Request.to_headers(open.metadata, headers)?;
    headers.insert("content-type", content_type_header(open.content_type)?);
    if let Some(timeout) = timeout(open.timeout_us) {
        headers.insert("grpc-timeout", timeout);
    }
    Some(request)
}

/// grpc-timeout, in the finest unit whose digits fit.
fn timeout(micros: u64) -> Option<HeaderValue> {
    let units = [
        (1, 'u'),
        (1_000, 'm'),
        (1_000_000, 'S'),
        (60_000_000, 'M'),
        (3_600_000_000, 'H'),
    ];
    let fits = units
        .into_iter()
        .find(|(unit, _)| micros / unit < 100_000_000);
    let (unit, letter) = fits.filter(|_| micros > 0)?;
    HeaderValue::from_str(&format!("{}{letter}", micros / unit)).ok()
}
