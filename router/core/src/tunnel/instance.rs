//! The instance's end of a tunnel: it registers and answers calls.

use bytes::Bytes;
use grpcrouter_proto::v1::{
    Heartbeat, InstanceInfo, RegisterRequest, RegistrationAck, Revisions, ServiceInfo,
    UnregisterRequest, register_request, register_response,
};
use http::{HeaderMap, HeaderValue};

use crate::call::{Call, RecvHalf, SendHalf, SendState, message_limit};
use crate::config::{Config, REVISIONS};
use crate::error::{OpenError, TunnelError};
use crate::frame::{
    CallFrame, Flags, FrameHeader, Open, encode_head, encode_status, encode_trailers,
};
use crate::metadata::{is_forwarded_response, is_forwarded_trailer};
use crate::table::Key;
use crate::time::Time;

use super::send::Part;
use super::{Instance, Peer, Phase, Tunnel, reset_code};

/// What a gateway tells its instance.
#[derive(Debug)]
pub enum InstanceEvent {
    /// The registration stands.
    Registered(RegistrationAck),
    /// A call came in. Its key is to be given back with [`Tunnel::release`].
    Incoming(Key, Box<Open>),
    /// The gateway wants the descriptors that were announced: [`Tunnel::send_descriptors`]. Told once.
    DescriptorsWanted,
    /// No new calls come from now on. `answer` is true where this side asked for it, false where the
    /// gateway wants its instances to go elsewhere.
    Draining {
        /// Whether this answers [`Tunnel::unregister`].
        answer: bool,
    },
}

/// The head of a response; reserved headers stay behind.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'a> {
    /// The content type, when it is not plain `application/grpc`.
    pub content_type: Option<&'a HeaderValue>,
    /// The response's headers.
    pub headers: &'a HeaderMap,
}

impl Tunnel<Instance> {
    /// A tunnel that has just been dialled; `info` is the first frame to leave. Windows, limits and
    /// revisions in it are taken from `config`.
    ///
    /// # Panics
    /// Where [`Config::check`] fails.
    pub fn new(now: Time, config: Config, info: InstanceInfo) -> Self {
        let mut tunnel = Self::with_config(now, config);
        let (min, max) = REVISIONS;
        let info = InstanceInfo {
            revisions: Some(Revisions { min, max }),
            call_window: tunnel.config.call_window,
            max_frame: tunnel.config.max_frame,
            max_calls: tunnel.config.max_calls,
            max_metadata: tunnel.config.max_metadata as u32,
            ..info
        };
        tunnel.control(register_request::Frame::InstanceInfo(info));
        tunnel
    }

    /// Tells the gateway how these services are.
    pub fn report_health(&mut self, services: Vec<ServiceInfo>) {
        if matches!(self.phase, Phase::Live | Phase::Draining) {
            let heartbeat = Heartbeat {
                nonce: 0,
                reply_to: 0,
                services,
            };
            self.control(register_request::Frame::Heartbeat(heartbeat));
        }
    }

    /// Asks for no new calls. Those that come until [`InstanceEvent::Draining`] are to be served.
    pub fn unregister(&mut self, reason: &str) {
        if self.phase == Phase::Live {
            let frame = UnregisterRequest {
                reason: reason.to_owned(),
            };
            self.control(register_request::Frame::Unregister(frame));
        }
    }

    /// Sends a part of a response: the head with the first part, data cut anywhere, the trailers with
    /// the last. A response that is here whole leaves in one frame. Fails, with nothing sent, when the
    /// head or the trailers do not fit a frame or the metadata limit. A message past its limit fails the
    /// call instead.
    pub fn respond(
        &mut self,
        key: Key,
        head: Option<ResponseHead<'_>>,
        data: Bytes,
        trailers: Option<&HeaderMap>,
    ) -> Result<(), OpenError> {
        if let Some(head) = head {
            self.check_metadata(head.headers, is_forwarded_response)?;
        }
        if let Some(trailers) = trailers {
            self.check_metadata(trailers, is_forwarded_trailer)?;
        }
        self.fields.clear();
        if let Some(head) = head {
            encode_head(&mut self.fields, head.content_type, head.headers);
        }
        let split = self.fields.len();
        if let Some(trailers) = trailers {
            encode_trailers(&mut self.fields, trailers);
        }
        self.check_fields(split)?;
        self.check_fields(self.fields.len() - split)?;
        if !self.admit(key, &data) {
            return Ok(());
        }
        let mut start = head.is_some();
        let mut end = trailers.is_some().then_some(split);
        if start && end.is_some() && self.check_fields(self.fields.len()).is_err() {
            // Each fits a frame, and both do not.
            let end_fields = self.fields.split_off(split);
            self.push(
                key,
                Part {
                    start,
                    data: Bytes::new(),
                    end: None,
                },
            );
            self.fields = end_fields;
            (start, end) = (false, Some(0));
        }
        self.push(key, Part { start, data, end });
        Ok(())
    }

    /// Says that the call was never dispatched, so that the gateway can send it elsewhere. A call that has
    /// begun to be answered is reset instead.
    pub fn refuse_call(&mut self, key: Key) {
        if let Some(call) = self.calls.get(key)
            && call.over.is_open()
        {
            let (id, refused) = (call.id, call.send.state == SendState::Idle);
            self.write_reset(id, reset_code::REFUSED_STREAM, refused);
            self.finish(key, crate::call::Over::ByUs);
        }
    }

    pub(super) fn on_response_control(
        &mut self,
        now: Time,
        control: register_response::Frame,
    ) -> Result<(), TunnelError> {
        use register_response::Frame;
        match (control, self.phase) {
            (Frame::Error(error), _) => Err(TunnelError::Refused {
                code: error.code,
                reason: error.reason,
                message: error.message,
            }),
            (Frame::Ack(ack), Phase::Handshake) => self.on_ack(now, ack),
            (Frame::Ack(_), _) => Err(TunnelError::Handshake("a second ack".into())),
            (_, Phase::Handshake) => Err(TunnelError::Handshake(
                "the first frame is neither ack nor error".into(),
            )),
            (
                Frame::Heartbeat(Heartbeat {
                    nonce, reply_to, ..
                }),
                _,
            ) => {
                self.on_heartbeat(now, nonce, reply_to);
                Ok(())
            }
            (Frame::Drain(drain), _) => {
                if !self.is_first_drain(drain.answer) {
                    return Ok(());
                }
                self.phase = Phase::Draining;
                self.emit(InstanceEvent::Draining {
                    answer: drain.answer,
                });
                self.tell_drained();
                Ok(())
            }
            (Frame::DescriptorRequest(_), _) => {
                self.on_descriptor_request();
                Ok(())
            }
            (Frame::RpcCall(_), _) => unreachable!("hot frames are decoded by hand"),
        }
    }

    fn on_ack(&mut self, now: Time, ack: RegistrationAck) -> Result<(), TunnelError> {
        let (ours_min, ours_max) = REVISIONS;
        if !(ours_min..=ours_max).contains(&ack.revision) {
            let (min, max) = (ack.revision, ack.revision);
            return Err(TunnelError::Revision {
                min,
                max,
                ours_min,
                ours_max,
            });
        }
        self.peer = Peer::parse(
            ack.call_window,
            ack.max_frame,
            self.config.max_calls,
            ack.max_metadata,
            ack.revision,
        )
        .map_err(TunnelError::Handshake)?;
        if ack.heartbeat_interval_ms > 0 {
            let interval = u64::from(ack.heartbeat_interval_ms);
            self.config.heartbeat_interval = std::time::Duration::from_millis(interval);
        }
        self.begin_beating(now);
        self.phase = Phase::Live;
        self.emit(InstanceEvent::Registered(ack));
        Ok(())
    }

    pub(super) fn find_or_open(
        &mut self,
        now: Time,
        frame: &mut CallFrame,
    ) -> Result<Option<Key>, TunnelError> {
        let known = self.ids.get(&frame.id).copied();
        let Some(open) = frame.start.take() else {
            return match known {
                Some(key) => Ok(Some(key)),
                None => self
                    .ignore_late(now, frame.id, frame.data.len())
                    .map(|()| None),
            };
        };
        if known.is_some() {
            return Err(TunnelError::DuplicateCall(frame.id));
        }
        let limit = message_limit(self.config.message_max);
        let send = SendHalf::new(self.peer.call_window, limit.clone());
        let mut recv = RecvHalf::new(self.config.call_window, limit);
        recv.on_start(None)
            .map_err(|e| TunnelError::Malformed(e.to_string()))?;
        // Only calls that go on count: the gateway does not know which of the others still have their key.
        let room = self.ids.len() < self.config.max_calls as usize;
        let accepted = if self.phase == Phase::Live && room {
            self.calls.insert(Call::new(frame.id, send, recv)).ok()
        } else {
            None
        };
        let Some(key) = accepted else {
            self.write_reset(frame.id, reset_code::REFUSED_STREAM, true);
            self.grace.add(frame.id, self.config.call_window);
            return Ok(None);
        };
        self.ids.insert(frame.id, key);
        if let Some(timeout) = open.timeout {
            self.set_deadline(key, now + timeout);
        }
        self.emit(InstanceEvent::Incoming(key, Box::new(open)));
        Ok(Some(key))
    }

    /// Answers a call whose deadline passed here first.
    pub(super) fn write_deadline_exceeded(&mut self, id: u64) {
        const DEADLINE_EXCEEDED: u32 = 4;
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        encode_status(
            &mut fields,
            DEADLINE_EXCEEDED,
            "the deadline passed at the instance",
            [],
        );
        let header = FrameHeader {
            id,
            flags: Flags::COMPLETE,
            ..FrameHeader::default()
        };
        self.lanes.frame(&header, &fields, &[]);
        self.fields = fields;
    }

    fn control(&mut self, frame: register_request::Frame) {
        self.lanes.control(&RegisterRequest { frame: Some(frame) });
    }
}
