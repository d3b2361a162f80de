//! The request as a handler reads it: a message at a time, and no further than it asks.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;

use super::action::Finish;
use super::deframe::{Deframer, Raw, TooLong};
use super::side::Run;

/// Why there is no next message, and not because the request ended.
#[derive(Debug)]
pub(super) enum Fault {
    /// The request was cut: nobody waits for the call any more.
    Cut,
    /// The client broke gRPC; with this status the call ends.
    Broken(Finish),
}

/// A request's body.
pub(super) struct Inbound<B> {
    body: Pin<Box<B>>,
    deframer: Deframer,
    ended: bool,
    /// Whether the request names an encoding of messages, so that they may be compressed.
    encoded: bool,
    run: Arc<Run>,
    sum: crc32fast::Hasher,
}

impl<B: Body<Data = Bytes>> Inbound<B> {
    pub(super) fn new(body: B, encoded: bool, run: Arc<Run>) -> Self {
        Self {
            body: Box::pin(body),
            deframer: Deframer::default(),
            ended: false,
            encoded,
            run,
            sum: crc32fast::Hasher::new(),
        }
    }

    /// The next message; none at the end of the request.
    pub(super) async fn message(&mut self) -> Result<Option<Raw>, Fault> {
        loop {
            let next = self.deframer.next().map_err(too_long)?;
            if let Some(raw) = next {
                self.check(&raw)?;
                self.take(&raw);
                return Ok(Some(raw));
            }
            if self.ended {
                let cut = "the request ended in the middle of a message";
                return match self.deframer.is_between_messages() {
                    true => Ok(None),
                    false => Err(Fault::Broken(Finish::with(13, cut))),
                };
            }
            self.pull().await?;
        }
    }

    /// Takes from the transport what it has next.
    async fn pull(&mut self) -> Result<(), Fault> {
        let frame = poll_fn(|cx| self.body.as_mut().poll_frame(cx)).await;
        let before = self.deframer.arrived();
        match frame {
            Some(Ok(frame)) => {
                // A request has no trailers in gRPC; what a client sends as such is dropped.
                if let Ok(data) = frame.into_data() {
                    self.deframer.push(&data);
                }
                self.ended = self.body.is_end_stream();
            }
            Some(Err(_)) => return Err(Fault::Cut),
            None => self.ended = true,
        }
        let (arrived, ended) = (self.deframer.arrived(), self.ended);
        // Added, not set: what a liar made up before stays reported, as a counter never falls.
        self.run.count(|counts| {
            counts.handed.messages += arrived.messages - before.messages;
            counts.handed.bytes += arrived.bytes - before.bytes;
            counts.half_closed |= ended;
        });
        Ok(())
    }

    fn take(&mut self, raw: &Raw) {
        self.sum.update(&raw.data);
        let crc = self.sum.clone().finalize();
        self.run.count(|counts| {
            counts.taken.messages += 1;
            counts.taken.bytes += raw.data.len() as u64;
            counts.crc = crc;
        });
    }

    /// What every gRPC library checks below its handlers.
    fn check(&self, raw: &Raw) -> Result<(), Fault> {
        let wrong = match raw.flag {
            0 => return Ok(()),
            1 if self.encoded => return Ok(()),
            1 => "a compressed message, and no grpc-encoding".to_owned(),
            flag => format!("a message with the flag {flag}"),
        };
        Err(Fault::Broken(Finish::with(13, &wrong)))
    }
}

fn too_long(TooLong(length): TooLong) -> Fault {
    let say = format!("a message of {length} bytes");
    Fault::Broken(Finish::with(8, &say))
}
