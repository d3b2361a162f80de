//! The agent hands over what its server describes by reflection.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use grpcrouter::{Agent, AgentConfig, Clock, TcpDialer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_reflection::server::Builder;

use super::super::support::descriptors::{Reflection, files, probe_set};
use super::super::support::world::World;
use super::super::support::{until, within};

/// A server with reflection in one version, and nothing else.
async fn server(version: &str, set: &Bytes) -> std::net::SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("binds");
    let addr = listener.local_addr().expect("is bound");
    let builder = Builder::configure().register_encoded_file_descriptor_set(set);
    let server = match version {
        "v1" => Server::builder().add_service(builder.build_v1().expect("a set")),
        _ => Server::builder().add_service(builder.build_v1alpha().expect("a set")),
    };
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    addr
}

/// Proves: R21
#[tokio::test]
async fn what_a_server_describes_is_described_by_the_gateway() {
    // tonic answers with one file at a time: the agent asks for the imports.
    let set = probe_set("common");
    for version in ["v1", "v1alpha"] {
        for named in [&[][..], &["test.Probe".to_owned()]] {
            let world = World::start().await;
            let addr = server(version, &set).await;
            let upstream = format!("http://{addr}").parse().expect("a target");
            let mut config = AgentConfig::new("a", upstream);
            config.instance.gateways.push(world.target());
            config.instance.services = named.to_vec();
            let dialer = Arc::new(TcpDialer);
            let agent = within("the agent", Agent::discover(config, dialer, Clock::start()));
            let agent = agent.await;
            assert_eq!(agent.services(), ["test.Probe"]);
            tokio::spawn(agent.run());
            until("it is registered", || world.gateway.instances() == 1).await;
            let client = world.client().await;
            let mut ask = Reflection::open(&client, "v1", None).await;
            let both = files(&["probe.proto", "common.proto"]);
            within("its descriptors", async {
                while ask.symbol("test.Probe").await != both {}
            })
            .await;
        }
    }
}
