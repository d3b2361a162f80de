//! The ways to run a gateway: on its own listeners, in one thread or two, and mounted in somebody else's HTTP/2 server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use grpcrouter::{Clock, Gateway, GatewayConfig, Listener};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use super::client::Client;
use super::handler::Handler;
use super::world::World;

/// How the gateway is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arm {
    /// By its own listeners.
    Listeners,
    /// As a tower service in hyper's server, clients and tunnels both.
    Mounted,
    /// By its own listeners: clients in the test's runtime, tunnels in another thread's.
    Sharded,
}

impl Arm {
    /// The arm of the test that runs on this thread: modules below `mounted` run again, mounted, and those
    /// below `sharded` in two shards.
    pub(crate) fn of_this_test() -> Self {
        match std::thread::current().name() {
            Some(test) if test.starts_with("mounted::") => Self::Mounted,
            Some(test) if test.starts_with("sharded::") => Self::Sharded,
            _ => Self::Listeners,
        }
    }
}

/// Runs one body on both arms. A failure says on which arm it came.
pub(crate) async fn on_both_arms(body: impl AsyncFn(Arm)) {
    for arm in [Arm::Listeners, Arm::Mounted] {
        let named = Named(arm);
        body(arm).await;
        drop(named);
    }
}

struct Named(Arm);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("on arm {:?}: the failure above", self.0);
        }
    }
}

impl World {
    /// A gateway with default settings on one of the arms.
    pub(crate) async fn on(arm: Arm) -> Self {
        Self::on_with(arm, GatewayConfig::default()).await
    }

    /// A gateway on one of the arms.
    pub(crate) async fn on_with(arm: Arm, config: GatewayConfig) -> Self {
        match arm {
            Arm::Listeners => return Self::on_listeners(config).await,
            Arm::Sharded => return Self::on_two_threads(config).await,
            Arm::Mounted => {}
        }
        let window = config.client_window;
        let max_streams = config.max_streams;
        let keepalive = config.client_keepalive;
        let gateway = Gateway::new(config, Clock::start());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).await.expect("binds");
        let addr = listener.local_addr().expect("is bound");
        tokio::spawn(mounted(
            gateway.clone(),
            listener,
            window,
            max_streams,
            keepalive,
        ));
        Self {
            gateway,
            clients: addr,
            tunnels: addr,
        }
    }

    async fn on_two_threads(config: GatewayConfig) -> Self {
        let mut shards = Gateway::shards(config, Clock::start(), 2);
        // Either shard has the tunnels in half of the tests, and in one test always the same.
        let test = std::thread::current().name().map_or(0, str::len);
        shards.rotate_left(test % 2);
        let (there, here) = (shards.pop().expect("two"), shards.pop().expect("two"));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = grpcrouter::TcpListener::bind(any).await.expect("binds");
        let clients = listener.local_addr().expect("is bound");
        let serving = here.clone();
        tokio::spawn(async move { serving.serve_clients(listener).await });

        let sockets = grpcrouter::TcpListener::listen_shared(any, 1).expect("binds");
        let socket = sockets.into_iter().next().expect("one");
        let tunnels = socket.local_addr().expect("is bound");
        let (until, ended) = tokio::sync::oneshot::channel::<()>();
        // Ends with the test's runtime, and the thread with it.
        tokio::spawn(async move {
            let _until = until;
            std::future::pending::<()>().await;
        });
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let listener = grpcrouter::TcpListener::from_std(socket).expect("a socket");
                tokio::spawn(async move { there.serve_tunnels(listener).await });
                let _ = ended.await;
            });
        });
        Self {
            gateway: here,
            clients,
            tunnels,
        }
    }

    /// A world on one of the arms with one instance `a` of `test.Probe`, and a client.
    pub(crate) async fn probe_on(arm: Arm, handler: Handler) -> (Self, Client) {
        let world = Self::on(arm).await;
        world.instance("a", handler).await;
        let client = world.client().await;
        (world, client)
    }
}

/// hyper with the windows and limits that the gateway's own listeners have.
async fn mounted(
    gateway: Gateway,
    listener: TcpListener,
    window: u32,
    max_streams: u32,
    keepalive: Duration,
) {
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).expect("a socket");
        let service = TowerToHyperService::new(gateway.service());
        let mut server = http2::Builder::new(TokioExecutor::new());
        server
            .auto_date_header(false)
            .timer(TokioTimer::new())
            .keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive)
            .initial_stream_window_size(window)
            .initial_connection_window_size(window.saturating_mul(max_streams))
            .max_concurrent_streams(max_streams)
            .max_header_list_size(64 * 1024)
            .max_send_buf_size(64 * 1024);
        tokio::spawn(server.serve_connection(TokioIo::new(socket), service));
    }
}
