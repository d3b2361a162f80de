//! Frames that come after the end of their call: how many are borne.

use bytes::Bytes;
use grpcrouter_core::{Config, TunnelError};
use grpcrouter_proto::v1::RpcResponse;

use crate::hostile::part;
use crate::pair::{COMPLETE, HEAD, Pair};

/// Proves: S3
#[test]
fn calls_cancelled_together_with_full_windows_of_tiny_frames_do_not_end_the_tunnel() {
    let mut pair = Pair::new();
    let calls: Vec<_> = (0..64).map(|_| pair.opened()).collect();
    for call in &calls {
        pair.gateway.tunnel.release(call.gateway);
    }
    // Each instance's handler had sent empty messages, each in a frame of its own, up to its credit.
    let messages = Config::default().call_window / 5;
    for call in &calls {
        for seq in 0..messages {
            let flags = if seq == 0 { HEAD } else { 0 };
            pair.response(part(call.gateway.to_bits(), flags, seq, &[0; 5]));
        }
        pair.response(part(call.gateway.to_bits(), COMPLETE, 0, b""));
    }
    assert_eq!(pair.gateway.closed, None, "over a million late frames");
}

/// Proves: S3
#[test]
fn frames_past_the_credit_of_a_call_that_was_cancelled_are_breaches() {
    let mut pair = Pair::new();
    let call = pair.opened();
    pair.gateway.tunnel.release(call.gateway);
    let id = call.gateway.to_bits();
    let window = Config::default().call_window;
    // Whole chunks use up the credit and what is borne beyond it.
    for seq in 0..=window / 16_384 {
        pair.response(RpcResponse {
            request_id: id,
            seq,
            data: Bytes::from(vec![0; 16_384]),
            ..RpcResponse::default()
        });
    }
    for seq in 0..62 {
        pair.response(part(id, 0, seq, b"x"));
    }
    assert_eq!(pair.gateway.closed, None, "63 are borne");
    pair.response(part(id, 0, 0, b"x"));
    assert_eq!(pair.gateway.closed, Some(TunnelError::TooManyBreaches(64)));
}
