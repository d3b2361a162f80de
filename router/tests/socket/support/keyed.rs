//! Calls that have a different key in every place where one can stand, and instances that log who got them.

use std::sync::{Arc, Mutex};

use grpcrouter::routing::{Balance, FieldKind, Route, Routes, ServiceRoutes};
use grpcrouter::{GatewayConfig, InstanceConfig};
use http::{HeaderMap, Request};
use prost::Message;

use super::client::{Answer, Client};
use super::handler::Handler;
use super::world::{Running, World};

/// What the handlers of the instances saw: which instance had which call.
pub(crate) type Log = Arc<Mutex<Vec<(String, Asked)>>>;

/// The request message. Numbers and texts can be keys; the call knows itself by its nonce.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Asked {
    #[prost(uint64, tag = "1")]
    pub(crate) nonce: u64,
    #[prost(string, tag = "2")]
    pub(crate) padding: String,
    #[prost(string, tag = "3")]
    pub(crate) site: String,
    #[prost(sint32, tag = "4")]
    pub(crate) number: i32,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Metadata,
    Header,
    Authority,
    Path,
    Field,
    Hook,
}

pub(crate) const PLACES: [Place; 6] = [
    Place::Metadata,
    Place::Header,
    Place::Authority,
    Place::Path,
    Place::Field,
    Place::Hook,
];

impl Place {
    /// The route that looks for the key there.
    pub(crate) fn route(self) -> Route {
        match self {
            Self::Metadata => Route::new().metadata("instanceid"),
            Self::Header => Route::new().header("user-agent"),
            Self::Authority => Route::new().header(":authority"),
            Self::Path => Route::new().path(),
            Self::Field => Route::new().field(3, FieldKind::String),
            // By a function of the message, which finds it in another field than the other route.
            Self::Hook => Route::new().balance(Balance::Pinned),
        }
    }

    /// The routes of `test.Probe` by the key there, changed as a test wants it.
    pub(crate) fn routes(self, change: impl FnOnce(Route) -> Route) -> Routes {
        let mut service = ServiceRoutes::new("test.Probe")
            .path_prefix("/api/v1")
            .default_route(change(self.route()));
        if self == Self::Hook {
            let balance = service.find("Ask").expect("a route").balance;
            service.change_method::<Asked>("Ask", |ask| {
                ask.key(|asked| asked.padding.split(' ').next().map(str::to_owned))
                    .balance(balance)
            });
        }
        Routes::new().with(service)
    }
}

/// A request for `Ask` whose key in one place is this one, and in every other place another one.
pub(crate) fn ask(place: Place, key: &str, other: &str, nonce: u64) -> (Request<()>, Vec<u8>) {
    let at = |here: Place| if here == place { key } else { other };
    let prefix = match place {
        Place::Path => format!("/api/v1/{key}"),
        // A key after the prefix would be no path of this service.
        _ => "/api/v1".to_owned(),
    };
    let uri = format!("http://{}{prefix}/test.Probe/Ask", at(Place::Authority));
    let request = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("instanceid", at(Place::Metadata))
        .header("user-agent", at(Place::Header))
        .body(())
        .expect("a request");
    let asked = Asked {
        nonce,
        padding: format!("{} and more", at(Place::Hook)),
        site: at(Place::Field).to_owned(),
        number: -7,
    };
    (request, asked.encode_to_vec())
}

/// Makes a call and gives what came back.
pub(crate) async fn make(client: &Client, (request, message): (Request<()>, Vec<u8>)) -> Answer {
    let mut call = client.open(request).await;
    call.send(&message).await;
    call.half_close();
    call.answer().await
}

/// A gateway with these routes, and instances `i0`, `i1`, ... that log what they get.
pub(crate) struct Keyed {
    pub(crate) world: World,
    pub(crate) log: Log,
    pub(crate) instances: Vec<Running>,
}

impl Keyed {
    pub(crate) async fn start(routes: Routes, count: usize) -> Self {
        Self::with(routes, count, |_, _| {}).await
    }

    /// With instances that register what a test wants.
    pub(crate) async fn with(
        routes: Routes,
        count: usize,
        change: impl Fn(usize, &mut InstanceConfig),
    ) -> Self {
        let config = GatewayConfig {
            routes,
            seed: 7,
            ..GatewayConfig::default()
        };
        let world = World::with(config).await;
        let mut keyed = Self {
            world,
            log: Log::default(),
            instances: Vec::new(),
        };
        for n in 0..count {
            let running = keyed.join(n, |config| change(n, config)).await;
            keyed.instances.push(running);
        }
        keyed
    }

    /// Starts the instance of this number.
    pub(crate) async fn join(&self, n: usize, change: impl FnOnce(&mut InstanceConfig)) -> Running {
        let id = format!("i{n}");
        let mut config = self.world.config(&id);
        change(&mut config);
        let handler = logging(&id, &self.log);
        self.world.instance_with(config, handler).await
    }

    /// What was logged since the last time.
    pub(crate) fn logged(&self) -> Vec<(String, Asked)> {
        std::mem::take(&mut self.log.lock().expect("no panic"))
    }
}

/// Logs every call under a name, and answers with that name.
fn logging(name: &str, log: &Log) -> Handler {
    let (name, log) = (name.to_owned(), log.clone());
    Handler::new(move |mut call| {
        let (name, log) = (name.clone(), log.clone());
        async move {
            while let Some(message) = call.message().await {
                let asked = Asked::decode(message).expect("what the client sent");
                log.lock().expect("no panic").push((name.clone(), asked));
            }
            call.head(HeaderMap::new());
            call.send(name.as_bytes()).await;
            call.finish(0, "").await;
        }
    })
}
