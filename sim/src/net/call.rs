//! One call at its client: it does what the call's plan says, and tells the ledger.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use grpcrouter_core::Time;
use grpcrouter_core::timeout::format_timeout;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::oracle::{Direction, Outcome, Stream};
use crate::plan::CallPlan;

use super::client::Client;
use super::handler::{CALL, KEY, PIECE, SERVICE};
use super::hosts::{id, send_data};
use super::node::Node;
use super::world::State;

const DEADLINE_EXCEEDED: u32 = 4;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// Makes a call, from its beginning to its end.
pub(super) async fn run(client: &Arc<Client>, call: u32) {
    let cancel = Arc::new(Notify::new());
    let plan = client.world.with(|state, now| {
        state.cancels.insert(call, cancel.clone());
        state.ledger.started(now, call);
        state.ledger.plan(call).clone()
    });
    let given_up = async {
        match plan.cancel {
            Some(after) => sleep(after).await,
            None => pending().await,
        }
    };
    let call = Call {
        client: client.clone(),
        number: call,
        deadline: plan.timeout.map(|timeout| client.world.now() + timeout),
        plan: plan.clone(),
    };
    // What is dropped here resets its stream.
    let outcome = tokio::select! {
        biased;
        () = cancel.notified() => Outcome::Cancelled,
        () = given_up => Outcome::Cancelled,
        outcome = call.attempt() => outcome,
    };
    client.world.with(|state, now| {
        state.cancels.remove(&call.number);
        let slack = state.touches.slack(call.number);
        state.ledger.client_ended(now, call.number, outcome, slack);
    });
}

struct Call {
    client: Arc<Client>,
    number: u32,
    plan: Arc<CallPlan>,
    deadline: Option<Time>,
}

impl Call {
    async fn attempt(&self) -> Outcome {
        let gateways = self.client.world.options.gateways;
        for _ in 0..gateways * 2 {
            let Some(mut requests) = self.client.requests(self.number).await else {
                continue;
            };
            let left = self.deadline.map(|at| at - self.client.world.now());
            if left.is_some_and(|left| left.is_zero()) {
                return failed(DEADLINE_EXCEEDED);
            }
            // A request that could not be sent was seen by nobody.
            if let Ok((response, send)) = requests.send_request(self.request(), false) {
                return self.exchange(response, send).await;
            }
        }
        failed(UNAVAILABLE)
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        let uri = format!("http://{}/{SERVICE}/Run", Node::Gateway(0));
        *request.uri_mut() = uri.parse().unwrap_or_default();
        let headers = request.headers_mut();
        let grpc = HeaderValue::from_static("application/grpc");
        headers.insert("content-type", grpc);
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert(CALL, self.number.into());
        if let Some(pinned) = self.plan.pinned
            && let Ok(id) = id(pinned).parse()
        {
            headers.insert(grpcrouter::INSTANCE, id);
        }
        if let Some(Ok(key)) = self.plan.key.as_deref().map(HeaderValue::from_str) {
            headers.insert(KEY, key);
        }
        if let Some(deadline) = self.deadline {
            let left = deadline - self.client.world.now();
            headers.insert("grpc-timeout", format_timeout(left));
        }
        request
    }

    async fn exchange(&self, response: ResponseFuture, send: SendStream<Bytes>) -> Outcome {
        let sent = async {
            self.send(send).await;
            pending().await
        };
        tokio::select! {
            biased;
            outcome = self.receive(response) => outcome.unwrap_or_else(|error| of(&error)),
            never = sent => never,
        }
    }

    /// Sends the request. A stream that is gone says so on its other side.
    async fn send(&self, mut send: SendStream<Bytes>) -> Option<()> {
        let mut stream = Stream::new(self.number, Direction::Request, self.plan.request.clone());
        while !stream.is_done() {
            let mut left = stream.until(1);
            while left > 0 {
                let mut data = vec![0; left.min(PIECE as u64) as usize];
                stream.fill(&mut data);
                left -= data.len() as u64;
                self.hand_over(&mut send, data.into()).await?;
                if self.plan.lock_step {
                    let (world, bytes) = (&self.client.world, stream.position());
                    let request = Direction::Request;
                    world.delivered(self.number, request, bytes).await;
                }
            }
            if !self.plan.gap.is_zero() {
                sleep(self.plan.gap).await;
            }
        }
        send.send_data(Bytes::new(), true).ok()?;
        // Dropped, it would reset what is not sent yet.
        pending().await
    }

    /// Hands over bytes as the gateway's window opens.
    async fn hand_over(&self, send: &mut SendStream<Bytes>, mut data: Bytes) -> Option<()> {
        while !data.is_empty() {
            send.reserve_capacity(data.len());
            while send.capacity() == 0 {
                std::future::poll_fn(|cx| send.poll_capacity(cx))
                    .await?
                    .ok()?;
            }
            let piece = data.split_to(data.len().min(send.capacity()));
            let len = piece.len();
            send_data(send, piece).await?;
            self.client.world.with(|state, now| {
                let request = Direction::Request;
                state.ledger.handed(now, self.number, request, len);
            });
        }
        Some(())
    }

    async fn receive(&self, response: ResponseFuture) -> Result<Outcome, h2::Error> {
        let (head, mut body) = response.await?.into_parts();
        if !head.status.is_success() {
            return Ok(failed(INTERNAL));
        }
        if head.headers.contains_key("grpc-status") {
            return Ok(status(&head.headers));
        }
        self.stall_until(self.client.world.now() + self.plan.reader_stall)
            .await;
        self.read(&mut body).await?;
        let trailers = body.trailers().await?;
        Ok(trailers.map_or(failed(INTERNAL), |trailers| status(&trailers)))
    }

    async fn read(&self, body: &mut RecvStream) -> Result<(), h2::Error> {
        loop {
            let stalled = |state: &mut State, _| state.client_stalls.get(&self.number).copied();
            if let Some(until) = self.client.world.with(stalled) {
                self.stall_until(until).await;
            }
            let Some(data) = body.data().await else {
                return Ok(());
            };
            let data = data?;
            self.client.world.with(|state, now| {
                let slack = state.touches.slack(self.number);
                let response = Direction::Response;
                state
                    .ledger
                    .delivered(now, self.number, response, &data, slack);
            });
            body.flow_control().release_capacity(data.len())?;
        }
    }

    /// Reads nothing until then, or until the call's deadline.
    async fn stall_until(&self, until: Time) {
        let until = self.deadline.map_or(until, |deadline| until.min(deadline));
        let left = until - self.client.world.now();
        if !left.is_zero() {
            self.client.world.with(|state, now| {
                state.ledger.looks_away(now, self.number, until);
            });
            sleep(left).await;
        }
    }
}

fn failed(code: u32) -> Outcome {
    Outcome::Failed {
        code,
        reason: String::new(),
    }
}

/// What trailers say.
fn status(trailers: &HeaderMap) -> Outcome {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").and_then(|code| code.parse().ok()) {
        Some(0) => Outcome::Ok,
        Some(code) => Outcome::Failed {
            code,
            reason: text(grpcrouter::REASON.as_str())
                .unwrap_or_default()
                .to_owned(),
        },
        None => failed(INTERNAL),
    }
}

/// gRPC's status for a stream or connection that failed.
fn of(error: &h2::Error) -> Outcome {
    failed(match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => UNAVAILABLE,
        Some(h2::Reason::CANCEL) if error.is_reset() => 1,
        Some(h2::Reason::ENHANCE_YOUR_CALM) if error.is_reset() => 8,
        Some(_) if error.is_reset() => INTERNAL,
        _ => UNAVAILABLE,
    })
}
