//! What stalled calls cost a gateway in memory, read from the operating system.
//!
//! The gateway is the real binary in a process of its own; its instance and its clients are here.

use std::future::poll_fn;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use grpcrouter::{Clock, Instance, InstanceConfig, RequestBody, TcpDialer};
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response};
use tokio::net::TcpStream;

/// The bound B of the gateway's defaults with growth off, in bytes.
const BOUND: usize = 240 * 1024;
/// What a stalled call may cost beside its bytes.
const BESIDE: usize = 16 * 1024;
const MIB: usize = 1 << 20;
/// More than any window.
const STREAM: usize = 4 * MIB;
/// Calls on one connection; below the gateway's limit.
const CALLS_EACH: usize = 500;
const LIMIT: Duration = Duration::from_secs(60);

// Two of the three parts of ZB-5 are not shown yet, so none of these claims it.

/// ZB-5, its first part.
#[tokio::test]
async fn stalled_calls_cost_at_most_their_bound() {
    for size in [16 * 1024, 5] {
        let gateway = Gateway::start().await;
        let fresh = gateway.rss();
        for count in [250, 500, 1_000] {
            let _stalled = stall(&gateway, count, size, STREAM).await;
            let each = gateway.rss().saturating_sub(fresh) / count;
            eprintln!("{count} stalled calls of {size} B messages: {each} B each");
            assert!(each <= BOUND + BESIDE, "{each} B for each of {count}");
        }
    }
}

/// ZB-5, its second part.
#[tokio::test]
#[ignore = "with 5 B messages what remains still rises from round to round; whose it is, is not known"]
async fn stalled_calls_give_back_what_they_cost() {
    for size in [16 * 1024, 5] {
        let gateway = Gateway::start().await;
        let mut kept = None;
        // The first round pays for tables, which stay; the others must add nothing.
        for round in 0..8 {
            drop(stall(&gateway, 1_000, size, STREAM).await);
            gateway.quiet().await;
            let after = gateway.rss();
            let base = *kept.get_or_insert(after);
            eprintln!(
                "{size} B messages, round {round}: {} KiB remain",
                after / 1024
            );
            assert!(
                after <= base + base / 10,
                "{after} B remain; at first {base} B"
            );
        }
    }
}

/// ZB-5, its third part.
#[tokio::test]
#[ignore = "buffers grow by doubling, so equal runs of 100 calls differ by up to 6 MiB"]
async fn a_stream_a_hundred_times_as_long_costs_nothing_more() {
    let gateway = Gateway::start().await;
    drop(stall(&gateway, 100, 16 * 1024, STREAM).await);
    gateway.quiet().await;
    let stalled = stall(&gateway, 100, 16 * 1024, STREAM).await;
    let first = gateway.rss();
    drop(stalled);
    gateway.quiet().await;
    let _stalled = stall(&gateway, 100, 16 * 1024, 100 * STREAM).await;
    let second = gateway.rss();
    eprintln!(
        "100 stalled streams: {} KiB; 100 times as long: {} KiB",
        first / 1024,
        second / 1024
    );
    assert!(
        second.abs_diff(first) <= 2 * MIB,
        "{first} B, then {second} B"
    );
}

struct Gateway {
    process: Child,
    clients: SocketAddr,
    _instance: tokio::task::JoinHandle<()>,
}

impl Gateway {
    /// A gateway, and an instance whose handler never reads.
    async fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_grpcrouter"))
            .args([
                "gateway",
                "--listen",
                "127.0.0.1:0",
                "--tunnel-listen",
                "127.0.0.1:0",
            ])
            .args(["--call-window-max", "80KiB"])
            // glibc keeps what is freed, in an arena for each thread and in ever larger pieces. These let
            // it go, so that what is measured is what the gateway holds.
            .envs([
                ("MALLOC_ARENA_MAX", "1"),
                ("MALLOC_MMAP_THRESHOLD_", "16384"),
            ])
            .env("MALLOC_TRIM_THRESHOLD_", "131072")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut ready = String::new();
        let stdout = process.stdout.take().expect("is piped");
        BufReader::new(stdout)
            .read_line(&mut ready)
            .expect("a line");
        let addr = |name: &str| {
            let word = ready
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name));
            word.expect("names both ports").to_owned()
        };
        let clients = addr("client=").parse().expect("an address");
        let target = format!("http://{}", addr("tunnel="))
            .parse()
            .expect("an address");
        let mut config = InstanceConfig::new("a", ["test.Probe"]);
        config.gateways.push(target);
        config.tunnel.call_window_max = config.tunnel.call_window;
        let service = tower::service_fn(never_reads);
        let (instance, handle) =
            Instance::new(config, service, Arc::new(TcpDialer), Clock::start());
        let running = tokio::spawn(async move {
            let _ = instance.run().await;
        });
        let mut counts = handle.registrations();
        counts.wait_for(|counts| counts[0] > 0).await.expect("runs");
        Self {
            process,
            clients,
            _instance: running,
        }
    }

    /// Resident memory in bytes.
    fn rss(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.process.id()));
        let statm = statm.expect("the gateway runs");
        let pages = statm.split_whitespace().nth(1).expect("the second field");
        pages.parse::<usize>().expect("a number") * 4096
    }

    /// Waits until the memory neither rises nor falls: all that was sent has arrived, or calls that were
    /// cut are gone and the allocator is done.
    async fn quiet(&self) {
        let mut last = self.rss();
        let mut still = 0;
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        while still < 20 {
            looks.tick().await;
            let now = self.rss();
            still = if now.abs_diff(last) > 64 * 1024 {
                0
            } else {
                still + 1
            };
            last = now;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn never_reads(
    request: Request<RequestBody>,
) -> Result<Response<tonic::body::Body>, std::convert::Infallible> {
    // Held for as long as the call lasts.
    let _request = request;
    std::future::pending().await
}

/// Calls that are stalled, and the connections that they are on.
struct Stalled {
    _calls: Vec<(ResponseFuture, SendStream<Bytes>)>,
    connections: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Stalled {
    fn drop(&mut self) {
        for connection in &self.connections {
            connection.abort();
        }
    }
}

/// Opens calls and sends on each until its window stops, at most `total` bytes.
async fn stall(gateway: &Gateway, count: usize, size: usize, total: usize) -> Stalled {
    let mut message = vec![0];
    message.extend_from_slice(&(size as u32).to_be_bytes());
    message.resize(size + 5, 7);
    let message = Bytes::from(message);
    let mut calls = Vec::new();
    let mut connections = Vec::new();
    for opened in (0..count).step_by(CALLS_EACH) {
        let (requests, connection) = connect(gateway.clients).await;
        connections.push(connection);
        for _ in 0..CALLS_EACH.min(count - opened) {
            calls.push((open(&requests).await, total));
        }
    }
    let sent = AtomicUsize::new(0);
    let pouring = futures_util::future::join_all(
        calls
            .iter_mut()
            .map(|((_, send), total)| pour(send, &message, *total, &sent)),
    );
    // None of them ends by itself: the window stops each.
    let stopped = tokio::time::timeout(LIMIT, stopped(pouring, &sent)).await;
    stopped.expect("the windows stop");
    // HTTP/2 has window for all of it; now it has to get there.
    gateway.quiet().await;
    Stalled {
        _calls: calls.into_iter().map(|(call, _)| call).collect(),
        connections,
    }
}

/// Sends until nothing has moved for a second.
async fn stopped(pouring: impl Future<Output = Vec<()>>, sent: &AtomicUsize) {
    let stopped = async {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let (mut last, mut still) = (0, 0);
        while still < 20 {
            looks.tick().await;
            let now = sent.load(Ordering::Relaxed);
            still = if now == last { still + 1 } else { 0 };
            last = now;
        }
    };
    tokio::select! {
        _ = pouring => panic!("nothing stopped the senders"),
        () = stopped => {}
    }
}

async fn connect(addr: SocketAddr) -> (SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    let socket = TcpStream::connect(addr).await.expect("connects");
    socket.set_nodelay(true).expect("a socket");
    let (requests, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    (requests.ready().await.expect("is ready"), task)
}

async fn open(requests: &SendRequest<Bytes>) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post("http://probe.test/test.Probe/Stall")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let mut requests = requests.clone().ready().await.expect("is ready");
    requests.send_request(request, false).expect("a request")
}

async fn pour(send: &mut SendStream<Bytes>, message: &Bytes, total: usize, sent: &AtomicUsize) {
    for _ in 0..total.div_ceil(message.len()) {
        let mut rest = message.clone();
        while !rest.is_empty() {
            send.reserve_capacity(rest.len());
            while send.capacity() == 0 {
                let room = poll_fn(|cx| send.poll_capacity(cx));
                room.await.expect("is open").expect("is open");
            }
            let piece = rest.split_to(rest.len().min(send.capacity()));
            sent.fetch_add(piece.len(), Ordering::Relaxed);
            send.send_data(piece, false).expect("has window");
        }
    }
}
