//! What a generated router does with calls: two instances, of which each answers with its id.

use std::net::SocketAddr;
use std::time::Duration;

use grpcrouter::routing::Balance;
use grpcrouter::{Clock, Gateway, GatewayConfig, Listener, Mode, Serving, TcpListener};
use grpcrouter_build_compiled::myservice::myservice::v1 as pb;
use grpcrouter_build_compiled::plain::plain::v1::{Ask, plain_router::PlainRouter};
use pb::my_service_client::MyServiceClient;
use pb::my_service_router::{MyServiceInstance, MyServiceRouter};
use pb::my_service_server::MyService;
use pb::{Method1Request, Method1Response, Method2Request, Method2Response};
use tonic::{Code, Request, Response, Status, Streaming};

struct Named(&'static str);

type Never<T> = tokio_stream::Empty<Result<T, Status>>;

#[tonic::async_trait]
impl MyService for Named {
    type Method2Stream = Never<Method2Response>;
    type StreamMethodStream = Never<pb::StreamMethodResponse>;

    async fn method1(
        &self,
        _: Request<Method1Request>,
    ) -> Result<Response<Method1Response>, Status> {
        Ok(Response::new(Method1Response {
            instance_id: self.0.to_owned(),
            ..Method1Response::default()
        }))
    }

    async fn method2(
        &self,
        _: Request<Method2Request>,
    ) -> Result<Response<Self::Method2Stream>, Status> {
        Err(Status::not_found(self.0))
    }

    async fn method3(
        &self,
        _: Request<Streaming<pb::Method3Request>>,
    ) -> Result<Response<pb::Method3Response>, Status> {
        Err(Status::not_found(self.0))
    }

    async fn stream_method(
        &self,
        _: Request<Streaming<pb::StreamMethodRequest>>,
    ) -> Result<Response<Self::StreamMethodStream>, Status> {
        Err(Status::not_found(self.0))
    }
}

#[tokio::test]
async fn calls_go_where_the_options_say() {
    let (gateway, _serving) = east_and_west().await;
    gateway.mount(MyServiceRouter::new());
    let client = MyServiceRouter::client(&gateway);
    for id in ["west", "east", "west"] {
        assert_eq!(asked(client.clone(), Some(id), "east").await, id);
    }
}

#[tokio::test]
async fn a_hook_takes_the_key_from_the_request() {
    let (gateway, _serving) = east_and_west().await;
    gateway.mount(MyServiceRouter::new().method1(|route| {
        route.key(|request| (!request.data.is_empty()).then(|| request.data.clone()))
    }));
    let client = MyServiceRouter::client(&gateway);
    for id in ["west", "east", "west"] {
        assert_eq!(asked(client.clone(), Some("east"), id).await, id);
    }
}

#[tokio::test]
async fn a_hook_is_of_its_method_alone() {
    let (gateway, _serving) = east_and_west().await;
    let router = MyServiceRouter::new();
    gateway.mount(router.method1(|route| route.balance(Balance::RoundRobin)));
    let mut client = MyServiceRouter::client(&gateway);
    for id in ["west", "east", "west"] {
        let mut request = Request::new(Method2Request::default());
        request
            .metadata_mut()
            .insert("instanceid", id.parse().expect("a value"));
        let status = client
            .method2(request)
            .await
            .expect_err("its handler's status");
        assert_eq!((status.code(), status.message()), (Code::NotFound, id));
    }
}

#[tokio::test]
async fn clients_inside_the_gateway_are_pinned() {
    let (gateway, _serving) = east_and_west().await;
    gateway.mount(MyServiceRouter::new());
    for id in ["west", "east", "west"] {
        let on_instance = MyServiceRouter::client_on_instance(&gateway, id);
        assert_eq!(asked(on_instance, Some("east"), "east").await, id);
        let with_key = MyServiceRouter::client_with_key(&gateway, id);
        assert_eq!(asked(with_key, Some("east"), "east").await, id);
    }
}

#[tokio::test]
async fn methods_that_the_service_has_not_are_unimplemented() {
    let (gateway, _serving) = east_and_west().await;
    gateway.mount(MyServiceRouter::new());
    let mut client = tonic::client::Grpc::new(gateway.channel());
    let path = "/myservice.v1.MyService/Method9".parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<Ask, Ask>::default();
    let status = client
        .unary(Request::new(Ask::default()), path, codec)
        .await;
    let status = status.expect_err("no such method");
    assert_eq!(status.code(), Code::Unimplemented);
    let reason = status.metadata().get("grpcrouter-reason");
    assert_eq!(reason.expect("a reason"), "unknown-method");
}

#[tokio::test]
async fn a_service_without_instances_is_unknown() {
    let (gateway, _serving) = east_and_west().await;
    gateway.mount(PlainRouter::new());
    let status = PlainRouter::client(&gateway).unary(Ask::default()).await;
    let status = status.expect_err("nobody serves it");
    assert_eq!(status.code(), Code::Unimplemented);
    let reason = status.metadata().get("grpcrouter-reason");
    assert_eq!(reason.expect("a reason"), "unknown-service");
}

/// The id of the instance that answers, to a call with this metadata and this data.
async fn asked(
    mut client: MyServiceClient<grpcrouter::GatewayChannel>,
    instanceid: Option<&str>,
    data: &str,
) -> String {
    let mut request = Request::new(Method1Request {
        data: data.to_owned(),
        ..Method1Request::default()
    });
    if let Some(id) = instanceid {
        let id = id.parse().expect("a value");
        request.metadata_mut().insert("instanceid", id);
    }
    let limit = Duration::from_secs(20);
    let answer = tokio::time::timeout(limit, client.method1(request)).await;
    answer
        .expect("in time")
        .expect("an answer")
        .into_inner()
        .instance_id
}

/// A gateway, and two instances that dialled it over loopback.
async fn east_and_west() -> (Gateway, [Serving; 2]) {
    let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(loopback).await.expect("a port");
    let tunnels = [format!(
        "http://{}",
        listener.local_addr().expect("an address")
    )];
    let running = gateway.clone();
    tokio::spawn(async move { running.serve_tunnels(listener).await });
    let start = async |id: &'static str| {
        let mode = Mode::parse("routed", None, &tunnels, Some(id)).expect("a mode");
        MyServiceInstance::new(Named(id))
            .start(mode)
            .await
            .expect("it registers")
    };
    let serving = [start("east").await, start("west").await];
    (gateway, serving)
}
