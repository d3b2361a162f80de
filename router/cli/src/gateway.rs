//! `grpcrouter gateway`.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use clap::Args;
use grpcrouter::routing::Routes;
use grpcrouter::{Gateway, GatewayConfig, TunnelConfig};
use tracing::{info, warn};

use crate::ports::{self, Ports, Sockets};
use crate::routes::{RouteArgs, names};
use crate::{Failure, Stop, args, asked_twice, block_on, metrics};

const ABOUT_BOUND: &str = "\
In-flight bound B: what a sender can have handed over that its reader has not taken, per call and
direction, beyond the reader's own window. It does not depend on the length of messages or calls.
  requests:   client window + 16KiB (kept for a second try) + call window + 64KiB (send buffer)
  responses:  64KiB (agent's window) + 32KiB (a piece) + call window + 64KiB (send buffer)
With the defaults B is 245760 bytes, or 1212416 once call windows have grown to --call-window-max,
which needs a round trip of 2 ms or more. The gateway says B when it starts, counted with its own
windows: both in its log, the larger one as `bound=` in the ready line. For responses that is exact;
the call window of requests is what the agent announces, by --call-window and --call-window-max of
its own, so B holds for requests where those are no larger.";

/// Run a gateway.
#[derive(Debug, Args)]
#[command(after_help = ABOUT_BOUND)]
pub(crate) struct GatewayArgs {
    /// Where clients call, as IP:PORT. Port 0 takes any free port.
    #[arg(long, value_name = "ADDR", value_parser = args::listen)]
    pub(crate) listen: SocketAddr,
    /// Where instances dial, as IP:PORT. Without it both use --listen, and whoever can call can register.
    #[arg(long, value_name = "ADDR", value_parser = args::listen)]
    pub(crate) tunnel_listen: Option<SocketAddr>,
    /// Serves figures for Prometheus at http://IP:PORT/metrics, as IP:PORT. Whoever can connect can read them: which
    /// services there are, and how many calls.
    #[arg(long, value_name = "ADDR", value_parser = args::listen)]
    metrics: Option<SocketAddr>,
    /// Threads, each with a share of the connections. Default: one for every two cores, since the kernel's share
    /// of a call, and whoever makes it, need the others.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    threads: Option<u32>,
    /// How the gateway names itself to its instances.
    #[arg(long, value_name = "ID", default_value = "gateway")]
    gateway_id: String,
    /// Other gateways, told to each instance when it registers. Programs that embed an instance can dial
    /// them; agents and instances of this project do not by themselves.
    #[arg(long = "also", value_name = "URI")]
    gateways: Vec<String>,
    /// One log line a call.
    #[arg(long)]
    access_log: bool,
    /// How often both ends of a tunnel send a heartbeat; silence of twice this long ends it.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = args::heartbeat)]
    heartbeat_interval: Duration,
    /// How long running calls may take to finish after SIGTERM.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = args::time)]
    drain_timeout: Duration,
    /// How long a client may be silent before it is pinged, and may take to answer.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = args::time)]
    client_keepalive: Duration,
    #[command(flatten)]
    routes: RouteArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// What a client may send ahead of the tunnel, per call: at least 65535, where HTTP/2 begins.
    #[arg(long, value_name = "SIZE", default_value = "80KiB", value_parser = args::client_window)]
    client_window: u32,
    /// What an instance may send ahead on the tunnel, per call. For requests it says so itself.
    #[arg(long, value_name = "SIZE", default_value = "80KiB", value_parser = args::window)]
    call_window: u32,
    /// What that call window may grow to while its reader keeps up over a long round trip. As
    /// --call-window, it turns growth off.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = args::window)]
    call_window_max: u32,
    /// What all calls of a tunnel together may have queued for its transport.
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = args::queue)]
    tunnel_queue: u32,
    /// Calls at once on a tunnel.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_calls: u32,
    /// Calls at once on a client connection.
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..))]
    max_streams: u32,
    /// Calls at once that wait for an instance, because their clients asked with
    /// `grpcrouter-wait-for-ready: true`.
    #[arg(long, value_name = "N", default_value_t = 1_024)]
    max_waiting: u32,
    /// How long such a call may wait, whatever its deadline.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = args::time)]
    wait_timeout: Duration,
    /// Connections at once on each port.
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// Connections at once from one address on the tunnel port.
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..))]
    max_connections_per_ip: u32,
    /// The longest list of metadata, per call and direction: 1KiB to 32KiB. Agents take 16KiB, and the
    /// smaller limit holds for what the gateway sends.
    #[arg(long, value_name = "SIZE", default_value = "16KiB", value_parser = args::metadata)]
    max_metadata: u32,
    /// The longest message in either direction. Without it any length passes: no message is ever held
    /// whole.
    #[arg(long, value_name = "SIZE", value_parser = args::bytes)]
    message_max: Option<u32>,
}

impl GatewayArgs {
    /// What each flag alone cannot tell.
    fn check(&self) -> Result<(), Failure> {
        let both = self.tunnel_listen == Some(self.listen) && self.listen.port() != 0;
        if both {
            let say =
                "--tunnel-listen is the same as --listen; leave it out to serve both on one port";
            return Err(Failure::new(2, say));
        }
        let LimitArgs {
            call_window,
            call_window_max,
            ..
        } = self.limits;
        if call_window_max < call_window {
            let say = format!(
                "--call-window-max ({call_window_max}) is smaller than --call-window ({call_window})"
            );
            return Err(Failure::new(2, say));
        }
        Ok(())
    }
}

/// Runs a gateway until it is told to stop, then drains it.
pub(crate) fn run(args: GatewayArgs) -> Result<(), Failure> {
    args.check()?;
    let loaded = args.routes.load().map_err(|line| Failure::new(2, line))?;
    if loaded.services().next().is_some() {
        info!(services = names(&loaded), "routes");
    }
    let threads = args
        .threads
        .map_or_else(default_threads, |threads| threads as usize);
    let ports = Ports::bind(&args, threads)?;
    let figures = args.metrics.map(ports::bind_one).transpose()?;
    block_on(serve(args, loaded, ports, figures))
}

/// Serves in this thread and so many others that each has one socket of each port.
async fn serve(
    mut args: GatewayArgs,
    loaded: Routes,
    ports: Ports,
    figures: Option<TcpListener>,
) -> Result<(), Failure> {
    let (client_addr, tunnel_addr) = ports.addrs()?;
    let routes = std::mem::take(&mut args.routes);
    let mut config = config(args);
    config.routes = loaded;
    let one_port = ports.tunnels.is_none();
    let mut shards = ports.into_shards(config);
    let (gateway, sockets) = shards.next().expect("there is one");
    let listeners = sockets.listen()?;
    for (number, (gateway, sockets)) in (1..).zip(shards) {
        start_thread(number, gateway, sockets)?;
    }
    let reloaded = gateway.clone();
    routes.reload(move |routes| reloaded.set_routes(routes))?;
    let bound = gateway.bound();
    info!(
        bytes = bound.fixed,
        bytes_grown = bound.grown,
        "in-flight bound B per call and direction"
    );
    if one_port {
        warn!("one port for clients and tunnels: whoever can call can register");
    }
    tokio::spawn(listeners.serve(gateway.clone()));
    // Whoever reads the line may send the signal at once.
    let mut stop = Stop::listen();
    let bound = bound.grown;
    let mut ready = format!("ready client={client_addr} tunnel={tunnel_addr} bound={bound}");
    if let Some(figures) = figures {
        ready.push_str(&format!(" metrics={}", figures.local_addr()?));
        let figures = tokio::net::TcpListener::from_std(figures)?;
        tokio::spawn(metrics::serve(figures, gateway.clone()));
    }
    println!("{ready}");
    stop.asked().await;
    let left = tokio::select! {
        biased;
        left = gateway.drain() => left,
        () = stop.asked() => return Err(asked_twice()),
    };
    match left {
        0 => Ok(()),
        left => Err(Failure::new(
            5,
            format!("calls that did not finish within --drain-timeout: {left}"),
        )),
    }
}

/// Serves in a thread of its own, which listens once this returns. Whoever waits on the first shard ends the process, and
/// this thread with it.
fn start_thread(number: usize, gateway: Gateway, sockets: Sockets) -> Result<(), Failure> {
    // One word: whether it listens.
    let (tell, listens) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("gateway-{number}"));
    thread.spawn(move || {
        // Without a runtime nothing is told, which says so.
        let _ = block_on(async {
            match sockets.listen() {
                Ok(listeners) => {
                    let _ = tell.send(Ok(()));
                    listeners.serve(gateway).await;
                }
                Err(error) => drop(tell.send(Err(error))),
            }
            Ok(())
        });
    })?;
    let failed = |why: String| Failure::new(1, format!("thread {number} cannot serve: {why}"));
    match listens.recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("no runtime".to_owned())),
    }
}

/// One for every two cores; one where the machine does not say how many it has.
fn default_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 2).max(1)
}

fn config(args: GatewayArgs) -> GatewayConfig {
    let limits = args.limits;
    GatewayConfig {
        gateway_id: args.gateway_id,
        tunnel: TunnelConfig {
            call_window: limits.call_window,
            call_window_max: limits.call_window_max,
            tunnel_queue: limits.tunnel_queue as usize,
            max_calls: limits.max_calls,
            max_metadata: limits.max_metadata as usize,
            message_max: limits.message_max,
            heartbeat_interval: args.heartbeat_interval,
            ..TunnelConfig::default()
        },
        client_window: limits.client_window,
        max_streams: limits.max_streams,
        max_connections: limits.max_connections as usize,
        max_connections_per_ip: limits.max_connections_per_ip as usize,
        client_keepalive: args.client_keepalive,
        drain_timeout: args.drain_timeout,
        max_waiting: limits.max_waiting as usize,
        wait_timeout: limits.wait_timeout,
        gateways: args.gateways,
        access_log: args.access_log,
        ..GatewayConfig::default()
    }
}
