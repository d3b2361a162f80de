//! The request's bytes, from the client to the tunnel.

use std::future::{pending, poll_fn};

use bytes::Bytes;
use grpcrouter_proto::v1::RpcCall;
use h2::RecvStream;

use super::peer::Opened;
use super::relay::Ending;
use crate::tunnel::{flags, limits};

/// How much of a request is kept for a second instance, in bytes.
const KEEP: usize = 64 * 1024;

/// A request's bytes. What has spent credit of the tunnel's gives the client's window back.
#[derive(Debug)]
pub(super) struct Upload {
    recv: RecvStream,
    /// All that came, while it is not too much.
    kept: Vec<Bytes>,
    keeps: bool,
    came: usize,
    released: usize,
    ended: bool,
}

/// What went to one instance.
#[derive(Debug, Default)]
struct Sent {
    seq: u32,
    bytes: usize,
}

impl Upload {
    pub(super) fn new(recv: RecvStream) -> Self {
        Self {
            recv,
            kept: Vec::new(),
            keeps: true,
            came: 0,
            released: 0,
            ended: false,
        }
    }

    /// Whether all that was sent is still here.
    pub(super) fn can_be_sent_again(&self) -> bool {
        self.keeps
    }

    /// Sends the request to an instance, from its beginning. Goes on until the call ends otherwise: then it is
    /// dropped.
    pub(super) async fn send(&mut self, to: &Opened) -> Ending {
        let mut sent = Sent::default();
        for at in 0..self.kept.len() {
            let data = self.kept[at].clone();
            if self.put(data, &mut sent, to).await.is_err() {
                return Ending::Lost;
            }
        }
        while !self.ended {
            match poll_fn(|cx| self.recv.poll_data(cx)).await {
                Some(Ok(data)) => {
                    self.keep(&data);
                    if self.put(data, &mut sent, to).await.is_err() {
                        return Ending::Lost;
                    }
                }
                Some(Err(_)) => return Ending::ClientGone,
                None => self.ended = true,
            }
        }
        let half_close = RpcCall {
            request_id: to.id,
            flags: flags::HALF_CLOSE,
            ..RpcCall::default()
        };
        match to.send(half_close).await {
            Ok(()) => pending().await,
            Err(_) => Ending::Lost,
        }
    }

    fn keep(&mut self, data: &Bytes) {
        self.came += data.len();
        self.keeps &= self.came <= KEEP;
        match self.keeps {
            true => self.kept.push(data.clone()),
            false => self.kept.clear(),
        }
    }

    async fn put(
        &mut self,
        mut data: Bytes,
        sent: &mut Sent,
        to: &Opened,
    ) -> Result<(), crate::tunnel::lane::Gone> {
        while !data.is_empty() {
            let some = to.flow.credit(data.len().min(limits::CHUNK)).await;
            let chunk = RpcCall {
                request_id: to.id,
                seq: sent.seq,
                data: data.split_to(some),
                ..RpcCall::default()
            };
            to.send(chunk).await?;
            sent.seq = sent.seq.wrapping_add(1);
            sent.bytes += some;
            if let Some(more) = sent
                .bytes
                .checked_sub(self.released)
                .filter(|more| *more > 0)
            {
                // No error where the stream is over: the next read says so.
                let _ = self.recv.flow_control().release_capacity(more);
                self.released = sent.bytes;
            }
        }
        Ok(())
    }
}
