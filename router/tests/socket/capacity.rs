//! As many calls at once as a tunnel takes, and one more.

use super::support::handler::Park;
use super::support::world::World;

/// Proves: T18
#[tokio::test]
async fn ten_thousand_calls_at_once_share_a_tunnel_and_the_next_is_refused() {
    let park = Park::new();
    let world = World::start().await;
    let _instance = world.instance("a", park.handler()).await;
    let mut calls = Vec::with_capacity(10_000);
    for _ in 0..10 {
        let client = world.client().await;
        for _ in 0..1_000 {
            calls.push(client.call("Hold").await);
        }
    }
    park.holds(10_000).await;
    let client = world.client().await;
    let refused = client.unary("Hold", b"").await;
    assert_eq!(
        (refused.status(), refused.reason()),
        (8, "limit"),
        "{refused:?}"
    );
    assert_eq!(park.waiting(), 10_000, "the others are as they were");
    park.open();
    for call in calls {
        assert_eq!(call.answer().await.status(), 0);
    }
    assert_eq!(
        client.unary("Hold", b"").await.status(),
        0,
        "there is room again"
    );
    world.quiet().await;
}
