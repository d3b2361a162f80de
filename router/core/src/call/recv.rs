//! What the peer sends on a call.

use bytes::Bytes;

use crate::buffer::Buffer;
use crate::error::{Breach, CallFault};
use crate::message::MessageLimit;
use crate::window::RecvWindow;

/// The receiving half of a call: what came, in order, until its reader takes it.
///
/// ```text
///   Idle --start--> Open --end--> Ended
///     \_____end (no data)_________^
/// ```
/// | state | START     | data      | END   | fault |
/// |-------|-----------|-----------|-------|-------|
/// | Idle  | Open      | breach    | Ended | Ended |
/// | Open  | breach    | Open      | Ended | Ended |
/// | Ended | breach    | breach    | breach| Ended |
#[derive(Debug)]
pub struct RecvHalf<S, E> {
    /// Where the half is.
    pub state: RecvState,
    /// Credit that the peer was given.
    pub window: RecvWindow,
    /// Number that the next frame with data must have.
    pub seq: u32,
    /// Holds messages to a length, where one is set.
    pub limit: Option<MessageLimit>,
    /// Whether credit is due and the call stands in the list of those.
    pub grant_due: bool,
    start: Option<S>,
    queue: Buffer,
    outcome: Option<Result<E, CallFault>>,
    fault: Option<CallFault>,
}

/// The states of a receiving half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvState {
    /// START has not come.
    Idle,
    /// START has come.
    Open,
    /// END has come, or the call failed.
    Ended,
}

/// What a call's reader takes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<S, E> {
    /// The head of a response; a call's OPEN is handed over when it comes in.
    Start(S),
    /// Bytes of length-prefixed messages, cut anywhere.
    Data(Bytes),
    /// The end: nothing follows.
    End(E),
    /// The call failed: nothing follows.
    Failed(CallFault),
    /// Nothing is here yet.
    Pending,
}

impl<S, E> RecvHalf<S, E> {
    /// A half that has received nothing and gave the credit of `window`.
    pub fn new(window: u32, limit: Option<MessageLimit>) -> Self {
        Self {
            state: RecvState::Idle,
            window: RecvWindow::new(window),
            seq: 0,
            limit,
            grant_due: false,
            start: None,
            queue: Buffer::default(),
            outcome: None,
            fault: None,
        }
    }

    /// START came.
    pub fn on_start(&mut self, start: Option<S>) -> Result<(), Breach> {
        match self.state {
            RecvState::Idle => {
                self.state = RecvState::Open;
                self.start = start;
                Ok(())
            }
            RecvState::Open => Err(Breach::SecondHead),
            RecvState::Ended => Err(Breach::AfterEnd),
        }
    }

    /// A frame with data came.
    pub fn on_data(&mut self, seq: u32, data: Bytes) -> Result<(), CallFault> {
        match self.state {
            RecvState::Idle => return Err(CallFault::Breach(Breach::DataBeforeHead)),
            RecvState::Ended => return Err(CallFault::Breach(Breach::AfterEnd)),
            RecvState::Open => {}
        }
        if seq != self.seq {
            return Err(CallFault::Breach(Breach::Sequence {
                expected: self.seq,
                got: seq,
            }));
        }
        self.seq = seq.wrapping_add(1);
        self.window
            .receive(data.len())
            .map_err(|e| CallFault::Breach(e.into()))?;
        if let Some(limit) = &mut self.limit {
            limit.check(&data)?;
        }
        self.queue.push(data);
        Ok(())
    }

    /// END came.
    pub fn on_end(&mut self, end: E) -> Result<(), Breach> {
        if self.state == RecvState::Ended {
            return Err(Breach::AfterEnd);
        }
        self.state = RecvState::Ended;
        self.outcome = Some(Ok(end));
        Ok(())
    }

    /// Forgets what was not taken yet: never right.
    pub fn drop_waiting(&mut self) {
        self.queue.clear();
    }

    /// The call failed: what was not taken yet is dropped, and the fault is what its reader gets.
    pub fn fail(&mut self, fault: CallFault) {
        self.state = RecvState::Ended;
        self.start = None;
        self.queue.clear();
        self.outcome = Some(Err(fault.clone()));
        self.fault = Some(fault);
    }

    /// Takes what is next, of data at most `max` bytes. `max` of 0 leaves data where it is.
    pub fn take(&mut self, max: usize) -> Received<S, E> {
        if let Some(start) = self.start.take() {
            return Received::Start(start);
        }
        if !self.queue.is_empty() {
            return if max == 0 {
                Received::Pending
            } else {
                Received::Data(self.queue.pop(max))
            };
        }
        match self.outcome.take() {
            Some(Ok(end)) => Received::End(end),
            Some(Err(fault)) => Received::Failed(fault),
            None => Received::Pending,
        }
    }

    /// Whether the end, or the fault, was taken.
    pub fn is_done(&self) -> bool {
        self.state == RecvState::Ended && self.start.is_none() && self.outcome.is_none()
    }

    /// The fault that ended the call, taken or not.
    pub fn fault(&self) -> Option<&CallFault> {
        self.fault.as_ref()
    }

    /// Bytes that wait for their reader.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RecvState::{Ended, Idle, Open};

    fn half(state: RecvState) -> RecvHalf<(), ()> {
        let mut half = RecvHalf::new(100, None);
        half.state = state;
        half
    }

    /// Proves: S6
    #[test]
    fn the_whole_state_table() {
        let mut table = String::from("state x event -> state, or breach\n");
        for state in [Idle, Open, Ended] {
            for event in ["start", "data", "end", "fault"] {
                let mut half = half(state);
                let verdict = match event {
                    "start" => half.on_start(Some(())).map_err(CallFault::Breach),
                    "data" => half.on_data(0, Bytes::from_static(b"x")),
                    "end" => half.on_end(()).map_err(CallFault::Breach),
                    _ => {
                        half.fail(CallFault::Deadline);
                        Ok(())
                    }
                };
                let verdict = match verdict {
                    Ok(()) => format!("{:?}", half.state),
                    Err(fault) => format!("breach: {fault}"),
                };
                table += &format!("{state:?} x {event} -> {verdict}\n");
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn the_sequence_number_wraps() {
        let mut half = half(Open);
        half.seq = u32::MAX;
        half.on_data(u32::MAX, Bytes::from_static(b"x")).unwrap();
        half.on_data(0, Bytes::from_static(b"y")).unwrap();
        assert_eq!(half.take(10), Received::Data(Bytes::from_static(b"xy")));
    }

    #[test]
    fn a_fault_drops_what_was_not_taken() {
        let mut half = half(Open);
        half.on_data(0, Bytes::from_static(b"x")).unwrap();
        half.fail(CallFault::Deadline);
        assert_eq!(half.take(10), Received::Failed(CallFault::Deadline));
        assert_eq!(half.take(10), Received::Pending);
    }
}
