//! Nonsense on the wire: neither end panics, whatever it reads.

use bytes::Bytes;
use grpcrouter_core::Config;
use grpcrouter_proto::v1::{RpcCall, RpcResponse};
use proptest::prelude::*;

use crate::pair::Pair;

proptest! {
    /// Proves: S22
    #[test]
    fn random_bytes_never_panic_either_side(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        registered in any::<bool>(),
    ) {
        let mut pair = Pair::unregistered(Config::default(), Config::default());
        if registered {
            pair.drive();
        }
        for chunk in chunks {
            pair.gateway.tunnel.handle_bytes(pair.time, chunk.clone().into());
            pair.instance.tunnel.handle_bytes(pair.time, chunk.into());
            pair.drive();
        }
    }

    /// Proves: S22
    #[test]
    fn well_formed_nonsense_never_panics_either_side(
        frames in prop::collection::vec(
            (0u64..4, 1u64..4, 0u32..16, 0u32..4, 0usize..20_000, any::<u32>(), any::<bool>()),
            0..40,
        ),
    ) {
        let mut pair = Pair::new();
        let calls = [pair.opened(), pair.opened(), pair.opened()];
        for (slot, generation, flags, seq, len, number, small) in frames {
            let (window, data) = match small {
                true => (number % 1000, Bytes::from(vec![0; len])),
                false => (number, Bytes::new()),
            };
            let request_id = generation << 32 | slot;
            pair.response(RpcResponse {
                request_id, flags, seq, window, status: number, data: data.clone(),
                ..RpcResponse::default()
            });
            let method = "/a/b".into();
            pair.call(RpcCall {
                request_id, flags, seq, window, data, method, timeout_us: number.into(),
                ..RpcCall::default()
            });
        }
        pair.drive();
        for call in calls {
            pair.gateway.read(call.gateway);
            pair.instance.read(call.instance);
            pair.gateway.tunnel.release(call.gateway);
            pair.instance.tunnel.release(call.instance);
        }
        pair.drive();
    }
}
