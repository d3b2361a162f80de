//! A gateway in several threads.

use super::process::grpcrouter;
use super::{agent, gateway};

#[tokio::test]
async fn whoever_dials_one_thread_of_a_gateway_is_known_to_all() {
    let (mut gateway, _, tunnel) = gateway(&["--threads", "4"]).await;
    let uri = format!("http://{tunnel}");
    let mut agents: Vec<_> = ["a", "b", "c", "d"].map(|id| agent(&uri, id)).into();
    for agent in &mut agents {
        agent.line().await;
    }
    // Each asks on a connection of its own, which may come to any thread.
    for _ in 0..8 {
        let list = grpcrouter(&["instances", "--gateway", &uri]).await;
        assert_eq!(list.stdout.lines().count(), 4, "{list:?}");
    }
    gateway.terminate().await;
    assert_eq!(gateway.end().await.code, Some(0), "all of them drain");
}
