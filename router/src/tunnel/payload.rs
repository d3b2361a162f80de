//! What is handed to HTTP/2: a call's bytes, or a tunnel's batch.

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use grpcrouter_core::tunnel::Batch;

/// One type for both, because a connection may carry calls and tunnels.
#[derive(Debug)]
pub(crate) enum Payload {
    One(Bytes),
    Many(Batch),
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Many(batch) => batch.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(batch) => batch.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::One(bytes) => bytes.chunks_vectored(slices),
            Self::Many(batch) => batch.chunks_vectored(slices),
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::One(bytes) => bytes.advance(n),
            Self::Many(batch) => batch.advance(n),
        }
    }
}
