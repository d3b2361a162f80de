//! The outer message of each direction: hot frames by hand, control by prost.

use bytes::{Bytes, BytesMut};
use grpcrouter_proto::v1::{
    RegisterRequest, RegisterResponse, register_request, register_response,
};
use prost::Message;

use super::{
    CallFrame, DecodeError, Frame, Head, Limits, Open, Part, RPC_FIELD, ResponseFrame, Trailers,
    decode::Draft, encode, wire::Fields,
};

/// What one message on a tunnel is.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound<F, C> {
    /// A frame of a call.
    Hot(F),
    /// Everything else; never the hot variant of the `oneof`.
    Control(C),
    /// Nothing that this revision knows: to be ignored, so that later ones may add messages.
    Unknown,
}

/// What one message of the direction `D` is.
pub type InboundOf<D> =
    Inbound<Frame<<D as Direction>::Start, <D as Direction>::End>, <D as Direction>::Control>;

/// One direction of a tunnel, and what its messages are made of.
pub trait Direction {
    /// What begins a call in this direction.
    type Start: Part;
    /// What ends a call in this direction.
    type End: Part;
    /// The control frames.
    type Control;

    /// The numbers of the control frames in the `oneof`.
    #[doc(hidden)]
    const CONTROL_FIELDS: &'static [u32];

    /// Decodes a whole message by prost.
    #[doc(hidden)]
    fn decode_control(body: Bytes) -> Result<Option<Self::Control>, prost::DecodeError>;
}

/// Instance to gateway: `RegisterRequest`.
#[derive(Debug, Clone, Copy)]
pub enum ToGateway {}

/// Gateway to instance: `RegisterResponse`.
#[derive(Debug, Clone, Copy)]
pub enum ToInstance {}

/// Decodes one message body of the direction `D`.
///
/// # Errors
/// The peer's fault either way, and who ends: see [`DecodeError`].
pub fn decode<D: Direction>(body: Bytes, limits: &Limits) -> Result<InboundOf<D>, DecodeError> {
    enum Last<H> {
        Hot(H),
        Control,
        Unknown,
    }
    // Of a oneof the last field counts, and a message that comes in pieces is merged.
    let mut last = Last::Unknown;
    for field in Fields::new(&body) {
        let (number, value) = field?;
        if number == RPC_FIELD {
            let message = value.bytes()?;
            if !matches!(last, Last::Hot(_)) {
                last = Last::Hot(Draft::<D::Start, D::End>::new(limits));
            }
            if let Last::Hot(draft) = &mut last {
                draft.merge(&body, message)?;
            }
        } else if D::CONTROL_FIELDS.contains(&number) {
            last = Last::Control;
        }
    }
    match last {
        Last::Hot(draft) => draft.finish().map(Inbound::Hot),
        Last::Control => match D::decode_control(body) {
            Ok(Some(control)) => Ok(Inbound::Control(control)),
            Ok(None) => Ok(Inbound::Unknown),
            Err(_) => Err(DecodeError::Malformed("a control frame")),
        },
        Last::Unknown => Ok(Inbound::Unknown),
    }
}

/// Decodes the body of a `RegisterRequest`, which a gateway receives.
///
/// # Errors
/// As [`decode`].
pub fn decode_request(
    body: Bytes,
    limits: &Limits,
) -> Result<Inbound<ResponseFrame, register_request::Frame>, DecodeError> {
    decode::<ToGateway>(body, limits)
}

/// Decodes the body of a `RegisterResponse`, which an instance receives.
///
/// # Errors
/// As [`decode`].
pub fn decode_response(
    body: Bytes,
    limits: &Limits,
) -> Result<Inbound<CallFrame, register_response::Frame>, DecodeError> {
    decode::<ToInstance>(body, limits)
}

/// Appends a control message, a whole `RegisterRequest` or `RegisterResponse`, with its prefix.
///
/// # Panics
/// If the message is 4 GiB or longer; `max_frame` is far below that.
pub fn encode_control(out: &mut BytesMut, message: &impl Message) {
    let len = message.encoded_len();
    out.reserve(super::PREFIX_LEN + len);
    encode::put_prefix(out, len);
    message.encode(out).expect("a BytesMut grows");
}

impl Direction for ToGateway {
    type Start = Head;
    type End = Trailers;
    type Control = register_request::Frame;

    const CONTROL_FIELDS: &'static [u32] = &[1, 2, 3, 5];

    fn decode_control(body: Bytes) -> Result<Option<Self::Control>, prost::DecodeError> {
        RegisterRequest::decode(body).map(|message| message.frame)
    }
}

impl Direction for ToInstance {
    type Start = Open;
    type End = ();
    type Control = register_response::Frame;

    const CONTROL_FIELDS: &'static [u32] = &[1, 2, 3, 5, 6];

    fn decode_control(body: Bytes) -> Result<Option<Self::Control>, prost::DecodeError> {
        RegisterResponse::decode(body).map(|message| message.frame)
    }
}
