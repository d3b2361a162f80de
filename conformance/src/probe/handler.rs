//! The probe as a service: from a request to a run of its script.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::action::{Action, parse};
use super::inbound::Inbound;
use super::outbound::{Guard, ProbeBody, ended, response};
use super::side::{Reporter, Started};
use super::{CALL, SCRIPT, SERVICE, metadata, run};

/// The probe service. Clones are the same probe.
///
/// It takes any HTTP request, so it runs behind whatever calls a tower service. Each call's script is a task of
/// its own, which goes on however slowly the response is taken, and ends when the response is dropped.
#[derive(Debug, Clone)]
pub struct Probe {
    reporter: Reporter,
    lie: Option<Lie>,
}

/// How a handler lies, for the control that shows that lies are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// A step Read takes nothing off the transport, and reports its messages as handed and taken, of
    /// 1,024 bytes each; one of them where it reads to the end.
    Unread,
}

impl Probe {
    /// A probe that reports there.
    pub fn new(reporter: Reporter) -> Self {
        Self {
            reporter,
            lie: None,
        }
    }

    /// The same, but it lies.
    pub fn lying(self, lie: Lie) -> Self {
        let lie = Some(lie);
        Self { lie, ..self }
    }

    fn start<B>(
        &self,
        request: Request<B>,
    ) -> Result<impl Future<Output = Response<ProbeBody>> + Send + use<B>, Refusal>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        refuse(&parts)?;
        let invalid = |say: String| Refusal::status(3, &say);
        let name = call_name(&parts.headers).map_err(invalid)?;
        let actions = script(&parts.headers).map_err(invalid)?;
        let run = self.reporter.begin(&name, |call, run| Started {
            call,
            run,
            method: parts.uri.path().to_owned(),
            authority: authority(&parts),
            metadata: listed(&parts.headers),
            decoded: false,
            timeout_us: parts
                .headers
                .get("grpc-timeout")
                .and_then(metadata::timeout_us),
        });
        let run = run.map_err(|full| Refusal::status(8, &full.to_string()))?;
        let encoding = parts.headers.get("grpc-encoding");
        let mut defaults = HeaderMap::new();
        defaults.insert(
            "content-type",
            http::HeaderValue::from_static("application/grpc"),
        );
        if let Some(encoding) = encoding {
            // Messages are echoed with the flag that they came with, which is true under this name alone.
            defaults.insert("grpc-encoding", encoding.clone());
        }
        let inbound = Inbound::new(body, encoding.is_some(), run.clone());
        let (outbound, beginning) = response(defaults);
        let play = run::play(actions, inbound, outbound, run.clone(), self.lie);
        let guard = Guard::new(run, tokio::spawn(play).abort_handle());
        Ok(beginning.response(guard))
    }
}

impl<B> Service<Request<B>> for Probe
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ProbeBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ProbeBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let started = self.start(request);
        Box::pin(async {
            match started {
                Ok(response) => Ok(response.await),
                Err(refusal) => Ok(refusal.response()),
            }
        })
    }
}

impl tonic::server::NamedService for Probe {
    const NAME: &'static str = SERVICE;
}

/// A call that no handler is started for.
enum Refusal {
    Http(StatusCode),
    Status(HeaderMap),
}

impl Refusal {
    fn status(code: u32, message: &str) -> Self {
        Self::Status(metadata::status(code, message, &[], &HeaderMap::new()))
    }

    fn response(self) -> Response<ProbeBody> {
        match self {
            Self::Status(headers) => ended(headers),
            Self::Http(status) => {
                let mut response = ended(HeaderMap::new());
                *response.status_mut() = status;
                response
            }
        }
    }
}

/// What every gRPC server answers by itself, before any handler.
fn refuse(parts: &http::request::Parts) -> Result<(), Refusal> {
    if parts.method != Method::POST {
        return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED));
    }
    let content_type = parts.headers.get("content-type");
    let content_type = content_type.map(http::HeaderValue::as_bytes);
    let rest = content_type.and_then(|it| it.strip_prefix(b"application/grpc"));
    if !matches!(rest, Some([] | [b'+' | b';', ..])) {
        return Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let path = parts.uri.path().strip_prefix('/');
    let method = path.and_then(|path| path.strip_prefix(SERVICE)?.strip_prefix('/'));
    match method {
        Some("Unary" | "ClientStream" | "ServerStream" | "Bidi") => Ok(()),
        _ => Err(Refusal::status(12, "the probe has no such method")),
    }
}

fn call_name(headers: &HeaderMap) -> Result<String, String> {
    let say = || format!("{CALL} names the call: 1 to 64 characters of A-Z a-z 0-9 . _ -");
    let name = headers.get(CALL).and_then(|value| value.to_str().ok());
    let name = name.ok_or_else(say)?;
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let valid = (1..=64).contains(&name.len()) && name.bytes().all(fits);
    valid.then(|| name.to_owned()).ok_or_else(say)
}

fn script(headers: &HeaderMap) -> Result<Vec<Action>, String> {
    let header = headers.get(SCRIPT);
    let header = header.ok_or_else(|| format!("{SCRIPT} says what to do"))?;
    parse(header).map_err(|wrong| format!("{SCRIPT}: {wrong}"))
}

fn authority(parts: &http::request::Parts) -> String {
    let host = || parts.headers.get("host")?.to_str().ok();
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    authority.or_else(host).unwrap_or_default().to_owned()
}

/// The headers in base64, values of `-bin` keys as they came: base64 in base64.
fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), STANDARD.encode(value)))
        .collect()
}
