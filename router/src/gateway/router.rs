//! What generated routers are, and how they are mounted.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpcrouter_core::routing::ServiceRoutes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{Gateway, GatewayBody, GatewayService};

/// How the calls of one service are routed, as a type. Generated routers are of this kind; one written by
/// hand is as good.
///
/// ```
/// use grpcrouter::routing::{Balance, Route, ServiceRoutes};
/// use grpcrouter::{Clock, Gateway, GatewayConfig, ServiceRouter};
///
/// struct Carts;
///
/// impl ServiceRouter for Carts {
///     const NAME: &'static str = "shop.v1.Carts";
///
///     fn into_routes(self) -> ServiceRoutes {
///         let by_cart = Route::new().metadata("cart-id").balance(Balance::ConsistentHash);
///         ServiceRoutes::new(Self::NAME).default_route(by_cart)
///     }
/// }
///
/// let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
/// gateway.mount(Carts);
/// ```
pub trait ServiceRouter {
    /// The full name of the service, `package.Service`.
    const NAME: &'static str;

    /// The routes of its methods.
    fn into_routes(self) -> ServiceRoutes;
}

impl Gateway {
    /// Routes the calls of a service by this router from now on, in place of any routes that it had. Calls
    /// that run keep the instance that they have.
    pub fn mount<R: ServiceRouter>(&self, router: R) {
        self.set_service_routes(&router.into_routes());
    }

    /// As [`mount`](Self::mount), and gives the service for a tonic server that there is already.
    ///
    /// That server hands it the paths `/package.Service/*` and no others. Where routes have a path prefix,
    /// or instances are to register on the same port, give the server [`Gateway::service`] as the fallback:
    ///
    /// ```no_run
    /// # use grpcrouter::{Gateway, ServiceRouter};
    /// # async fn run<R: ServiceRouter + 'static>(gateway: Gateway, router: R)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let mut routes = tonic::service::Routes::new(gateway.mounted(router));
    /// let with_rest = std::mem::take(routes.axum_router_mut()).fallback_service(gateway.service());
    /// *routes.axum_router_mut() = with_rest;
    /// let server = tonic::transport::Server::builder().add_routes(routes);
    /// server.serve("127.0.0.1:50051".parse()?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The in-flight bound is larger than [`Gateway::bound`] by what that server buffers.
    pub fn mounted<R: ServiceRouter>(&self, router: R) -> RouterService<R> {
        self.mount(router);
        RouterService {
            gateway: self.service(),
            router: PhantomData,
        }
    }
}

/// A service of a [`Gateway`] for tonic's `Server::add_service`: see [`Gateway::mounted`].
pub struct RouterService<R> {
    gateway: GatewayService,
    router: PhantomData<fn() -> R>,
}

impl<R: ServiceRouter> tonic::server::NamedService for RouterService<R> {
    const NAME: &'static str = R::NAME;
}

impl<R, B> Service<Request<B>> for RouterService<R>
where
    GatewayService: Service<Request<B>, Response = Response<GatewayBody>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    type Response = Response<GatewayBody>;
    type Error = Infallible;
    type Future = <GatewayService as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.gateway.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.gateway.call(request)
    }
}

// By hand: a router that is neither has a service that is both.
impl<R> Clone for RouterService<R> {
    fn clone(&self) -> Self {
        Self {
            gateway: self.gateway.clone(),
            router: PhantomData,
        }
    }
}

impl<R> fmt::Debug for RouterService<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let router = std::any::type_name::<R>();
        f.debug_tuple("RouterService").field(&router).finish()
    }
}
