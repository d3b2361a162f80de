//! Services that panic.

use std::convert::Infallible;
use std::future::Ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use grpcrouter::{Clock, Instance, RequestBody, TcpDialer};
use http::{Request, Response};
use tokio::sync::mpsc;
use tonic::body::Body;

use crate::support::within;
use crate::support::world::World;

/// Hands its request's body to somebody else, and panics.
#[derive(Clone)]
struct Panics(mpsc::Sender<RequestBody>);

impl tower_service::Service<Request<RequestBody>> for Panics {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        self.0
            .try_send(request.into_body())
            .expect("the test listens");
        panic!("as this test wants it");
    }
}

/// Proves: S22
#[tokio::test]
async fn a_panic_ends_its_own_call_with_internal_whoever_holds_the_body() {
    let world = World::start().await;
    let (send, mut bodies) = mpsc::channel(2);
    let dialer = Arc::new(TcpDialer);
    let (instance, handle) = Instance::new(world.config("a"), Panics(send), dialer, Clock::start());
    tokio::spawn(instance.run());
    let mut counts = handle.registrations();
    let registered = counts.wait_for(|counts| counts[0] == 1);
    within("the registration", registered)
        .await
        .expect("it runs");
    let client = world.client().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let answer = within("an end", client.unary("Ask", b"")).await;
        assert_eq!(answer.status(), 13, "INTERNAL: {answer:?}");
        held.push(bodies.try_recv().expect("somebody holds it"));
    }
    assert_eq!(*counts.borrow(), [1], "the tunnel stands");
}
