//! One call through the naive gateway: an instance is picked, and both directions run until one of them ends it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_proto::v1::RpcCall;
use h2::RecvStream;
use h2::server::SendResponse;
use http::request::Parts;
use http::{HeaderMap, Method, Request};
use tokio::time::Instant;

use super::careless;
use super::download::Download;
use super::peer::{NoCall, Opened, Peer};
use super::registry::{NoPeer, Registry};
use super::upload::Upload;
use crate::client::text;
use crate::tunnel::metadata::{List, content_type, size};
use crate::tunnel::{call, flags, limits, reset};
use crate::wait::now;

/// How often a call looks for an instance: one may have gone between the pick and the opening, and one may refuse.
const PICKS: usize = 4;

/// How a call ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// The instance has ended it, and the client has its answer.
    Answered,
    /// The client has gone, or has cancelled.
    ClientGone,
    /// Its time is over.
    Deadline,
    /// The instance's tunnel is lost.
    Lost,
    /// The instance has reset it.
    Reset(u32),
    /// The instance never gave it to a handler.
    Refused,
    /// The instance has sent what HTTP does not allow.
    Breach,
}

/// A status that the gateway makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Status {
    pub(super) code: u32,
    pub(super) reason: &'static str,
}

/// A request that is a call.
struct Call {
    service: String,
    instance: Option<String>,
    deadline: Option<Instant>,
    open: RpcCall,
}

/// Serves one request to its end.
pub(super) async fn run(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    registry: Arc<Registry>,
) {
    let (parts, recv) = request.into_parts();
    let careless = registry.settings().careless;
    let mut download = Download::new(respond, careless);
    let grpc = text(&parts.headers, "content-type").starts_with(careless::CONTENT_TYPE);
    if careless && let Some(status) = careless::answers(parts.uri.path()) {
        return download.status(status);
    }
    match Call::read(&parts, careless) {
        _ if parts.method != Method::POST => download.http(405),
        _ if !grpc && !careless => download.http(415),
        Ok(call) => {
            let upload = Upload::new(recv);
            call.relay(&mut download, upload, &registry).await;
        }
        Err(status) => download.status(status),
    }
}

impl Call {
    fn read(parts: &Parts, careless: bool) -> Result<Self, Status> {
        let bad = |code| Status {
            code,
            reason: "bad-request",
        };
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let path = match careless {
            true => careless::tidied(path),
            false => path.to_owned(),
        };
        let names = path
            .strip_prefix('/')
            .and_then(|path| path.rsplit_once('/'));
        let (service, _) = names
            .filter(|(service, method)| !service.is_empty() && !method.is_empty())
            .ok_or(bad(12))?;
        let timeout = timeout(&parts.headers).map_err(|()| bad(3))?;
        let instance = parts.headers.get("grpcrouter-instance");
        Ok(Self {
            service: service.to_owned(),
            instance: instance.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()),
            // What is further away than clocks go is no deadline.
            deadline: timeout.and_then(|timeout| now().checked_add(timeout)),
            open: RpcCall {
                flags: flags::OPEN,
                method: path.clone(),
                authority: parts
                    .uri
                    .authority()
                    .map_or(String::new(), ToString::to_string),
                content_type: content_type(&parts.headers),
                metadata: List::Request.travelling(&parts.headers),
                ..RpcCall::default()
            },
        })
    }

    async fn relay(mut self, download: &mut Download, mut upload: Upload, registry: &Registry) {
        let mut refused_by: Option<Arc<Peer>> = None;
        for _ in 0..PICKS {
            let id = self.instance.as_deref();
            let peer = match registry.pick(&self.service, id, refused_by.as_ref()) {
                Ok(peer) => peer,
                Err(why) => return download.status(no_peer(why, refused_by.is_some())),
            };
            if registry.settings().careless {
                careless::cut(&mut self.open.metadata, peer.max_metadata());
            }
            if size(&self.open.metadata) > peer.max_metadata() {
                return download.status(LIMIT);
            }
            let opened = tokio::select! {
                biased;
                () = download.gone() => return,
                () = self.passes() => return download.status(DEADLINE),
                opened = peer.open(self.frame(), registry.settings().call_window) => opened,
            };
            let opened = match opened {
                Ok(opened) => opened,
                Err(NoCall::Full) => return download.status(LIMIT),
                Err(NoCall::Gone) => continue,
            };
            let window = registry.settings().call_window;
            match self.attempt(&opened, download, &mut upload, window).await {
                Ending::Refused if refused_by.is_none() && upload.can_be_sent_again() => {
                    refused_by = Some(peer);
                }
                ending => return finish(ending, &opened, download).await,
            }
        }
        download.status(Status {
            code: 14,
            reason: "no-instance",
        });
    }

    /// Runs the call at one instance.
    async fn attempt(
        &self,
        opened: &Opened,
        download: &mut Download,
        upload: &mut Upload,
        window: u32,
    ) -> Ending {
        let grants = async {
            loop {
                let grant = RpcCall {
                    request_id: opened.id,
                    window: opened.flow.due(window).await,
                    ..RpcCall::default()
                };
                if opened.send(grant).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            ending = download.receive(&opened.flow) => ending,
            ending = upload.send(opened) => ending,
            () = self.passes() => Ending::Deadline,
            () = grants => Ending::Lost,
        }
    }

    /// OPEN, with what is left of the time.
    fn frame(&self) -> RpcCall {
        let left = self.deadline.map(|at| at.saturating_duration_since(now()));
        RpcCall {
            // 0 would be no timeout.
            timeout_us: left.map_or(0, |left| {
                u64::try_from(left.as_micros()).unwrap_or(u64::MAX).max(1)
            }),
            ..self.open.clone()
        }
    }

    async fn passes(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
}

/// Says to both sides how a call has ended.
async fn finish(ending: Ending, opened: &Opened, download: &mut Download) {
    let (status, code) = match ending {
        Ending::Answered => (None, None),
        Ending::ClientGone => (None, Some(reset::CANCEL)),
        Ending::Deadline => (Some(DEADLINE), Some(reset::CANCEL)),
        Ending::Lost => (Some(LOST), None),
        Ending::Reset(code) => (Some(of_reset(code)), None),
        Ending::Refused => (Some(REFUSED), None),
        Ending::Breach => (Some(BREACH), Some(reset::PROTOCOL_ERROR)),
    };
    match status {
        // It tells clients more of an instance than they should know.
        Some(status) if status.reason == LOST.reason => {
            let labels = &opened.peer.info.labels;
            download.status_saying(status, &format!("lost an instance with labels {labels:?}"));
        }
        Some(status) => download.status(status),
        None => {}
    }
    if let Some(code) = code {
        let reset = RpcCall {
            request_id: opened.id,
            flags: flags::RESET,
            reset_code: code,
            ..RpcCall::default()
        };
        // Where the tunnel is gone the instance knows.
        let _ = opened.send(reset).await;
    }
}

impl Opened {
    /// Sends a frame of the call.
    pub(super) async fn send(&self, frame: RpcCall) -> Result<(), crate::tunnel::lane::Gone> {
        self.peer.lane.of_call(call(frame), self.flow.over()).await
    }
}

impl Peer {
    fn max_metadata(&self) -> usize {
        limits::or(self.info.max_metadata, limits::MAX_METADATA) as usize
    }
}

const DEADLINE: Status = Status {
    code: 4,
    reason: "deadline",
};
const LIMIT: Status = Status {
    code: 8,
    reason: "limit",
};
const LOST: Status = Status {
    code: 14,
    reason: "instance-lost",
};
const REFUSED: Status = Status {
    code: 14,
    reason: "refused",
};
const BREACH: Status = Status {
    code: 13,
    reason: "protocol-error",
};

fn no_peer(why: NoPeer, refused: bool) -> Status {
    let (code, reason) = match why {
        _ if refused => (14, "refused"),
        NoPeer::NoInstance => (14, "no-instance"),
        NoPeer::Draining => (14, "draining"),
        NoPeer::UnknownService => (12, "unknown-service"),
    };
    Status { code, reason }
}

/// The status that gRPC gives to an HTTP/2 error code.
fn of_reset(code: u32) -> Status {
    let code = match code {
        7 => 14,
        8 => 1,
        11 => 8,
        12 => 7,
        _ => 13,
    };
    Status {
        code,
        reason: "instance-reset",
    }
}

/// grpc-timeout: one to eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, ()> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let (unit, digits) = value.as_bytes().split_last().ok_or(())?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(());
    }
    let number = std::str::from_utf8(digits).map_err(|_| ())?;
    let number: u64 = number.parse().map_err(|_| ())?;
    Ok(Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return Err(()),
    }))
}
