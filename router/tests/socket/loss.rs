//! An instance that is lost in the middle of calls, by every way in which one can be.

use super::support::handler::Handler;
use super::support::proxy::{Proxy, Way};
use super::support::world::World;

/// A link that stops and heals within the heartbeats' limit loses nothing.
#[tokio::test]
async fn a_link_that_heals_in_time_goes_on_where_it_stopped() {
    let world = World::start().await;
    let proxy = Proxy::before(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![format!("http://{}", proxy.addr).parse().expect("a target")];
    let _instance = world.instance_with(config, Handler::echo()).await;
    let client = world.client().await;
    for way in [Way::There, Way::Back, Way::Both] {
        let mut call = client.call("Echo").await;
        call.send(b"before").await;
        call.head().await;
        assert_eq!(call.message().await.expect("an answer"), "before");
        proxy.stop(way);
        call.send(b"while stopped").await;
        proxy.heal();
        assert_eq!(call.message().await.expect("an answer"), "while stopped");
        call.half_close();
        assert_eq!(call.message().await, None, "{way:?}");
    }
    world.quiet().await;
}
