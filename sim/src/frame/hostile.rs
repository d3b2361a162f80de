//! Peers that break the protocol: frames that no honest end would write, among those that it did.

use bytes::{BufMut, Bytes, BytesMut};
use grpcrouter_core::config::CHUNK;
use grpcrouter_proto::v1::{
    RegisterRequest, RegisterResponse, RpcCall, RpcResponse, register_request, register_response,
};
use prost::Message;

use crate::plan::Hostility;

use super::instance::InstanceTunnel;
use super::link::ConnId;
use super::wire::Piece;
use super::world::World;

/// OPEN, and HEAD.
const START: u32 = 1;
/// Breaches that a tunnel bears for sure: it ends at 64 within a minute, and each may be counted twice.
const BREACHES_BORNE: u32 = 31;
/// A number that no frame of a run has.
const FAR: u32 = 0x7fff_ffff;

impl World<'_> {
    /// A peer breaks the protocol, in a call that is open. Gives how many calls that may hurt.
    pub(super) fn hostile(&mut self, how: Hostility) -> usize {
        let ends = self.gateway_ends.iter().enumerate();
        let calls = ends.filter_map(|(conn, end)| Some((conn, end.as_ref()?)));
        let calls = calls.flat_map(|(conn, end)| {
            let calls = end.calls.iter();
            calls.map(move |(key, call)| (conn, key.to_bits(), *call))
        });
        let calls: Vec<_> = calls.collect();
        let Some((conn, id, call)) = self.rng.choice(calls) else {
            return 0;
        };
        let mut from = self.rng.usize(..2);
        // An OPEN that comes before the true one would be the first, not the second.
        let runs = |end: &InstanceTunnel| end.runs.values().any(|run| run.call == call);
        if how == Hostility::HeadTwice && !self.instance_ends[conn].as_deref().is_some_and(runs) {
            from = 0;
        }
        self.ledger.hostile();
        let frame = Forged {
            id,
            ..Forged::default()
        };
        let frame = match how {
            Hostility::Overspend => Forged {
                data: self.config.call_window_max.max(self.config.call_window) as usize + CHUNK,
                ..frame
            },
            Hostility::ForgedId => Forged {
                id: id ^ 0x5a5a_0000_0000,
                data: 1,
                flags: START,
                ..frame
            },
            Hostility::OutOfOrder => Forged {
                data: 1,
                seq: FAR,
                ..frame
            },
            Hostility::HeadTwice => Forged {
                flags: START,
                ..frame
            },
            Hostility::Oversize => return self.oversize(conn, from),
        };
        let ends_tunnel = how == Hostility::ForgedId || (how == Hostility::HeadTwice && from == 1);
        if how == Hostility::Overspend {
            // What is forged uses up what may come late for the call, and each of its own frames that still
            // comes is a breach then too.
            let plan = self.ledger.plan(call);
            self.breaches[conn] += frames(&plan.request).max(frames(&plan.response));
        }
        let hurt = if ends_tunnel {
            self.sick[conn] = true;
            self.touch_conn(conn)
        } else {
            self.touch(call);
            self.ledger.forged(call);
            1
        };
        // In pieces that a frame may have: each breaks the same rule.
        let mut left = frame.data;
        loop {
            let data = left.min(CHUNK * 2);
            left -= data;
            self.breaches[conn] += 1;
            let piece = Forged { data, ..frame }.encode(from);
            self.send(conn, from, Piece::Bytes(piece));
            if left == 0 {
                return hurt.max(self.too_many_breaches(conn));
            }
        }
    }

    /// A tunnel bears so many breaches of calls' rules, and no more.
    fn too_many_breaches(&mut self, conn: ConnId) -> usize {
        if self.breaches[conn] < BREACHES_BORNE {
            return 0;
        }
        self.sick[conn] = true;
        self.touch_conn(conn)
    }

    fn oversize(&mut self, conn: ConnId, from: usize) -> usize {
        self.sick[conn] = true;
        let calls = self.touch_conn(conn);
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(self.config.max_frame + 1);
        self.send(conn, from, Piece::Bytes(bytes.freeze()));
        calls
    }
}

/// Frames in which messages of these sizes are sent, at the most, where windows open a little at a time.
fn frames(sizes: &[u32]) -> u32 {
    const LITTLE: u32 = 64;
    sizes.iter().map(|size| 1 + size / LITTLE).sum()
}

#[derive(Debug, Clone, Copy, Default)]
struct Forged {
    id: u64,
    flags: u32,
    seq: u32,
    /// Bytes of data.
    data: usize,
}

impl Forged {
    /// The frame as the instance (0), or the gateway (1), would write it.
    fn encode(self, from: usize) -> Bytes {
        let data = vec![0x55; self.data].into();
        let body = if from == 0 {
            let response = RpcResponse {
                request_id: self.id,
                flags: self.flags,
                seq: self.seq,
                data,
                ..RpcResponse::default()
            };
            let frame = Some(register_request::Frame::RpcResponse(response));
            RegisterRequest { frame }.encode_to_vec()
        } else {
            let call = RpcCall {
                request_id: self.id,
                flags: self.flags,
                seq: self.seq,
                method: "/sim.Probe/Run".to_owned(),
                data,
                ..RpcCall::default()
            };
            let frame = Some(register_response::Frame::RpcCall(call));
            RegisterResponse { frame }.encode_to_vec()
        };
        let mut bytes = BytesMut::with_capacity(body.len() + 5);
        bytes.put_u8(0);
        bytes.put_u32(body.len() as u32);
        bytes.extend_from_slice(&body);
        bytes.freeze()
    }
}
