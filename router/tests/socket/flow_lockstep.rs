//! Immediacy: what is sent arrives, whatever is or is not sent after it.

use bytes::Bytes;

use crate::support::far::{Path, Way};
use crate::support::framed;
use crate::support::source::Source;

/// From nothing to 1 MiB, around every size at which something could wait for more.
const SIZES: [usize; 12] = [
    0,
    1,
    5,
    100,
    4_091,
    4_096,
    16_379,
    16_384,
    65_535,
    81_920,
    262_144,
    1 << 20,
];
const ROUNDS: usize = 1_000;

/// The sizes of the rounds: all of them, mostly small ones, so that a run moves some hundred megabytes.
fn sizes() -> impl Iterator<Item = usize> {
    (0..ROUNDS).map(|round| {
        if round.is_multiple_of(10) {
            SIZES[round / 10 % SIZES.len()]
        } else {
            SIZES[round % 7]
        }
    })
}

/// Proves: ZB-1
#[tokio::test]
async fn each_message_up_is_read_before_the_next_is_sent() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let (mut call, far) = path.open().await;
        for size in sizes() {
            let message = vec![7; size];
            // The reader is there while the sender sends: a message may be larger than all windows.
            let (read, ()) = tokio::join!(far.message(), call.send(&message));
            assert!(read == message, "{way:?}: a message of {size} B");
        }
        call.half_close();
        assert_eq!(far.take(1).await.len(), 0, "the end of a client stream");
    }
}

/// Proves: ZB-1
#[tokio::test]
async fn each_message_down_is_read_before_the_next_is_sent() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let (mut call, far) = path.open().await;
        // A server stream: the request is over before the first message.
        call.send(b"begin").await;
        call.half_close();
        assert_eq!(far.message().await, b"begin"[..]);
        call.head().await;
        for size in sizes() {
            let message = vec![7; size];
            let (read, ()) = tokio::join!(call.message(), far.give(framed(&message)));
            assert!(
                read.is_some_and(|read| read == message),
                "{way:?}: {size} B"
            );
        }
    }
}

/// Proves: ZB-1
#[tokio::test]
async fn a_bidi_call_in_lock_step_never_waits_for_more() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let (mut call, far) = path.open().await;
        call.head().await;
        for size in sizes() {
            let message = vec![7; size];
            let (read, ()) = tokio::join!(far.message(), call.send(&message));
            let ((), answer) = tokio::join!(far.give(framed(&read)), call.message());
            assert!(
                answer.is_some_and(|answer| answer == message),
                "{way:?}: {size} B"
            );
        }
    }
}

/// Proves: ZB-1
#[tokio::test]
async fn unary_calls_in_lock_step_never_wait_for_more() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        for size in sizes() {
            let message = vec![7; size];
            let (mut call, far) = path.open().await;
            // The handler has the message while the client has not yet half-closed.
            let (read, ()) = tokio::join!(far.message(), call.send(&message));
            call.half_close();
            let answer = async {
                far.give(framed(&read)).await;
                far.finish().await;
            };
            let ((), answer) = tokio::join!(answer, call.answer());
            assert!(
                answer.messages == [Bytes::from(message)],
                "{way:?}: {size} B"
            );
            assert_eq!(answer.status(), 0);
        }
    }
}

/// Proves: ZB-1
#[tokio::test]
async fn half_of_a_large_message_arrives_before_the_other_half_is_sent() {
    for way in [Way::Library, Way::Agent] {
        let mut path = Path::start(way).await;
        let (mut call, far) = path.open().await;
        let mut source = Source::new(16 << 20);
        let (first, second) = (source.take(8 << 20), source.take((8 << 20) + 5));
        let (read, ()) = tokio::join!(far.take(first.len()), call.send_raw(first.clone()));
        assert!(read == first, "{way:?}: the first half is at the handler");
        let (read, ()) = tokio::join!(far.take(second.len()), call.send_raw(second.clone()));
        assert!(read == second, "{way:?}: and then the second");

        call.head().await;
        for half in [first, second] {
            let reading = async {
                let mut read = Vec::new();
                while read.len() < half.len() {
                    let data = call.data().await.expect("more");
                    read.extend_from_slice(&data.expect("the call goes on"));
                }
                read
            };
            let (read, ()) = tokio::join!(reading, far.give(half.clone()));
            assert!(
                read == half,
                "{way:?}: half is at the client before the rest is sent"
            );
        }
    }
}
