//! The gateway's end of a tunnel: it answers the registration and opens calls.

use std::time::Duration;

use bytes::Bytes;
use grpcrouter_proto::v1::{
    Drain, ErrorResponse, Heartbeat, InstanceInfo, RegisterResponse, RegistrationAck, ServiceInfo,
    register_request, register_response,
};
use http::{HeaderMap, HeaderValue};

use crate::call::{Call, RecvHalf, SendHalf, message_limit};
use crate::config::{Config, MAX_FRAME_MIN, REVISIONS, common_revision};
use crate::descriptors::Announced;
use crate::error::{HandoverError, OpenError, TunnelError};
use crate::frame::encode_open;
use crate::metadata::is_forwarded_request;
use crate::sabotage::{self, Sabotage};
use crate::table::Key;
use crate::time::Time;

use super::send::Part;
use super::{Gateway, Peer, Phase, Tunnel};

/// What an instance tells its gateway, beside calls.
#[derive(Debug)]
pub enum GatewayEvent {
    /// It wants to register. Answer with [`Tunnel::accept`] or [`Tunnel::refuse`].
    Registering(Box<InstanceInfo>),
    /// The health of these services changed.
    Health(Vec<ServiceInfo>),
    /// The set that [`Tunnel::request_descriptors`] asked for: whole, with the hash that was announced; or
    /// why it is not.
    Descriptors(Result<Bytes, HandoverError>),
    /// It wants no new calls. They have been stopped on this tunnel already.
    Unregistering,
}

/// The request of a call, its headers as the client sent them; reserved ones stay behind.
#[derive(Debug, Clone, Copy)]
pub struct CallRequest<'a> {
    /// `/pkg.Service/Method`.
    pub method: &'a str,
    /// The `:authority` that the client named.
    pub authority: &'a str,
    /// What is left until the deadline; none where there is no deadline.
    pub timeout: Option<Duration>,
    /// The content type, when it is not plain `application/grpc`.
    pub content_type: Option<&'a HeaderValue>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

impl Tunnel<Gateway> {
    /// A tunnel that an instance has just dialled.
    ///
    /// # Panics
    /// Where [`Config::check`] fails.
    pub fn new(now: Time, config: Config) -> Self {
        Self::with_config(now, config)
    }

    /// Accepts the registration that [`GatewayEvent::Registering`] asked for. Does nothing when the tunnel
    /// has ended since then, which [`Event::Closed`](super::Event::Closed) tells.
    pub fn accept(&mut self, now: Time, gateway_id: String, gateways: Vec<String>) {
        if self.phase == Phase::Closed {
            return;
        }
        assert_eq!(self.phase, Phase::Handshake, "accepted twice");
        self.phase = Phase::Live;
        self.begin_beating(now);
        let interval = self.config.heartbeat_interval.as_millis();
        let ack = RegistrationAck {
            gateway_id,
            revision: self.peer.revision,
            call_window: self.config.call_window,
            max_frame: self.config.max_frame,
            heartbeat_interval_ms: u32::try_from(interval).unwrap_or(u32::MAX),
            gateways,
            max_metadata: self.config.max_metadata as u32,
        };
        self.control(register_response::Frame::Ack(ack));
    }

    /// Refuses the registration, or ends one that was accepted: the instance is told why, and the tunnel
    /// closes. `code` is a gRPC status code.
    pub fn refuse(&mut self, code: u32, reason: &str, message: &str) {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        self.close(TunnelError::Refused {
            code,
            reason,
            message,
        });
    }

    /// The last frame: why the tunnel ended. Nobody is there to read it when the transport did.
    pub(super) fn write_error(&mut self, error: &TunnelError) {
        let (code, reason) = error.verdict();
        let message = match error {
            TunnelError::Transport(_) => return,
            TunnelError::Refused { message, .. } => message.clone(),
            error => error.to_string(),
        };
        let reason = reason.to_owned();
        self.control(register_response::Frame::Error(ErrorResponse {
            code,
            reason,
            message,
        }));
    }

    /// Asks the instance to go elsewhere: no call is opened from now on, the running ones finish.
    pub fn drain(&mut self, reason: &str) {
        if self.phase == Phase::Live {
            self.phase = Phase::Draining;
            let drain = Drain {
                reason: reason.to_owned(),
                answer: false,
            };
            self.control(register_response::Frame::Drain(drain));
        }
    }

    /// Opens a call, with the data and the end of its request as far as they are here.
    pub fn open(
        &mut self,
        now: Time,
        request: CallRequest<'_>,
        data: Bytes,
        half_close: bool,
    ) -> Result<Key, OpenError> {
        let draining = self.phase == Phase::Draining && sabotage::is(Sabotage::OpenAfterDrain);
        if self.phase != Phase::Live && !draining {
            return Err(OpenError::NotLive);
        }
        if self.calls.len() >= self.peer.max_calls as usize {
            return Err(OpenError::TooManyCalls(self.peer.max_calls));
        }
        if self.lanes.queued() >= self.config.tunnel_queue {
            return Err(OpenError::QueueFull(self.config.tunnel_queue));
        }
        if request.timeout.is_some_and(|left| left.as_micros() == 0) {
            return Err(OpenError::Expired);
        }
        let CallRequest {
            method,
            authority,
            timeout,
            content_type,
            headers,
        } = request;
        self.check_metadata(headers, is_forwarded_request)?;
        self.fields.clear();
        encode_open(
            &mut self.fields,
            method,
            authority,
            timeout,
            content_type,
            headers,
        );
        self.check_fields(self.fields.len())?;
        let limit = message_limit(self.config.message_max);
        let send = SendHalf::new(self.peer.call_window, limit.clone());
        let recv = RecvHalf::new(self.config.call_window, limit);
        let key = match self.calls.insert(Call::new(0, send, recv)) {
            Ok(key) => key,
            Err(_) => return Err(OpenError::TooManyCalls(self.config.max_calls)),
        };
        let position = self.lanes.position();
        if let Some(call) = self.calls.get_mut(key) {
            call.id = key.to_bits();
            call.opened_at = position;
        }
        if let Some(timeout) = timeout {
            self.set_deadline(key, now + timeout);
        }
        if !self.admit(key, &data) {
            return Ok(key);
        }
        let end = half_close.then_some(self.fields.len());
        self.push(
            key,
            Part {
                start: true,
                data,
                end,
            },
        );
        Ok(key)
    }

    /// Sends data of a request, cut anywhere, and perhaps its end. The caller keeps what it has under way
    /// bounded: [`Tunnel::take_passed`] tells what moved on.
    pub fn send(&mut self, key: Key, data: Bytes, half_close: bool) {
        if self.admit(key, &data) {
            self.fields.clear();
            self.push(
                key,
                Part {
                    start: false,
                    data,
                    end: half_close.then_some(0),
                },
            );
        }
    }

    pub(super) fn on_request_control(
        &mut self,
        now: Time,
        control: register_request::Frame,
    ) -> Result<(), TunnelError> {
        use register_request::Frame;
        match (control, self.phase) {
            (Frame::InstanceInfo(info), Phase::Handshake) => self.on_instance_info(info),
            (Frame::InstanceInfo(_), _) => {
                Err(TunnelError::Handshake("a second instance_info".into()))
            }
            (_, Phase::Handshake) => Err(TunnelError::Handshake(
                "the first frame is not instance_info".into(),
            )),
            (
                Frame::Heartbeat(Heartbeat {
                    nonce,
                    reply_to,
                    services,
                }),
                _,
            ) => {
                self.on_heartbeat(now, nonce, reply_to);
                self.on_health(services);
                Ok(())
            }
            (Frame::Unregister(_), _) => {
                // Its answer and its event are owed once.
                if !self.is_first_drain(false) {
                    return Ok(());
                }
                self.phase = Phase::Draining;
                let drain = Drain {
                    reason: "unregistered".into(),
                    answer: true,
                };
                self.control(register_response::Frame::Drain(drain));
                self.emit(GatewayEvent::Unregistering);
                Ok(())
            }
            (Frame::DescriptorChunk(chunk), _) => self.on_descriptor_chunk(&chunk),
            (Frame::RpcResponse(_), _) => unreachable!("hot frames are decoded by hand"),
        }
    }

    /// Keeps what was reported until the caller takes it: however many heartbeats came by then, they are
    /// one event, with the last word on each service.
    fn on_health(&mut self, services: Vec<ServiceInfo>) {
        if !services.is_empty() && self.health.is_empty() {
            self.emit(GatewayEvent::Health(Vec::new()));
        }
        let reports = services.into_iter().map(|s| (s.name, s.health));
        self.health.extend(reports);
    }

    /// Puts the reports into the event that stands for them.
    pub(super) fn complete_event(&mut self, event: &mut GatewayEvent) {
        if let GatewayEvent::Health(services) = event {
            let reports = std::mem::take(&mut self.health).into_iter();
            *services = reports
                .map(|(name, health)| ServiceInfo { name, health })
                .collect();
        }
    }

    fn on_instance_info(&mut self, info: InstanceInfo) -> Result<(), TunnelError> {
        if self.peer.call_window != 0 {
            return Err(TunnelError::Handshake("a second instance_info".into()));
        }
        let (ours_min, ours_max) = REVISIONS;
        let (min, max) = info.revisions.map_or((0, 0), |r| (r.min, r.max));
        if min == 0 || max < min {
            let what = format!("revisions: expected a range from at least 1, got {min} to {max}");
            return Err(TunnelError::BadRegistration(what));
        }
        let Some(revision) = common_revision(REVISIONS, (min, max)) else {
            return Err(TunnelError::Revision {
                min,
                max,
                ours_min,
                ours_max,
            });
        };
        self.peer = Peer::parse(
            info.call_window,
            info.max_frame,
            info.max_calls,
            info.max_metadata,
            revision,
        )
        .map_err(TunnelError::BadRegistration)?;
        let announced = info.descriptors.as_ref().map(Announced::parse).transpose();
        self.announce_descriptors(announced.map_err(TunnelError::BadRegistration)?);
        self.emit(GatewayEvent::Registering(Box::new(info)));
        Ok(())
    }

    fn control(&mut self, frame: register_response::Frame) {
        self.lanes.control(&RegisterResponse { frame: Some(frame) });
    }
}

impl Peer {
    /// Takes what the peer announced; zero means the protocol's default. Fails with what is out of range.
    pub(super) fn parse(
        window: u32,
        frame: u32,
        max_calls: u32,
        metadata: u32,
        revision: u32,
    ) -> Result<Self, String> {
        let defaults = Config::default();
        let or = |value, default| if value == 0 { default } else { value };
        let call_window = or(window, defaults.call_window);
        let max_frame = or(frame, defaults.max_frame);
        if call_window > i32::MAX as u32 {
            let max = i32::MAX;
            return Err(format!(
                "call_window: expected at most {max} bytes, got {call_window}"
            ));
        }
        if max_frame < MAX_FRAME_MIN {
            return Err(format!(
                "max_frame: expected at least {MAX_FRAME_MIN} bytes, got {max_frame}"
            ));
        }
        Ok(Self {
            call_window,
            max_frame,
            max_calls: or(max_calls, defaults.max_calls),
            max_metadata: or(metadata, defaults.max_metadata as u32) as usize,
            revision,
        })
    }
}
