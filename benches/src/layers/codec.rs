//! The two frames of a unary call, written and read.

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use grpcrouter_core::frame::{
    Flags, FrameHeader, Inbound, Limits, PREFIX_LEN, RPC_FIELD, decode_request, decode_response,
    encode_head, encode_open, encode_trailers, write_frame,
};
use http::HeaderMap;

use super::{message, ok_trailers, request_headers};

/// OPEN + data + HALF_CLOSE: a whole request of 100 bytes.
pub struct CallCodec {
    headers: HeaderMap,
    data: Bytes,
    fields: BytesMut,
    out: BytesMut,
    body: Bytes,
}

/// HEAD + data + COMPLETE: a whole response of 100 bytes.
pub struct ResponseCodec {
    headers: HeaderMap,
    trailers: HeaderMap,
    data: Bytes,
    fields: BytesMut,
    out: BytesMut,
    body: Bytes,
}

impl Default for CallCodec {
    fn default() -> Self {
        let mut codec = Self {
            headers: request_headers(),
            data: message(100),
            fields: BytesMut::new(),
            out: BytesMut::new(),
            body: Bytes::new(),
        };
        codec.encode();
        codec.body = Bytes::copy_from_slice(&codec.out[PREFIX_LEN..]);
        codec
    }
}

impl CallCodec {
    /// Writes it into a buffer that was used before: its length.
    pub fn encode(&mut self) -> usize {
        self.fields.clear();
        self.out.clear();
        let timeout = Some(Duration::from_secs(10));
        let method = black_box("/bench.v1.Bench/Unary");
        encode_open(
            &mut self.fields,
            method,
            "127.0.0.1:50051",
            timeout,
            None,
            &self.headers,
        );
        let flags = Flags::OPEN | Flags::HALF_CLOSE;
        put(&mut self.out, flags, &self.fields, &self.data)
    }

    /// Reads what was written.
    ///
    /// # Panics
    /// If it is not what was written.
    pub fn decode(&self) {
        match decode_response(black_box(self.body.clone()), &Limits::default()) {
            Ok(Inbound::Hot(frame)) => assert_eq!(black_box(frame).data.len(), self.data.len()),
            other => panic!("what was written does not decode: {other:?}"),
        }
    }
}

impl Default for ResponseCodec {
    fn default() -> Self {
        let mut codec = Self {
            headers: HeaderMap::new(),
            trailers: ok_trailers(),
            data: message(100),
            fields: BytesMut::new(),
            out: BytesMut::new(),
            body: Bytes::new(),
        };
        codec.encode();
        codec.body = Bytes::copy_from_slice(&codec.out[PREFIX_LEN..]);
        codec
    }
}

impl ResponseCodec {
    /// As [`CallCodec::encode`].
    pub fn encode(&mut self) -> usize {
        self.fields.clear();
        self.out.clear();
        encode_head(&mut self.fields, None, black_box(&self.headers));
        encode_trailers(&mut self.fields, &self.trailers);
        let flags = Flags::HEAD | Flags::COMPLETE;
        put(&mut self.out, flags, &self.fields, &self.data)
    }

    /// As [`CallCodec::decode`].
    ///
    /// # Panics
    /// If it is not what was written.
    pub fn decode(&self) {
        match decode_request(black_box(self.body.clone()), &Limits::default()) {
            Ok(Inbound::Hot(frame)) => assert_eq!(black_box(frame).data.len(), self.data.len()),
            other => panic!("what was written does not decode: {other:?}"),
        }
    }
}

fn put(out: &mut BytesMut, flags: Flags, fields: &[u8], data: &[u8]) -> usize {
    let header = FrameHeader {
        id: 0x0000_0007_0000_0001,
        flags,
        ..FrameHeader::default()
    };
    write_frame(out, RPC_FIELD, &header, fields, data.len());
    out.extend_from_slice(data);
    black_box(out.len())
}
