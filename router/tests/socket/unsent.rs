//! A call whose first frame never left the gateway. Where another server owns the connection the gateway
//! cannot know: what that server was given counts as sent, so this holds on listeners of one's own.

use super::support::handler::Handler;
use super::support::scripted::Scripted;
use super::support::until;
use super::support::world::World;

/// Proves: R17
#[tokio::test]
async fn a_call_that_never_left_the_gateway_goes_elsewhere_and_one_that_did_does_not() {
    let world = World::start().await;
    let mut scripted = Scripted::register(world.tunnels, "a", 1_000).await;
    scripted.releases = false;
    world.instance("b", Handler::echo()).await;
    let client = world.client().await;
    // It fills the tunnel's HTTP/2 window: what comes after it stays in the gateway.
    let mut left = client.call("Echo").await;
    left.send(&[1; 2_000]).await;
    scripted.incoming().await;
    assert_eq!(
        client.unary("Echo", b"b").await.status(),
        0,
        "b has its turn"
    );
    let mut never_left = client.call("Echo").await;
    never_left.send(b"elsewhere").await;
    never_left.half_close();
    until("both wait", || world.gateway.gauges().calls.get() == 2).await;
    assert_eq!(
        client.unary("Echo", b"b").await.status(),
        0,
        "b has its turn"
    );

    drop(scripted);
    let answer = never_left.answer().await;
    assert_eq!(answer.status(), 0, "{answer:?}");
    assert_eq!(answer.messages, ["elsewhere"]);
    let answer = left.answer().await;
    assert_eq!((answer.status(), answer.reason()), (14, "instance-lost"));
    world.quiet().await;
}
