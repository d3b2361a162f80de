//! Scripts, as cases write them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use prost::Message;

use crate::pb;
use crate::pb::step::Step;

/// What a handler is to do, step by step.
///
/// `Script::new().head().read(3).wait("go").send(2, 1024).finish(0)`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Script(pb::Script);

impl Script {
    /// No steps: the handler finishes with OK at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends the initial metadata now, with none of its own.
    pub fn head(self) -> Self {
        self.head_with(&[])
    }

    /// Sends the initial metadata now, these among them. Values of `-bin` keys are not encoded.
    pub fn head_with(self, metadata: &[(&str, &[u8])]) -> Self {
        let metadata = headers(metadata);
        self.step(Step::Head(pb::Head { metadata }))
    }

    /// Reads so many messages, and drops them.
    ///
    /// # Panics
    /// With none: a step of 0 is [`Script::read_all`].
    pub fn read(self, messages: u32) -> Self {
        assert!(messages > 0, "read_all reads to the end");
        self.step(Step::Read(pb::Read { messages }))
    }

    /// Reads to the end of the request.
    pub fn read_all(self) -> Self {
        self.step(Step::Read(pb::Read { messages: 0 }))
    }

    /// Waits until the suite opens this gate.
    pub fn wait(self, gate: &str) -> Self {
        let gate = gate.to_owned();
        self.step(Step::Wait(pb::Wait { gate }))
    }

    /// Sends `count` messages of `size` bytes, numbered from 0.
    pub fn send(self, count: u32, size: u32) -> Self {
        self.send_from(0, count, size)
    }

    /// Sends `count` messages of `size` bytes, numbered from `first`.
    pub fn send_from(self, first: u32, count: u32, size: u32) -> Self {
        self.step(Step::Send(pb::Send { count, size, first }))
    }

    /// Reads so many messages, and sends each back before it reads the next.
    ///
    /// # Panics
    /// With none: a step of 0 is [`Script::echo_all`].
    pub fn echo(self, messages: u32) -> Self {
        assert!(messages > 0, "echo_all echoes to the end");
        self.step(Step::Echo(pb::Echo { messages }))
    }

    /// Echoes to the end of the request.
    pub fn echo_all(self) -> Self {
        self.step(Step::Echo(pb::Echo { messages: 0 }))
    }

    /// Does nothing for so long.
    pub fn sleep_ms(self, ms: u32) -> Self {
        self.step(Step::Sleep(pb::Sleep { ms }))
    }

    /// Ends the call with this status.
    pub fn finish(self, code: u32) -> Self {
        self.finish_as(pb::Finish {
            code,
            ..pb::Finish::default()
        })
    }

    /// Ends the call with this status, message and trailers. Values of `-bin` keys are not encoded.
    pub fn finish_with(self, code: u32, message: &str, trailers: &[(&str, &[u8])]) -> Self {
        self.finish_as(pb::Finish {
            code,
            message: message.to_owned(),
            trailers: headers(trailers),
            ..pb::Finish::default()
        })
    }

    /// Ends the call in any way.
    pub fn finish_as(self, finish: pb::Finish) -> Self {
        self.step(Step::Finish(finish))
    }

    /// Ends the response without a status.
    pub fn finish_without_status(self) -> Self {
        self.finish_as(pb::Finish {
            without_status: true,
            ..pb::Finish::default()
        })
    }

    /// Fails without a status: a panic.
    pub fn abort(self) -> Self {
        self.step(Step::Abort(pb::Abort {}))
    }

    /// These steps so many times.
    pub fn times(mut self, n: usize, steps: &Self) -> Self {
        for _ in 0..n {
            self.0.steps.extend_from_slice(&steps.0.steps);
        }
        self
    }

    /// As it is encoded.
    pub fn bytes(&self) -> Bytes {
        self.0.encode_to_vec().into()
    }

    /// The value of `probe-script-bin` on the wire: base64 without padding.
    pub fn header(&self) -> String {
        STANDARD_NO_PAD.encode(self.0.encode_to_vec())
    }

    fn step(mut self, step: Step) -> Self {
        self.0.steps.push(pb::Step { step: Some(step) });
        self
    }
}

fn headers(headers: &[(&str, &[u8])]) -> Vec<pb::Header> {
    let header = |(key, value): &(&str, &[u8])| pb::Header {
        key: (*key).to_owned(),
        value: Bytes::copy_from_slice(value),
    };
    headers.iter().map(header).collect()
}
