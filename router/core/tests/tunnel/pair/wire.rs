//! Frames as prost sees them, so that the hand-written codec is not its own witness.

use bytes::{BufMut, Bytes, BytesMut};
use grpcrouter_core::{Gateway, Instance, Time};
use grpcrouter_proto::v1::{self, register_request, register_response};
use prost::Message;

pub(crate) const OPEN: u32 = 1;
pub(crate) const HEAD: u32 = 1;
pub(crate) const HALF_CLOSE: u32 = 2;
pub(crate) const COMPLETE: u32 = 2;
pub(crate) const RESET: u32 = 4;
pub(crate) const REFUSED: u32 = 8;

/// What of a frame the tests ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) sent_at: Time,
    /// Length in bytes of the batch that it left in.
    pub(crate) batch: usize,
    /// `call`, or which control frame.
    pub(crate) what: &'static str,
    pub(crate) id: u64,
    pub(crate) flags: u32,
    pub(crate) seq: u32,
    pub(crate) window: u32,
    /// Length in bytes.
    pub(crate) data: usize,
    pub(crate) reset_code: u32,
    pub(crate) status: u32,
}

impl Wire {
    fn control(sent_at: Time, batch: usize, what: &'static str) -> Self {
        Self {
            sent_at,
            batch,
            what,
            id: 0,
            flags: 0,
            seq: 0,
            window: 0,
            data: 0,
            reset_code: 0,
            status: 0,
        }
    }

    /// The flags and the length of the data, for people.
    pub(crate) fn shown(&self, names: [&str; 4]) -> String {
        let mut parts = Vec::new();
        for (bit, name) in names.into_iter().enumerate() {
            if self.flags >> bit & 1 == 1 {
                parts.push(name.to_owned());
            }
        }
        if self.data > 0 {
            parts.push(format!("data {} (seq {})", self.data, self.seq));
        }
        if self.window > 0 {
            parts.push(format!("credit {}", self.window));
        }
        parts.join(" + ")
    }
}

/// How a role's own frames are read.
pub(crate) trait Peek {
    fn peek(sent_at: Time, batch: usize, body: Bytes) -> Wire;
}

impl Peek for Gateway {
    fn peek(sent_at: Time, batch: usize, body: Bytes) -> Wire {
        use register_response::Frame;
        let message = v1::RegisterResponse::decode(body).expect("what we send decodes");
        let control = |what| Wire::control(sent_at, batch, what);
        match message.frame.expect("no empty frames are sent") {
            Frame::Ack(_) => control("ack"),
            Frame::Heartbeat(_) => control("heartbeat"),
            Frame::Drain(_) => control("drain"),
            Frame::Error(_) => control("error"),
            Frame::DescriptorRequest(_) => control("descriptor_request"),
            Frame::RpcCall(call) => Wire {
                id: call.request_id,
                flags: call.flags,
                seq: call.seq,
                window: call.window,
                data: call.data.len(),
                reset_code: call.reset_code,
                ..control("call")
            },
        }
    }
}

impl Peek for Instance {
    fn peek(sent_at: Time, batch: usize, body: Bytes) -> Wire {
        use register_request::Frame;
        let message = v1::RegisterRequest::decode(body).expect("what we send decodes");
        let control = |what| Wire::control(sent_at, batch, what);
        match message.frame.expect("no empty frames are sent") {
            Frame::InstanceInfo(_) => control("instance_info"),
            Frame::Heartbeat(_) => control("heartbeat"),
            Frame::Unregister(_) => control("unregister"),
            Frame::DescriptorChunk(chunk) => Wire {
                data: chunk.data.len(),
                ..control("descriptor_chunk")
            },
            Frame::RpcResponse(response) => Wire {
                id: response.request_id,
                flags: response.flags,
                seq: response.seq,
                window: response.window,
                data: response.data.len(),
                reset_code: response.reset_code,
                status: response.status,
                ..control("call")
            },
        }
    }
}

/// A message with its prefix.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("a test's frame"));
    message.encode(&mut bytes).expect("a BytesMut grows");
    bytes.freeze()
}
