//! The layers of a call one by one, without sockets or a runtime: for the benchmarks of `benches/benches`, and for
//! counting instructions.

mod codec;
mod pair;
mod picks;

pub use codec::{CallCodec, ResponseCodec};
pub use pair::Pair;
pub use picks::Picks;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The metadata of an ordinary call: what tonic's client sends beside what is reserved, and one header of a user's.
fn request_headers() -> HeaderMap {
    headers(&[
        ("user-agent", "tonic/0.14.9"),
        ("x-request-id", "5f3c9a1e-7d0b-4c55-9a57-2f0f4b1c8e11"),
    ])
}

/// The trailers of a call that went well.
fn ok_trailers() -> HeaderMap {
    headers(&[("grpc-status", "0")])
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    pairs.collect()
}

/// One gRPC message of `size` bytes with its prefix, as it travels.
///
/// # Panics
/// If it is 4 GiB or longer.
fn message(size: usize) -> bytes::Bytes {
    let len = u32::try_from(size).expect("a benchmark's message");
    let mut bytes = vec![0];
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend((0..size).map(|i| (i % 251) as u8));
    bytes.into()
}
