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
use http_body_util::BodyExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// The bound B of the gateway's defaults with growth off, in bytes.
const BOUND: usize = 240 * 1024;
/// What a stalled call may cost beside its bytes.
const BESIDE: usize = 16 * 1024;
const MIB: usize = 1 << 20;
/// More than any window.
const STREAM: usize = 4 * MIB;
/// Calls on one connection; below the gateway's limit.
const CALLS_EACH: usize = 500;
/// Tiny messages share a DATA frame of twice this many bytes: HTTP/2 takes a flood of smaller frames for an
/// attack, and one each would take minutes.
const TINY: usize = 256;
/// What a stalled call has sent at least: its window at the instance, and part of the gateway's.
const SENT_MIN: usize = 128 * 1024;
/// How often the memory is read while a stream flows.
const LOOKS: usize = 16;
const LIMIT: Duration = Duration::from_secs(60);
/// What makes the allocator give back at once what is freed (README, Memory), so that what is measured is what the
/// gateway holds.
const GIVE_BACK: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "0");

/// Proves: ZB-5
#[tokio::test]
async fn calls_stalled_on_large_messages_cost_their_bound_and_give_it_back() {
    stalled_calls_are_bounded(16 * 1024).await;
}

/// Proves: ZB-5
#[tokio::test]
async fn calls_stalled_on_tiny_messages_cost_their_bound_and_give_it_back() {
    stalled_calls_are_bounded(5).await;
}

/// Proves: ZB-5
#[tokio::test]
async fn a_stream_a_hundred_times_as_long_costs_nothing_more() {
    for (size, count) in [(16 * 1024, 64), (5, 2_000)] {
        let gateway = Gateway::start().await;
        // What the first stream costs is the connection's and the tunnel's, which stay.
        flow(&gateway, 10 * count, size).await;
        let short = flow(&gateway, count, size).await;
        let long = flow(&gateway, 100 * count, size).await;
        let (kib, hundredfold) = (short / 1024, long / 1024);
        eprintln!(
            "{count} frames with messages of {size} B: {kib} KiB; 100 times as many: {hundredfold} KiB"
        );
        assert!(long.abs_diff(short) <= 2 * MIB, "{short} B, then {long} B");
    }
}

/// Stalls calls and cancels them; what they had must come back, each time.
async fn stalled_calls_are_bounded(size: usize) {
    let gateway = Gateway::start().await;
    let (fresh, files) = (gateway.rss(), gateway.files());
    // The base is a gateway at rest that has served as many calls as it will: the first round pays once for
    // what stays, its code in memory and the tables of its threads, its tunnel and its calls: 3 to 4 MB. No later
    // round may add to it.
    let mut kept = Vec::new();
    for count in [1_000, 250, 500, 1_000, 1_000, 1_000, 1_000] {
        let stalled = stall(&gateway, count, size).await;
        let each = gateway.rss().saturating_sub(fresh) / count;
        drop(stalled);
        gateway.running(0).await;
        gateway.closed(files).await;
        let after = gateway.quiet().await;
        kept.push(after);
        eprintln!(
            "{count} calls of {size} B messages: {each} B each, {} of {} KiB remain",
            after / 1024,
            fresh / 1024
        );
        assert!(each <= BOUND + BESIDE, "{each} B for each of {count}");
    }
    // The pages that an allocator keeps after a burst are some MB more in one round and less in the next. What a gateway
    // keeps only adds up, so that none of the last rounds would be without it.
    let least = kept.iter().rev().take(3).min().expect("rounds");
    assert!(
        least * 10 <= kept[0] * 11,
        "at least {least} B remain; at first {} B: {kept:?}",
        kept[0]
    );
}

struct Gateway {
    process: Child,
    clients: SocketAddr,
    /// Calls that its instance has at hand.
    running: watch::Receiver<usize>,
    _instance: tokio::task::JoinHandle<()>,
}

impl Gateway {
    /// A gateway, and an instance with a method that reads all and one that never does.
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
            .env(GIVE_BACK.0, GIVE_BACK.1)
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
        let (count, running) = watch::channel(0);
        let count = Arc::new(count);
        let service = tower::service_fn(move |request| handle(request, count.clone()));
        let (instance, handle) =
            Instance::new(config, service, Arc::new(TcpDialer), Clock::start());
        let task = tokio::spawn(async move {
            let _ = instance.run().await;
        });
        let mut counts = handle.registrations();
        counts.wait_for(|counts| counts[0] > 0).await.expect("runs");
        Self {
            process,
            clients,
            running,
            _instance: task,
        }
    }

    /// Resident memory in bytes.
    fn rss(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("the gateway runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .expect("a line of memory")
            .parse::<usize>()
            .expect("a number")
            * 1024
    }

    /// Files and sockets that the gateway has open.
    fn files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.process.id()));
        files.expect("the gateway runs").count()
    }

    /// Waits until the gateway has no more than so many files open: its clients' connections are gone.
    async fn closed(&self, files: usize) {
        let closed = async {
            let mut looks = looks();
            while self.files() > files {
                looks.tick().await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, closed).await;
        waited.expect("the connections are closed");
    }

    /// Waits until the instance has so many calls at hand.
    async fn running(&self, count: usize) {
        let mut running = self.running.clone();
        let waiting = running.wait_for(|running| *running == count);
        let waited = tokio::time::timeout(LIMIT, waiting).await;
        waited
            .expect("calls come and go")
            .expect("the instance runs");
    }

    /// Waits until the memory neither rises nor falls: all that was sent has arrived, or calls that were
    /// cut are gone and the allocator is done. Returns it.
    async fn quiet(&self) -> usize {
        let mut last = self.rss();
        let mut still = 0;
        let mut looks = looks();
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
        last
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn handle(
    request: Request<RequestBody>,
    running: Arc<watch::Sender<usize>>,
) -> Result<Response<tonic::body::Body>, std::convert::Infallible> {
    let _running = Running::enter(running);
    if request.uri().path().ends_with("/Stall") {
        // The request is held for as long as the call lasts.
        std::future::pending::<()>().await;
    }
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame.expect("the request is whole");
    }
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", "0");
    Ok(response
        .body(tonic::body::Body::empty())
        .expect("a response"))
}

/// A call that the instance has at hand.
struct Running(Arc<watch::Sender<usize>>);

impl Running {
    fn enter(count: Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
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

/// Opens calls and sends on each until its window stops.
async fn stall(gateway: &Gateway, count: usize, size: usize) -> Stalled {
    let message = message(size);
    let mut calls = Vec::new();
    let mut connections = Vec::new();
    for opened in (0..count).step_by(CALLS_EACH) {
        let (requests, connection) = connect(gateway.clients).await;
        connections.push(connection);
        for _ in 0..CALLS_EACH.min(count - opened) {
            calls.push(open(&requests, "Stall").await);
        }
    }
    // A tunnel takes no calls while its queue is full, so they come before their bytes.
    gateway.running(count).await;
    let sent = AtomicUsize::new(0);
    let pouring = futures_util::future::join_all(
        calls
            .iter_mut()
            .map(|(_, send)| pour(send, &message, STREAM.div_ceil(message.len()), &sent)),
    );
    // None of them ends by itself: the window stops each.
    let stopped = tokio::time::timeout(LIMIT, stopped(pouring, &sent, count * SENT_MIN)).await;
    stopped.expect("the windows stop");
    // HTTP/2 has window for all of it; now it has to get there.
    gateway.quiet().await;
    Stalled {
        _calls: calls,
        connections,
    }
}

/// Sends so many DATA frames on a call whose handler reads them all; returns what memory the gateway had at
/// most meanwhile.
async fn flow(gateway: &Gateway, count: usize, size: usize) -> usize {
    let message = message(size);
    let (requests, connection) = connect(gateway.clients).await;
    let (response, mut send) = open(&requests, "Read").await;
    let mut most = 0;
    let whole = async {
        for _ in 0..LOOKS {
            pour(&mut send, &message, count / LOOKS, &AtomicUsize::new(0)).await;
            most = most.max(gateway.rss());
        }
        send.send_data(Bytes::new(), true).expect("is open");
        response.await.expect("is answered")
    };
    let response = tokio::time::timeout(LIMIT, whole).await.expect("ends");
    assert_eq!(response.headers()["grpc-status"], "0", "{response:?}");
    connection.abort();
    gateway.running(0).await;
    gateway.quiet().await;
    most
}

/// One message, or as many tiny ones as go into a small DATA frame.
fn message(size: usize) -> Bytes {
    let mut message = vec![0];
    message.extend_from_slice(&(size as u32).to_be_bytes());
    message.resize(size + 5, 7);
    Bytes::from(message.repeat(TINY.div_ceil(size)))
}

/// Sends until nothing has moved for a second, after the least that the windows take.
async fn stopped(pouring: impl Future<Output = Vec<()>>, sent: &AtomicUsize, least: usize) {
    let stopped = async {
        let mut looks = looks();
        let (mut last, mut still) = (0, 0);
        while still < 20 {
            looks.tick().await;
            let now = sent.load(Ordering::Relaxed);
            still = if now == last && now >= least {
                still + 1
            } else {
                0
            };
            last = now;
        }
    };
    tokio::select! {
        biased;
        _ = pouring => panic!("nothing stopped the senders"),
        () = stopped => {}
    }
}

/// Times to look whether all is still; after a delay they do not catch up, which would see nothing move.
fn looks() -> tokio::time::Interval {
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    looks
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

async fn open(requests: &SendRequest<Bytes>, method: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post(format!("http://probe.test/test.Probe/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let mut requests = requests.clone().ready().await.expect("is ready");
    requests.send_request(request, false).expect("a request")
}

async fn pour(send: &mut SendStream<Bytes>, message: &Bytes, count: usize, sent: &AtomicUsize) {
    for _ in 0..count {
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
