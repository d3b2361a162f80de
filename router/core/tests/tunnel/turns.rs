//! What was read is taken in by and by.

use bytes::{Buf, Bytes};
use grpcrouter_core::Key;

use crate::pair::Pair;

const CALLS: usize = 5;

/// Calls that have been answered, and the answers' bytes, which the gateway has not read.
fn answered() -> (Pair, Vec<Key>, Bytes) {
    let mut pair = Pair::new();
    let keys = (0..CALLS).map(|_| pair.open("a request", true)).collect();
    pair.drive();
    for _ in 0..CALLS {
        let (instance, _) = pair.incoming();
        pair.answer(instance, "an answer");
    }
    let batch = pair.instance.tunnel.poll_transmit(pair.time);
    let mut batch = batch.expect("answers");
    let bytes = batch.copy_to_bytes(batch.remaining());
    (pair, keys, bytes)
}

#[test]
fn no_more_is_taken_in_once_so_many_events_wait() {
    let (mut pair, keys, bytes) = answered();
    let mut rest = pair.gateway.tunnel.handle_some(pair.time, bytes, 2);
    let mut told = Vec::new();
    loop {
        pair.gateway.step(pair.time);
        told.push(pair.gateway.readable.len());
        if !rest {
            break;
        }
        rest = pair.gateway.tunnel.handle_rest(pair.time, 2);
    }
    // Of each, that there is an answer, and that it is over.
    assert_eq!(told, [1, 2, 3, 4, 5], "calls that were told of");
    for key in keys {
        assert!(pair.gateway.read(key).ended());
    }
    assert!(
        !pair.gateway.tunnel.handle_rest(pair.time, 2),
        "all is read"
    );
}

#[test]
fn all_that_came_is_taken_in_before_the_transports_end() {
    let (mut pair, keys, bytes) = answered();
    assert!(pair.gateway.tunnel.handle_some(pair.time, bytes, 1));
    pair.gateway.tunnel.handle_end(pair.time, "reset by peer");
    pair.gateway.step(pair.time);
    for key in keys {
        let outcome = pair.gateway.read(key);
        assert_eq!(outcome.fault(), None);
        assert!(outcome.ended(), "its answer had come: {outcome:?}");
    }
}

#[test]
fn a_tunnel_that_ends_by_itself_forgets_what_it_has_not_taken_in() {
    let (mut pair, keys, bytes) = answered();
    assert!(pair.gateway.tunnel.handle_some(pair.time, bytes, 1));
    pair.gateway
        .tunnel
        .refuse(10, "superseded", "another took its place");
    assert!(!pair.gateway.tunnel.handle_rest(pair.time, usize::MAX));
    pair.gateway.step(pair.time);
    let lost = keys
        .iter()
        .filter(|key| pair.gateway.read(**key).fault().is_some());
    assert_eq!(lost.count(), CALLS - 1);
}
