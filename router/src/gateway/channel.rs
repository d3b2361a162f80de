//! Calls of code inside the gateway's own process.

use std::convert::Infallible;
use std::task::{Context, Poll};

use grpcrouter_core::routing::RoutingKey;
use http::{HeaderValue, Request, Response};
use tower_service::Service;

use crate::net::BoxFuture;
use crate::status::INSTANCE;

use super::{Gateway, GatewayBody, GatewayService};

/// A channel for typed clients inside the gateway's process: no socket, and the same picking, opening and
/// retrying as for anybody else's call. Cheap to clone.
///
/// ```
/// # mod pb { pub struct GreeterClient<T>(T); impl<T> GreeterClient<T> { pub fn new(t: T) -> Self { Self(t) } } }
/// # use pb::GreeterClient;
/// use grpcrouter::{Clock, Gateway, GatewayConfig};
///
/// let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
/// let balanced = GreeterClient::new(gateway.channel());
/// let sticky = GreeterClient::new(gateway.channel().with_key("user-7"));
/// let pinned = GreeterClient::new(gateway.channel().with_instance("site-7"));
/// ```
///
/// A call has to be made within a tokio runtime; its request is carried by a task of its own. It fails
/// with a gRPC status, never with an error of the channel. Dropping the response cancels the call.
#[derive(Debug, Clone)]
pub struct GatewayChannel {
    gateway: GatewayService,
    place: Place,
}

/// Where the calls of a channel go.
#[derive(Debug, Clone)]
enum Place {
    /// Where the request says.
    Request,
    Key(RoutingKey),
    Instance(HeaderValue),
}

impl Gateway {
    /// A channel for clients inside this process. Its calls are routed as those of any other client.
    pub fn channel(&self) -> GatewayChannel {
        GatewayChannel {
            gateway: self.service(),
            place: Place::Request,
        }
    }
}

impl GatewayChannel {
    /// Every call has this key, whatever its request carries. It is placed as the route of its method
    /// balances keys: hashed where that is consistent hashing, and pinned to the instance of that id or
    /// with that key otherwise. In place of an earlier key or instance.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<RoutingKey>) -> Self {
        self.place = Place::Key(key.into());
        self
    }

    /// Every call goes to the instance of this id, whatever its request carries. What cannot be an id fails
    /// every call with INVALID_ARGUMENT. In place of an earlier key or instance.
    #[must_use]
    pub fn with_instance(mut self, id: impl AsRef<str>) -> Self {
        let id = HeaderValue::from_str(id.as_ref());
        // An empty id is none, and is refused as any other that is none.
        self.place = Place::Instance(id.unwrap_or(HeaderValue::from_static("")));
        self
    }
}

impl Service<Request<tonic::body::Body>> for GatewayChannel {
    type Response = Response<GatewayBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> Self::Future {
        match &self.place {
            Place::Request => {}
            Place::Key(key) => {
                request.headers_mut().remove(INSTANCE);
                // Not a header: nobody outside of this process can set an extension.
                request.extensions_mut().insert(key.clone());
            }
            Place::Instance(id) => {
                request.headers_mut().insert(INSTANCE, id.clone());
            }
        }
        self.gateway.call(request)
    }
}
