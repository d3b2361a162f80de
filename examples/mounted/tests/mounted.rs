//! One server with a service of its own and a routed one, called by plain tonic clients.

use std::net::SocketAddr;

use grpcrouter::Mode;
use grpcrouter_echo::pb::EchoRequest;
use grpcrouter_echo::pb::echo_client::EchoClient;
use grpcrouter_myservice::Implementation;
use grpcrouter_myservice::pb::Method1Request;
use grpcrouter_myservice::pb::my_service_client::MyServiceClient;
use grpcrouter_myservice::pb::my_service_router::MyServiceInstance;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request};

async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("is bound");
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder().add_routes(grpcrouter_mounted::routes());
    tokio::spawn(server.serve_with_incoming(incoming));
    addr
}

fn pinned(id: &'static str) -> Request<Method1Request> {
    let mut request = Request::new(Method1Request {
        data: "x".into(),
        value: 1,
    });
    let id = tonic::metadata::MetadataValue::from_static(id);
    request.metadata_mut().insert("instanceid", id);
    request
}

#[tokio::test]
async fn a_server_serves_its_own_service_and_routes_another_to_who_registers() {
    let addr = start().await;
    let channel = Channel::from_shared(format!("http://{addr}")).expect("a URI");
    let channel = channel.connect().await.expect("connects");

    let said = EchoClient::new(channel.clone())
        .say(EchoRequest { text: "hi".into() })
        .await;
    assert_eq!(
        said.expect("is served here").into_inner().instance,
        "this server"
    );

    let mut client = MyServiceClient::new(channel.clone());
    let nobody = client
        .method1(pinned("east"))
        .await
        .expect_err("nobody has registered");
    assert_eq!(nobody.code(), Code::Unavailable);
    let reason = nobody
        .metadata()
        .get("grpcrouter-reason")
        .expect("a reason");
    assert_eq!(reason, "no-instance");

    let gateways = vec![format!("http://{addr}").parse().expect("a target")];
    let mode = |id: &str| Mode::Routed {
        gateways: gateways.clone(),
        id: id.to_owned(),
    };
    let east = MyServiceInstance::new(Implementation::new("east"))
        .start(mode("east"))
        .await;
    let west = MyServiceInstance::new(Implementation::new("west"))
        .start(mode("west"))
        .await;
    let (_east, _west) = (east.expect("registers"), west.expect("registers"));
    for id in ["east", "west", "east"] {
        let answer = client
            .method1(pinned(id))
            .await
            .expect("is routed")
            .into_inner();
        assert_eq!(answer.instance_id, id);
    }

    // By the same routes under their prefix, which the server leaves to the gateway.
    let origin = format!("http://{addr}/api/v1").parse().expect("a URI");
    let mut prefixed = MyServiceClient::with_origin(channel, origin);
    let answer = prefixed
        .method1(pinned("west"))
        .await
        .expect("is routed")
        .into_inner();
    assert_eq!(answer.instance_id, "west");
}
