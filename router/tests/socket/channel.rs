//! Calls of code inside the gateway's process: no socket, and the same routes as for anybody else.

use std::collections::BTreeSet;

use bytes::Bytes;
use grpcrouter::GatewayChannel;
use grpcrouter::routing::Balance;
use http::Request;
use http_body_util::{BodyExt, Full};
use tower_service::Service;

use super::support::framed;
use super::support::keyed::{Keyed, Place, ask};
use super::support::within;

/// Makes a call with `i0` in every place where a key can stand; who answered, or why nobody did.
async fn made(mut channel: GatewayChannel) -> Result<String, String> {
    let (request, message) = ask(Place::Metadata, "i0", "i0", 1);
    let (mut parts, ()) = request.into_parts();
    parts
        .headers
        .insert("grpc-timeout", "10S".parse().expect("a header"));
    let body = tonic::body::Body::new(Full::new(framed(&message)));
    let response = within("a response", channel.call(Request::from_parts(parts, body)));
    let response = response.await.expect("never an error of the channel");
    let headers = response.headers().clone();
    let body = within("the whole response", response.into_body().collect()).await;
    let body = body.expect("is whole");
    let trailers = body.trailers().cloned().unwrap_or(headers);
    if trailers["grpc-status"] != "0" {
        let reason = trailers["grpcrouter-reason"].to_str().expect("a token");
        return Err(reason.to_owned());
    }
    let name = body.to_bytes().slice(5..);
    Ok(String::from_utf8(name.to_vec()).expect("a name"))
}

#[tokio::test]
async fn a_call_goes_where_its_channel_says_and_else_where_its_request_says() {
    let keyed = Keyed::start(Place::Metadata.routes(|route| route), 3).await;
    let channel = keyed.world.gateway.channel();
    assert_eq!(
        made(channel.clone()).await,
        Ok("i0".to_owned()),
        "by its metadata"
    );
    for id in ["i1", "i2", "i1"] {
        let by_key = made(channel.clone().with_key(id)).await;
        assert_eq!(by_key.as_deref(), Ok(id), "the channel's key is stronger");
        let by_id = made(channel.clone().with_instance(id)).await;
        assert_eq!(by_id.as_deref(), Ok(id));
    }
    let nobody = made(channel.clone().with_key("i9")).await;
    assert_eq!(nobody, Err("no-instance".to_owned()));
    let no_id = made(channel.with_instance("no id")).await;
    assert_eq!(no_id, Err("bad-request".to_owned()));
    keyed.world.quiet().await;
}

/// Proves: R19
#[tokio::test]
async fn a_channels_key_is_hashed_where_the_route_hashes_keys() {
    let routes = Place::Metadata.routes(|route| route.balance(Balance::ConsistentHash));
    let keyed = Keyed::start(routes, 4).await;
    let channel = keyed.world.gateway.channel();
    let mut used = BTreeSet::new();
    for key in 0..40 {
        let sticky = channel.clone().with_key(key);
        let first = made(sticky.clone()).await.expect("is answered");
        assert_eq!(made(sticky).await.as_ref(), Ok(&first), "the same again");
        used.insert(first);
    }
    assert_eq!(used.len(), 4, "keys are spread");
}

#[tokio::test]
async fn a_dropped_response_cancels_its_call() {
    let keyed = Keyed::start(Place::Metadata.routes(|route| route), 1).await;
    let mut channel = keyed.world.gateway.channel();
    let (request, _) = ask(Place::Metadata, "i0", "i0", 1);
    // A request that never ends.
    let (parts, ()) = request.into_parts();
    let endless = http_body_util::StreamBody::new(futures_util::stream::pending::<
        Result<http_body::Frame<Bytes>, std::io::Error>,
    >());
    let body = tonic::body::Body::new(endless);
    let call = tokio::spawn(channel.call(Request::from_parts(parts, body)));
    let gauges = keyed.world.gateway.gauges();
    super::support::until("the call is there", || gauges.calls.get() == 1).await;
    call.abort();
    keyed.world.quiet().await;
}
