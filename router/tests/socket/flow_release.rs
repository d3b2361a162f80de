//! Back-pressure as the sender feels it: it stops, it is released as the reader reads, and nothing stays
//! behind.

use futures_util::FutureExt;
use tokio::time::{Duration, timeout};

use crate::support::far::{Path, Way, fixed};
use crate::support::server::WINDOW;
use crate::support::source::{Source, pour};
use crate::support::{until, within};

const KIB: usize = 1024;
const MESSAGE: usize = 16 * KIB;
const STREAM: usize = 2_000 * MESSAGE;

/// Proves: ZB-3
#[tokio::test]
async fn a_stopped_sender_stays_stopped_until_its_reader_reads() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let (mut call, far) = path.open().await;
        let mut source = Source::new(MESSAGE);
        pour(&path, &mut call, &mut source, STREAM).await;
        // Three seconds of siblings going by, and not one byte of window.
        let stopped = async {
            while call.room(1).now_or_never().is_none() {
                path.siblings(1).await;
            }
        };
        let stopped = timeout(Duration::from_secs(3), stopped).await;
        assert!(stopped.is_err(), "{way:?}: window without a reader");
        assert_eq!(far.read(), 0);
    }
}

/// Proves: ZB-3
#[tokio::test]
async fn a_reader_that_reads_releases_its_sender_and_no_more_than_it_read() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let window = fixed().client_window as usize;
        let bound = path.bound();
        let (mut call, far) = path.open().await;
        let mut source = Source::new(MESSAGE);
        let stalled = pour(&path, &mut call, &mut source, STREAM).await;
        // In small steps, so that the moment of release is seen.
        let mut moved = 0;
        while call.room(1).now_or_never().is_none() {
            assert!(
                far.read() <= bound,
                "{way:?}: {} B read and the sender still waits",
                far.read()
            );
            far.take(KIB).await;
            // What the reading sets off crosses the path before these siblings do.
            path.siblings(3).await;
        }
        let released_at = far.read();
        moved += pour(&path, &mut call, &mut source, STREAM).await;
        eprintln!(
            "{way:?}: stopped at {stalled} B, released after {released_at} B, then {moved} B"
        );
        assert!(
            moved <= far.read() + window,
            "{way:?}: {moved} B more for {} B read",
            far.read()
        );
        // And again after a large step: between k - B and k + W_c.
        let read = far.read();
        let sending = pour(&path, &mut call, &mut source, STREAM);
        let (_, more) = tokio::join!(far.take(4 * bound), sending);
        let k = far.read() - read;
        assert!(more + bound >= k, "{way:?}: {more} B for {k} B read");
        assert!(more <= k + window, "{way:?}: {more} B for {k} B read");
    }
}

/// Proves: ZB-6
#[tokio::test]
async fn a_reader_that_resumes_gets_all_bytes_in_order_and_nothing_stays_behind() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let (mut call, far) = path.open().await;
        let mut source = Source::new(MESSAGE + 1);
        let sent = pour(&path, &mut call, &mut source, STREAM).await;
        let mut read = Source::new(MESSAGE + 1);
        assert!(
            far.take(sent).await == read.take(sent),
            "all bytes, in order"
        );
        assert_eq!(far.read(), sent, "{way:?}: nothing is in flight any more");
        // Both go on together, and end together.
        let rest = 4 * fixed().bound().fixed;
        let mut call = tokio::join!(far.take(rest), async {
            assert_eq!(pour(&path, &mut call, &mut source, rest).await, rest);
            call.half_close();
            call
        });
        assert!(call.0 == read.take(rest), "all bytes, in order");
        assert_eq!(far.take(1).await.len(), 0, "the end, and nothing before it");
        far.finish().await;
        call.1.head().await;
        assert!(call.1.message().await.is_none());
        assert_eq!(call.1.trailers().await["grpc-status"], "0");
        path.world.as_ref().expect("a gateway").quiet().await;
    }
}

/// Proves: ZB-6
#[tokio::test]
async fn after_a_cancel_nothing_more_is_delivered() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let (mut call, far) = path.open().await;
        pour(&path, &mut call, &mut Source::new(MESSAGE), STREAM).await;
        far.take(KIB).await;
        let read = far.read();
        call.reset();
        far.cancelled().await;
        path.world.as_ref().expect("a gateway").quiet().await;
        path.siblings(10).await;
        assert_eq!(far.read(), read, "{way:?}: read after the cancel");
    }
}

/// Proves: Z10
#[tokio::test]
async fn window_comes_back_for_bytes_that_moved_on_and_for_no_others() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let window = fixed().client_window as usize;
        let own = if way == Way::Agent { WINDOW } else { 0 };
        // What the path beyond the client's window holds before anything is read.
        let beyond = fixed().tunnel.call_window as usize + own;
        let (mut call, far) = path.open().await;
        let mut source = Source::new(MESSAGE);
        // Granted so far: what went out, less the window that was there at first.
        let mut granted = pour(&path, &mut call, &mut source, STREAM).await - window;
        assert!(granted <= beyond, "{way:?}: {granted} B granted on receipt");
        for _ in 0..20 {
            far.take(37 * KIB).await;
            granted += pour(&path, &mut call, &mut source, STREAM).await;
            let moved_on = far.read() + beyond;
            assert!(granted <= moved_on, "{way:?}: {granted} B for {moved_on} B");
            assert!(
                moved_on - granted <= window / 2 + beyond / 2,
                "{way:?}: {granted} B for {moved_on} B"
            );
        }
    }
}

/// Proves: ZB-6
#[tokio::test]
async fn a_download_whose_client_resumes_is_whole() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let (mut call, far) = path.open().await;
        call.head().await;
        let (mut source, mut read) = (Source::new(MESSAGE), Source::new(MESSAGE));
        // More than the path and the client's window hold.
        let total = 4 << 20;
        let given = far.begin_give(source.take(total)).await;
        until("the path is full", || far.sent() > 0 || way == Way::Library).await;
        path.siblings(100).await;
        let mut got = 0;
        while got < total {
            let data = call.data().await.expect("more").expect("the call goes on");
            assert!(data == read.take(data.len()), "all bytes, in order");
            got += data.len();
        }
        within("the far end's sending", given).await.expect("sent");
        far.finish().await;
        assert!(call.data().await.is_none(), "nothing after the last byte");
        assert_eq!(call.trailers().await["grpc-status"], "0");
    }
}
