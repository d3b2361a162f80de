//! How much a path takes from a sender whose reader has stalled.
//!
//! Bytes are counted where they leave: as DATA that the client's HTTP/2 had window for, or that the raw
//! server's had. No memory is read, nothing is estimated.

use bytes::Bytes;
use grpcrouter::{GatewayConfig, TunnelConfig};

use crate::support::client::text;
use crate::support::far::{FarCall, Path, Way, fixed};
use crate::support::server::WINDOW;
use crate::support::source::{Source, pour, pour_back};

const KIB: usize = 1024;
const MESSAGE: usize = 16 * KIB;
/// A stream of 2,000 such messages; the long one has ten times as many.
const STREAM: usize = 2_000 * MESSAGE;
/// What gateway and agent may add to a direct connection.
const ADDED_MAX: usize = 256 * KIB;

/// What a stalled reader's path takes of a stream of `total` bytes.
async fn upload(way: Way, config: GatewayConfig, size: usize, total: usize) -> usize {
    let mut path = Path::with(way, config, |_| {}).await;
    let (mut call, _stalled) = path.open().await;
    pour(&path, &mut call, &mut Source::new(size), total).await
}

/// What leaves the far end for a client that opens 64 KiB and reads nothing.
async fn download(way: Way, config: GatewayConfig, total: usize) -> usize {
    let mut path = Path::with(way, config, |settings| {
        settings.initial_window_size(64 * KIB as u32);
    })
    .await;
    let (mut call, far) = path.open().await;
    call.head().await;
    pour_back(&path, &far, &mut Source::new(MESSAGE), total).await
}

/// The receiving end's own window W_i: the library's reader has none.
fn own_window(way: Way) -> usize {
    if way == Way::Library { 0 } else { WINDOW }
}

/// By how much two stalls of one path may differ, in bytes: window that was earned is given back once it is
/// half of what there is, at each hop, so that much may be owed when all stands still.
fn owed_max() -> usize {
    let config = fixed();
    (config.client_window + config.tunnel.call_window) as usize / 2
}

/// Proves: ZB-2
#[tokio::test]
async fn a_stalled_reader_leaves_at_most_the_declared_bound_in_flight() {
    let bound = fixed().bound().fixed;
    for way in [Way::Library, Way::Agent] {
        for size in [MESSAGE, 1 << 20, 5] {
            let taken = upload(way, fixed(), size, STREAM).await;
            eprintln!("upload {way:?}, messages of {size} B: {taken} B in flight, B = {bound}");
            assert!(taken > 0, "something is under way");
            assert!(
                taken <= bound + own_window(way),
                "{way:?}: {taken} B of messages of {size} B exceed {bound}"
            );
        }
    }
}

/// Proves: ZB-2
#[tokio::test]
async fn what_is_in_flight_does_not_depend_on_the_length_of_the_stream() {
    for way in [Way::Library, Way::Agent] {
        let short = upload(way, fixed(), MESSAGE, STREAM).await;
        let long = upload(way, fixed(), MESSAGE, 10 * STREAM).await;
        assert!(
            long.abs_diff(short) <= owed_max(),
            "{way:?}: {short} B of a stream, {long} B of one ten times as long"
        );
    }
}

/// Proves: ZB-2
#[tokio::test]
async fn without_credit_the_same_stream_exceeds_the_bound() {
    let bound = fixed().bound().fixed;
    let without = || GatewayConfig {
        tunnel: TunnelConfig {
            call_window: i32::MAX as u32,
            call_window_max: i32::MAX as u32,
            ..TunnelConfig::default()
        },
        ..GatewayConfig::default()
    };
    let enough = 16 * bound;
    for way in [Way::Library, Way::Agent] {
        let taken = upload(way, without(), MESSAGE, enough).await;
        assert_eq!(taken, enough, "{way:?}: nothing stops an upload");
        let left = download(way, without(), enough).await;
        assert!(left >= enough, "{way:?}: nothing stops a download");
    }
}

/// Proves: ZB-2
#[tokio::test]
async fn gateway_and_agent_add_little_to_a_direct_connection() {
    let direct = upload(Way::Direct, fixed(), MESSAGE, STREAM).await;
    assert_eq!(
        direct, WINDOW,
        "a direct connection takes the server's window"
    );
    let routed = upload(Way::Agent, fixed(), MESSAGE, STREAM).await;
    eprintln!("upload: direct {direct} B, gateway + agent {routed} B");
    assert!(routed <= direct + ADDED_MAX, "upload: {routed} B");

    let direct = download(Way::Direct, fixed(), STREAM).await;
    assert_eq!(
        direct,
        64 * KIB,
        "a direct connection takes the client's window"
    );
    let routed = download(Way::Agent, fixed(), STREAM).await;
    eprintln!("download: direct {direct} B, gateway + agent {routed} B");
    assert!(routed <= direct + ADDED_MAX, "download: {routed} B");
}

/// Proves: ZB-2
#[tokio::test]
async fn at_most_24_messages_leave_a_handler_whose_client_takes_64_kib() {
    for way in [Way::Library, Way::Agent] {
        let left = download(way, fixed(), STREAM).await;
        // One that left in part counts.
        let messages = left.div_ceil(MESSAGE + 5);
        eprintln!("download {way:?}: {left} B, {messages} messages of 16 KiB left the handler");
        assert!(messages <= 24, "{way:?}: {messages} messages left");
    }
}

/// Proves: Z9
#[tokio::test]
async fn tiny_messages_to_a_handler_that_never_reads_cost_no_sibling_its_connection() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let bound = path.bound();
        let (mut call, far) = path.open().await;
        // Each message in a DATA frame of its own, as a client that flushes would send it.
        let mut source = Source::new(5);
        let taken = pour(&path, &mut call, &mut source, 13_000 * 10).await;
        assert!(taken <= bound + own_window(way), "{way:?}: {taken} B");
        // And on, until nothing more is taken.
        let more = pour(&path, &mut call, &mut source, 10 * bound).await;
        let taken = taken + more;
        eprintln!("tiny messages {way:?}: {taken} B taken");
        assert!(taken <= bound + own_window(way), "{way:?}: {taken} B");
        assert_eq!(far.read(), 0, "the handler read nothing");
        // No GOAWAY: the connection and the tunnel take new calls, and the stalled one is still there.
        path.siblings(100).await;
        resume(&mut Source::new(5), &far, taken).await;
        call.half_close();
        far.finish().await;
        let answer = call.answer().await;
        assert_eq!(text(&answer.trailers, "grpc-status"), "0");
    }
}

/// The reader reads after all, and finds everything.
async fn resume(source: &mut Source, far: &FarCall, bytes: usize) {
    let read: Bytes = far.take(bytes).await;
    assert!(read == source.take(bytes), "all bytes, in order");
}
