//! The hand-over of descriptors, once per tunnel: the instance announces, the gateway asks, chunks follow.
//!
//! What is wrong with the set as a whole costs the instance its reflection; a chunk that no honest peer
//! sends costs it the tunnel.

use bytes::{Bytes, BytesMut};
use grpcrouter_proto::v1::{
    DescriptorChunk, DescriptorRequest, RegisterRequest, RegisterResponse, register_request,
    register_response,
};

use crate::config::CHUNK;
use crate::descriptors::{Announced, Hash};
use crate::error::{HandoverError, TunnelError};
use crate::time::Time;

use super::{Gateway, GatewayEvent, Instance, InstanceEvent, Phase, Role, Tunnel};

/// What of a set is under way on a tunnel.
#[derive(Debug, Default)]
pub(super) struct Handover {
    /// At a gateway: what the instance announced.
    announced: Option<Announced>,
    /// At a gateway.
    incoming: Incoming,
    /// At an instance: whether the gateway has asked.
    asked: bool,
    /// At an instance: what is still to be sent, and where in the set it begins.
    outgoing: Bytes,
    offset: u32,
}

/// A set on its way in.
#[derive(Debug, Default)]
enum Incoming {
    /// Nobody asked for it.
    #[default]
    Unasked,
    /// Chunks are to come until this time.
    Arriving {
        announced: Announced,
        got: BytesMut,
        until: Time,
    },
    /// It is here. Nothing more may come.
    Whole,
    /// It was given up. Chunks may still come and are ignored.
    GivenUp,
}

impl Handover {
    /// Whether there is anything to send.
    pub(super) fn is_due(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// When an arriving set is given up.
    pub(super) fn timeout(&self) -> Option<Time> {
        match self.incoming {
            Incoming::Arriving { until, .. } => Some(until),
            _ => None,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Tunnel<Gateway> {
    /// The set of descriptors that the instance announced, from its registration on.
    pub fn announced_descriptors(&self) -> Option<Announced> {
        self.handover.announced
    }

    /// Asks the instance for the set that it announced. [`GatewayEvent::Descriptors`] tells what came of
    /// it, once, unless the tunnel ends before. Whether it was asked: `false` where nothing was announced,
    /// where it was asked before, and on a tunnel that is not live.
    pub fn request_descriptors(&mut self, now: Time) -> bool {
        let (Some(announced), Incoming::Unasked, Phase::Live) =
            (self.handover.announced, &self.handover.incoming, self.phase)
        else {
            return false;
        };
        self.handover.incoming = Incoming::Arriving {
            announced,
            // Grows with what comes: an announcement alone takes no memory.
            got: BytesMut::new(),
            until: now + self.config.descriptors_timeout,
        };
        let frame = Some(register_response::Frame::DescriptorRequest(
            DescriptorRequest {},
        ));
        self.lanes.control(&RegisterResponse { frame });
        true
    }

    pub(super) fn announce_descriptors(&mut self, announced: Option<Announced>) {
        self.handover.announced = announced;
    }

    pub(super) fn on_descriptor_chunk(
        &mut self,
        chunk: &DescriptorChunk,
    ) -> Result<(), TunnelError> {
        let wrong = |what| Err(TunnelError::Descriptors(what));
        let Incoming::Arriving { announced, got, .. } = &mut self.handover.incoming else {
            return match self.handover.incoming {
                Incoming::GivenUp => Ok(()),
                Incoming::Whole => wrong("it goes beyond the announced size"),
                _ => wrong("it was not asked for"),
            };
        };
        if chunk.data.is_empty() {
            return wrong("it is empty");
        }
        if chunk.offset as usize != got.len() {
            return wrong("it does not begin where the one before ended");
        }
        let size = announced.size as usize;
        if chunk.data.len() > size - got.len() {
            return wrong("it goes beyond the announced size");
        }
        got.extend_from_slice(&chunk.data);
        if got.len() < size {
            return Ok(());
        }
        // Copied once, to its length: it may be held for long, and what it came in has grown by doubling.
        let (hash, set) = (announced.hash, Bytes::copy_from_slice(got));
        self.handover.incoming = Incoming::Whole;
        let outcome = match Hash::of(&set) == hash {
            true => Ok(set),
            false => Err(HandoverError::HashMismatch),
        };
        self.emit(GatewayEvent::Descriptors(outcome));
        Ok(())
    }

    pub(super) fn give_up_descriptors(&mut self, now: Time) {
        if self.handover.timeout().is_some_and(|until| until <= now) {
            self.handover.incoming = Incoming::GivenUp;
            let limit = self.config.descriptors_timeout.as_millis();
            self.emit(GatewayEvent::Descriptors(Err(HandoverError::Late(limit))));
        }
    }
}

impl Tunnel<Instance> {
    /// Hands over the set that was announced, after [`InstanceEvent::DescriptorsWanted`]. Its chunks take
    /// turns with the bulk data of calls. Does nothing on a tunnel that has ended.
    pub fn send_descriptors(&mut self, set: Bytes) {
        if matches!(self.phase, Phase::Live | Phase::Draining) {
            self.handover.outgoing = set;
        }
    }

    pub(super) fn on_descriptor_request(&mut self) {
        if !std::mem::replace(&mut self.handover.asked, true) {
            self.emit(InstanceEvent::DescriptorsWanted);
        }
    }
}

impl<R: Role> Tunnel<R> {
    /// Appends the next chunk, one a batch: what is urgent waits behind no more than that.
    pub(super) fn write_descriptors(&mut self) {
        let handover = &mut self.handover;
        if !handover.is_due() {
            return;
        }
        let data = handover
            .outgoing
            .split_to(CHUNK.min(handover.outgoing.len()));
        let offset = handover.offset;
        handover.offset += data.len() as u32;
        let chunk = DescriptorChunk { offset, data };
        let frame = Some(register_request::Frame::DescriptorChunk(chunk));
        self.lanes.control(&RegisterRequest { frame });
    }
}
