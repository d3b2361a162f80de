//! Ids that are taken again too soon after their calls.

use std::collections::{BTreeMap, VecDeque};

use grpcrouter_proto::v1::{RpcCall, RpcResponse};

use super::flags::{COMPLETE, OPEN, RESET};

/// Numbers that are free before one is taken again: the frames that cross the end of its call have come by then, so
/// that nothing is wrong but the number.
const FREE: usize = 256;

/// The ids of one tunnel: to the instance each is a small number.
#[derive(Debug, Default)]
pub(super) struct Ids {
    numbers: BTreeMap<u64, u64>,
    /// The call that has a number, or had it last.
    ids: BTreeMap<u64, u64>,
    /// Those whose calls are over, in their order.
    free: VecDeque<u64>,
}

impl Ids {
    /// A frame on its way to the instance.
    pub(super) fn call(&mut self, frame: &mut RpcCall) {
        let id = frame.request_id;
        if frame.flags & OPEN != 0 {
            let next = self.ids.len() as u64 + 1;
            let again = self.free.len() > FREE;
            let number = again.then(|| self.free.pop_front()).flatten();
            let number = number.unwrap_or(next);
            if let Some(last) = self.ids.insert(number, id) {
                self.numbers.remove(&last);
            }
            self.numbers.insert(id, number);
        }
        // What is late for a call whose number is another's stays as it is.
        let Some(number) = self.numbers.get(&id).copied() else {
            return;
        };
        frame.request_id = number;
        if frame.flags & RESET != 0 {
            self.over(number);
        }
    }

    /// A frame on its way to the gateway.
    pub(super) fn answer(&mut self, mut frame: RpcResponse) -> RpcResponse {
        let number = frame.request_id;
        let Some(id) = self.ids.get(&number) else {
            return frame;
        };
        frame.request_id = *id;
        if frame.flags & (COMPLETE | RESET) != 0 {
            self.over(number);
        }
        frame
    }

    fn over(&mut self, number: u64) {
        // Both sides may say so.
        if !self.free.contains(&number) {
            self.free.push_back(number);
        }
    }
}
