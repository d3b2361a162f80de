//! The four kinds of call, order, metadata and status.

use super::support::handler::Handler;
use super::support::world::World;

/// Proves: K1
#[tokio::test]
async fn a_unary_echo_comes_back_byte_for_byte() {
    let (world, client) = World::probe(Handler::echo()).await;
    for size in [0, 1, 65_536] {
        let message: Vec<u8> = (0..size).map(|i| i as u8).collect();
        let answer = client.unary("Echo", &message).await;
        assert_eq!(answer.status(), 0, "{answer:?}");
        assert_eq!(answer.messages, [message], "one response of {size} bytes");
    }
    world.quiet().await;
}
