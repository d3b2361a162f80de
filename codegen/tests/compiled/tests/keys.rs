//! The key is found where the options say that it stands, and nowhere else: of two instances the one that it
//! names answers, while another part of the call names the other.

use std::net::SocketAddr;

use grpcrouter::{Clock, Gateway, GatewayConfig, Listener, Mode, Serving, TcpListener};
use grpcrouter_build_compiled::strategies::strategies::v1 as pb;
use pb::{Answer, Ask};
use tonic::{Request, Response, Status};

struct Named(&'static str);

impl Named {
    fn answer(&self) -> Result<Response<Answer>, Status> {
        let text = self.0.to_owned();
        Ok(Response::new(Answer { text }))
    }
}

/// Implements these unary services, and starts two instances of each.
macro_rules! services {
    ($($start:ident: $server:ident::$service:ident, $router:ident::$instance:ident { $($method:ident($request:ty))+ })+) => {$(
        #[tonic::async_trait]
        impl pb::$server::$service for Named {
            $(async fn $method(&self, _: Request<$request>) -> Result<Response<Answer>, Status> {
                self.answer()
            })+
        }

        async fn $start(tunnels: &[String]) -> [Serving; 2] {
            let start = async |id: &'static str, key: &'static str| {
                let mode = Mode::parse("routed", None, tunnels, Some(id)).expect("a mode");
                let instance = pb::$router::$instance::new(Named(id)).keys([key]);
                instance.start(mode).await.expect("it registers")
            };
            [start("east", "7").await, start("west", "8").await]
        }
    )+};
}

services! {
    by_metadata: by_metadata_server::ByMetadata, by_metadata_router::ByMetadataInstance { call(Ask) }
    by_header: by_header_server::ByHeader, by_header_router::ByHeaderInstance { call(Ask) }
    by_authority: by_authority_server::ByAuthority, by_authority_router::ByAuthorityInstance { call(Ask) }
    by_path: by_path_server::ByPath, by_path_router::ByPathInstance { call(Ask) }
    by_mark: by_mark_server::ByMark, by_mark_router::ByMarkInstance {
        int32(pb::Number) r#enum(pb::Coloured) one_of(pb::Either)
    }
}

const TURNS: [(&str, &str); 3] = [("west", "east"), ("east", "west"), ("west", "east")];

#[tokio::test]
async fn metadata_are_read_and_no_other_header() {
    let (gateway, tunnels) = gateway().await;
    gateway.mount(pb::by_metadata_router::ByMetadataRouter::new());
    let _serving = by_metadata(&tunnels).await;
    let mut client = pb::by_metadata_router::ByMetadataRouter::client(&gateway);
    for (id, other) in TURNS {
        let request = with(ask(other), &[("x-site", other), ("instance-id", id)]);
        assert_eq!(text(client.call(request).await), id);
    }
}

#[tokio::test]
async fn a_header_is_read_and_no_metadata() {
    let (gateway, tunnels) = gateway().await;
    gateway.mount(pb::by_header_router::ByHeaderRouter::new());
    let _serving = by_header(&tunnels).await;
    let mut client = pb::by_header_router::ByHeaderRouter::client(&gateway);
    for (id, other) in TURNS {
        let request = with(ask(other), &[("instance-id", other), ("x-site", id)]);
        assert_eq!(text(client.call(request).await), id);
    }
}

#[tokio::test]
async fn the_authority_is_read_and_no_header() {
    let (gateway, tunnels) = gateway().await;
    gateway.mount(pb::by_authority_router::ByAuthorityRouter::new());
    let _serving = by_authority(&tunnels).await;
    for (id, other) in TURNS {
        let origin = format!("http://{id}").parse().expect("an origin");
        let channel = gateway.channel();
        let mut client = pb::by_authority_client::ByAuthorityClient::with_origin(channel, origin);
        let request = with(ask(other), &[("x-site", other), ("instance-id", other)]);
        assert_eq!(text(client.call(request).await), id);
    }
}

#[tokio::test]
async fn the_path_is_read_and_no_header() {
    let (gateway, tunnels) = gateway().await;
    gateway.mount(pb::by_path_router::ByPathRouter::new());
    let _serving = by_path(&tunnels).await;
    for (id, other) in TURNS {
        let origin = format!("http://{other}/api/v1/{id}")
            .parse()
            .expect("an origin");
        let mut client = pb::by_path_client::ByPathClient::with_origin(gateway.channel(), origin);
        let request = with(ask(other), &[("x-site", other), ("instance-id", other)]);
        assert_eq!(text(client.call(request).await), id);
    }
}

#[tokio::test]
async fn a_marked_field_is_read_and_no_header() {
    let (gateway, tunnels) = gateway().await;
    gateway.mount(pb::by_mark_router::ByMarkRouter::new());
    let _serving = by_mark(&tunnels).await;
    let mut client = pb::by_mark_router::ByMarkRouter::client(&gateway);
    for (number, id, other) in [
        (8, "west", "east"),
        (7, "east", "west"),
        (8, "west", "east"),
    ] {
        let headers = [("x-site", other), ("instance-id", other)];
        let request = with(pb::Number { number }, &headers);
        assert_eq!(text(client.int32(request).await), id);
        let either = Some(pb::either::Either::Id(number.unsigned_abs().into()));
        let request = with(pb::Either { either }, &headers);
        assert_eq!(text(client.one_of(request).await), id);
    }
}

fn ask(account: &str) -> Ask {
    Ask {
        account: account.to_owned(),
    }
}

fn with<T>(message: T, headers: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        let value = value.parse().expect("a value");
        request.metadata_mut().insert(*name, value);
    }
    request
}

fn text(answer: Result<Response<Answer>, Status>) -> String {
    answer.expect("an answer").into_inner().text
}

/// A gateway, and where instances dial it.
async fn gateway() -> (Gateway, [String; 1]) {
    let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(loopback).await.expect("a port");
    let tunnels = format!("http://{}", listener.local_addr().expect("an address"));
    let running = gateway.clone();
    tokio::spawn(async move { running.serve_tunnels(listener).await });
    (gateway, [tunnels])
}
