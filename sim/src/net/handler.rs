//! The handler of every call: it does what the call's plan says, whether an instance or a plain server
//! runs it, and tells the ledger.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use grpcrouter::RequestBody;
use h2::RecvStream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use tower_service::Service;

use crate::oracle::{Direction, Stream};
use crate::plan::CallPlan;

use super::world::World;

/// The header that says which call it is.
pub(super) const CALL: &str = "x-call";
/// The header with a call's key.
pub(crate) const KEY: &str = "x-key";
/// The service's name.
pub(crate) const SERVICE: &str = "probe.Probe";
/// Bytes handed over at a time at the most, below what an instance takes at once.
pub(super) const PIECE: usize = 16 * 1024;

/// The service that all instances have.
#[derive(Clone)]
pub(super) struct Probe {
    pub(super) world: Arc<World>,
    /// Which instance's.
    pub(super) instance: usize,
}

/// A request's body, as it comes.
pub(super) enum Incoming {
    /// Through the library.
    Routed(RequestBody),
    /// To a server.
    Plain(RecvStream),
}

impl Incoming {
    /// The next bytes; none at the end, an error where the call was cut.
    async fn next(&mut self) -> Option<Result<Bytes, ()>> {
        match self {
            Self::Routed(body) => {
                let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
                let data = frame.map_err(drop).map(Frame::into_data);
                Some(data.map(Result::unwrap_or_default))
            }
            Self::Plain(body) => {
                let data = body.data().await?.map_err(drop);
                if let Ok(data) = &data {
                    // What was read is free: the window is the server's own.
                    let _ = body.flow_control().release_capacity(data.len());
                }
                Some(data)
            }
        }
    }
}

impl Service<Request<RequestBody>> for Probe {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = grpcrouter::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let answer = self.clone().answer(parts.headers, Incoming::Routed(body));
        Box::pin(async { Ok(answer.await) })
    }
}

impl Probe {
    /// Answers a call.
    pub(super) async fn answer(self, headers: HeaderMap, body: Incoming) -> Response<Outgoing> {
        let number = headers.get(CALL).and_then(|value| value.to_str().ok());
        let Some(call) = number.and_then(|value| value.parse().ok()) else {
            return unimplemented();
        };
        let run = Run::begin(self.world.clone(), call, self.instance);
        let world = self.world;
        let plan = world.with(|state, _| state.ledger.plan(call).clone());
        let slot = Slot::default();
        let work = Work {
            call,
            slot: slot.clone(),
            answer: Stream::new(call, Direction::Response, plan.response.clone()),
            world,
            plan,
        };
        // Half of the handlers stall before they give the head of their response, half after it.
        let before = call % 2 == 0;
        if before {
            work.stall().await;
        }
        let work = async move {
            if !before {
                work.stall().await;
            }
            work.run(body).await;
        };
        let mut response = Response::new(Outgoing {
            work: Some(Box::pin(work)),
            slot,
            run: Some(run),
        });
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", grpc);
        response
    }
}

/// A call of something that is not here, such as a health check.
fn unimplemented() -> Response<Outgoing> {
    let mut response = Response::new(Outgoing {
        work: None,
        slot: Slot::default(),
        run: None,
    });
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("12"));
    response
}

/// A handler that runs. Dropped before it gave its status, it was cancelled.
struct Run {
    world: Arc<World>,
    call: u32,
    instance: usize,
    finished: bool,
}

impl Run {
    fn begin(world: Arc<World>, call: u32, instance: usize) -> Self {
        world.with(|state, now| {
            let slack = state.touches.slack(call);
            state.touches.came_to_instance(call, instance);
            state.ledger.handler_started(now, call, instance, slack);
            *state.handlers[instance].entry(call).or_default() += 1;
        });
        Self {
            world,
            call,
            instance,
            finished: false,
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.world.with(|state, now| {
            let running = &mut state.handlers[self.instance];
            if let Some(n) = running.get_mut(&self.call) {
                *n -= 1;
                if *n == 0 {
                    running.remove(&self.call);
                }
            }
            match &mut state.killed {
                Some(killed) => killed.push((self.call, self.finished)),
                None if self.finished => {}
                None => {
                    let slack = state.touches.slack(self.call);
                    state.ledger.handler_cancelled(now, self.call, slack);
                }
            }
        });
    }
}

/// What the handler gives next, until it is taken.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Given>>>);

enum Given {
    Data(Bytes),
    Status(u32),
}

impl Slot {
    fn take(&self) -> Option<Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives something, and waits until it was taken.
    async fn give(&self, given: Given) {
        let mut given = Some(given);
        poll_fn(|_| {
            let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if given.is_some() {
                *slot = given.take();
            }
            // Whoever takes it polls this again, with no other waker.
            match slot.is_some() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
    }
}

/// The handler's work.
struct Work {
    world: Arc<World>,
    call: u32,
    plan: Arc<CallPlan>,
    slot: Slot,
    answer: Stream,
}

impl Work {
    async fn stall(&self) {
        if !self.plan.handler.stall.is_zero() {
            tokio::time::sleep(self.plan.handler.stall).await;
        }
    }

    async fn run(mut self, body: Incoming) {
        if self.plan.handler.early {
            self.give(usize::MAX).await;
        } else if !self.read(body).await {
            return;
        }
        self.slot
            .give(Given::Status(self.plan.handler.status))
            .await;
    }

    /// Reads the request, and answers it. Gives whether it came to its end.
    async fn read(&mut self, mut body: Incoming) -> bool {
        let plan = self.plan.clone();
        let mut echoed = 0;
        let mut received = Stream::new(self.call, Direction::Request, plan.request.clone());
        while let Some(data) = body.next().await {
            let Ok(data) = data else {
                return false;
            };
            self.world.with(|state, now| {
                let slack = state.touches.slack(self.call);
                let request = Direction::Request;
                state
                    .ledger
                    .delivered(now, self.call, request, &data, slack);
            });
            // The bytes themselves are the ledger's business; this counts messages.
            received.fill(&mut vec![0; data.len()]);
            if plan.handler.echoes && received.messages() > echoed {
                self.give(received.messages() - echoed).await;
                echoed = received.messages();
            }
            let times = data.len().div_ceil(plan.handler.take) as u32;
            let pause = plan.handler.pause * times;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            self.stalled().await;
        }
        self.world
            .with(|state, now| state.ledger.request_ended(now, self.call));
        self.give(usize::MAX).await;
        true
    }

    /// Gives so many messages of the response more.
    async fn give(&mut self, messages: usize) {
        let mut left = self.answer.until(messages.min(self.plan.response.len()));
        while left > 0 {
            self.stalled().await;
            // A message at a time, as services do.
            let len = left.min(self.answer.until(1)).min(PIECE as u64);
            let mut data = vec![0; len as usize];
            self.answer.fill(&mut data);
            self.slot.give(Given::Data(data.into())).await;
            left -= len;
            if self.plan.lock_step {
                let (response, bytes) = (Direction::Response, self.answer.position());
                self.world.delivered(self.call, response, bytes).await;
            }
        }
    }

    /// Waits while a fault says so.
    async fn stalled(&self) {
        loop {
            let stall = |state: &mut super::world::State, now| {
                let until = state.handler_stalls.get(&self.call);
                until
                    .filter(|until| **until > now)
                    .map(|until| *until - now)
            };
            let Some(left) = self.world.with(stall) else {
                return;
            };
            tokio::time::sleep(left).await;
        }
    }
}

/// A response's body: the handler's work goes on as it is read.
pub(super) struct Outgoing {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    slot: Slot,
    run: Option<Run>,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(None);
        };
        if work.as_mut().poll(cx).is_ready() {
            self.work = None;
        }
        let Some(given) = self.slot.take() else {
            return match self.work {
                Some(_) => Poll::Pending,
                None => Poll::Ready(None),
            };
        };
        let Some(run) = &mut self.run else {
            return Poll::Ready(None);
        };
        let (call, world) = (run.call, run.world.clone());
        let frame = match given {
            Given::Data(data) => {
                world.with(|state, now| {
                    let response = Direction::Response;
                    state.ledger.handed(now, call, response, data.len());
                });
                Frame::data(data)
            }
            Given::Status(status) => {
                run.finished = true;
                world.with(|state, now| {
                    let slack = state.touches.slack(call);
                    state.ledger.handler_finished(now, call, status, slack);
                });
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", status.into());
                Frame::trailers(trailers)
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.work.is_none()
    }
}
