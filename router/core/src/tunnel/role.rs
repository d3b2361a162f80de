//! The two ends of a tunnel, as types.

use bytes::Bytes;
use grpcrouter_proto::v1::{self, Heartbeat, register_request, register_response};

use crate::error::TunnelError;
use crate::frame::{self, DecodeError, Head, Inbound, Open, Trailers};
use crate::table::Key;
use crate::time::Time;

use super::places::push;
use super::{Event, Tunnel};

/// What differs between the two ends: which frames come in, and what they are called.
///
/// The rules of a call are the same for both, and written once.
pub trait Role: Sized + sealed::Sealed {
    /// The START that comes in: OPEN at an instance, HEAD at a gateway.
    type Start: std::fmt::Debug;
    /// The END that comes in: HALF_CLOSE at an instance, COMPLETE at a gateway.
    type End: std::fmt::Debug;
    /// Control frames that come in.
    type Control;
    /// Events of this role alone.
    type Event: std::fmt::Debug;
    /// Whether this side's END ends the call, or the peer's.
    const RESPONDS: bool;
    /// Whether this side leaves its heartbeats out while the peer sends its own.
    const YIELDS: bool;

    #[doc(hidden)]
    fn decode(body: Bytes, limits: &frame::Limits) -> Decoded<Self>;
    #[doc(hidden)]
    fn heartbeat(tunnel: &mut Tunnel<Self>, heartbeat: Heartbeat);
    #[doc(hidden)]
    fn on_control(
        tunnel: &mut Tunnel<Self>,
        now: Time,
        control: Self::Control,
    ) -> Result<(), TunnelError>;
    /// The call that a frame is for; none when the frame is to be ignored.
    #[doc(hidden)]
    fn find(
        tunnel: &mut Tunnel<Self>,
        now: Time,
        frame: &mut frame::Frame<Self::Start, Self::End>,
    ) -> Result<Option<Key>, TunnelError>;
    /// The tunnel ended for a fault: tells the peer, where the protocol has a frame for it.
    #[doc(hidden)]
    fn farewell(tunnel: &mut Tunnel<Self>, error: &TunnelError);
    /// The caller takes this event.
    #[doc(hidden)]
    fn complete_event(_: &mut Tunnel<Self>, _: &mut Self::Event) {}
    /// Time passed: descriptors that are overdue are given up.
    #[doc(hidden)]
    fn give_up_descriptors(_: &mut Tunnel<Self>, _: Time) {}
    /// The call's deadline passed: tells the peer.
    #[doc(hidden)]
    fn expire(tunnel: &mut Tunnel<Self>, id: u64);
}

type Decoded<R> = Result<
    Inbound<frame::Frame<<R as Role>::Start, <R as Role>::End>, <R as Role>::Control>,
    DecodeError,
>;

/// The end that opens calls.
#[derive(Debug)]
pub enum Gateway {}

/// The end that answers them.
#[derive(Debug)]
pub enum Instance {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Gateway {}
    impl Sealed for super::Instance {}
}

impl Role for Gateway {
    type Start = Head;
    type End = Trailers;
    type Control = register_request::Frame;
    type Event = super::gateway::GatewayEvent;
    const RESPONDS: bool = false;
    const YIELDS: bool = false;

    fn decode(body: Bytes, limits: &frame::Limits) -> Decoded<Self> {
        frame::decode_request(body, limits)
    }

    fn heartbeat(tunnel: &mut Tunnel<Self>, heartbeat: Heartbeat) {
        let frame = Some(register_response::Frame::Heartbeat(heartbeat));
        tunnel.lanes.control(&v1::RegisterResponse { frame });
    }

    fn on_control(
        tunnel: &mut Tunnel<Self>,
        now: Time,
        control: Self::Control,
    ) -> Result<(), TunnelError> {
        tunnel.on_request_control(now, control)
    }

    fn find(
        tunnel: &mut Tunnel<Self>,
        now: Time,
        frame: &mut frame::ResponseFrame,
    ) -> Result<Option<Key>, TunnelError> {
        tunnel.find_call(now, frame.id, frame.data.len())
    }

    fn farewell(tunnel: &mut Tunnel<Self>, error: &TunnelError) {
        tunnel.write_error(error);
    }

    fn complete_event(tunnel: &mut Tunnel<Self>, event: &mut Self::Event) {
        tunnel.complete_event(event);
    }

    fn give_up_descriptors(tunnel: &mut Tunnel<Self>, now: Time) {
        tunnel.give_up_descriptors(now);
    }

    fn expire(tunnel: &mut Tunnel<Self>, id: u64) {
        tunnel.write_reset(id, super::reset_code::CANCEL, false);
    }
}

impl Role for Instance {
    type Start = Open;
    type End = ();
    type Control = register_response::Frame;
    type Event = super::instance::InstanceEvent;
    const RESPONDS: bool = true;
    const YIELDS: bool = true;

    fn decode(body: Bytes, limits: &frame::Limits) -> Decoded<Self> {
        frame::decode_response(body, limits)
    }

    fn heartbeat(tunnel: &mut Tunnel<Self>, heartbeat: Heartbeat) {
        let frame = Some(register_request::Frame::Heartbeat(heartbeat));
        tunnel.lanes.control(&v1::RegisterRequest { frame });
    }

    fn on_control(
        tunnel: &mut Tunnel<Self>,
        now: Time,
        control: Self::Control,
    ) -> Result<(), TunnelError> {
        tunnel.on_response_control(now, control)
    }

    fn find(
        tunnel: &mut Tunnel<Self>,
        now: Time,
        frame: &mut frame::CallFrame,
    ) -> Result<Option<Key>, TunnelError> {
        tunnel.find_or_open(now, frame)
    }

    /// An instance has no such frame: it ends the stream.
    fn farewell(_: &mut Tunnel<Self>, _: &TunnelError) {}

    fn expire(tunnel: &mut Tunnel<Self>, id: u64) {
        tunnel.write_deadline_exceeded(id);
    }
}

impl<R: Role> Tunnel<R> {
    pub(super) fn emit(&mut self, event: R::Event) {
        push(&mut self.events, Event::Role(event));
    }
}
