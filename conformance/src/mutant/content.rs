//! What a mutant does to the messages of a response, and to the credit beside them, frame by frame.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use grpcrouter_proto::v1::RpcResponse;

use super::Mutant;
use super::messages::Found;
use super::tamper::Call;

/// The first message that is repeated, or overtaken, counted from 1: such a response is a long one.
const LATE: u32 = 500;
/// A message with fewer bytes is a small one.
const SMALL: usize = 1024;
/// Credit that calls are given beyond their first window, in [`Mutant::LeaksCredit`], in bytes.
const LEAKS_AFTER: u32 = 2 << 20;
/// Messages without bytes that are kept, in [`Mutant::DropsEmpty`].
const KEPT: u32 = 10;

/// How the messages of a frame lie in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// None, several, or parts of some.
    Other,
    /// Just one, from end to end.
    One,
    /// Just one, which is small, and late in a long response.
    LateOne,
}

/// Changes a frame.
pub(super) fn change(mutant: Mutant, frame: &mut RpcResponse, call: &mut Call) -> Holds {
    let found = call.answers.pass(&frame.data);
    let holds = holds(&found, frame.data.len());
    match mutant {
        Mutant::LeaksCredit => {
            frame.window = frame.window.min(LEAKS_AFTER - call.granted);
            call.granted += frame.window;
        }
        Mutant::DropsEmpty if !frame.data.is_empty() => drop_empty(frame, call, &found),
        Mutant::ClearsCompression => {
            let mut data = frame.data.to_vec();
            for flag in found.flags {
                data[flag] = 0;
            }
            frame.data = data.into();
        }
        Mutant::Repeats if !call.done => {
            if let Some((_, message)) = found.whole.iter().find(is_late) {
                let (start, end) = (message.start, message.end);
                frame.data = [&frame.data[..end], &frame.data[start..]].concat().into();
                call.done = true;
            }
        }
        Mutant::Reorders if !call.done => {
            let late: Vec<_> = found.whole.iter().filter(is_late).collect();
            if let [(_, first), (_, second), ..] = late[..]
                && first.end == second.start
            {
                let moved = [first.start..first.start, second.clone(), first.clone()];
                frame.data = spliced(&frame.data, &moved, second.end);
                call.done = true;
            }
        }
        _ => {}
    }
    holds
}

fn holds(found: &Found, length: usize) -> Holds {
    match &found.whole[..] {
        [one] if one.1 == (0..length) && is_late(&one) => Holds::LateOne,
        [one] if one.1 == (0..length) => Holds::One,
        _ => Holds::Other,
    }
}

fn is_late(message: &&(u32, Range<usize>)) -> bool {
    message.0 >= LATE && message.1.len() < SMALL
}

/// What stands before the first of these pieces, the pieces one after the other, and what stands from `rest` on.
fn spliced(data: &Bytes, pieces: &[Range<usize>], rest: usize) -> Bytes {
    let mut all = BytesMut::from(&data[..pieces[0].start]);
    for piece in pieces {
        all.extend_from_slice(&data[piece.clone()]);
    }
    all.extend_from_slice(&data[rest..]);
    all.freeze()
}

/// Leaves out messages without bytes, after the first few, and numbers what is left so that nobody notices.
fn drop_empty(frame: &mut RpcResponse, call: &mut Call, found: &Found) {
    const EMPTY: usize = 5;
    let mut kept = BytesMut::new();
    let mut at = 0;
    for (_, message) in found
        .whole
        .iter()
        .filter(|(_, message)| message.len() == EMPTY)
    {
        call.empty += 1;
        if call.empty > KEPT {
            kept.extend_from_slice(&frame.data[at..message.start]);
            at = message.end;
        }
    }
    kept.extend_from_slice(&frame.data[at..]);
    frame.data = kept.freeze();
    match frame.data.is_empty() {
        true => {
            frame.seq = 0;
            call.dropped += 1;
        }
        false => frame.seq = frame.seq.wrapping_sub(call.dropped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames with these data, as a mutant changes them in one call.
    fn changed(mutant: Mutant, before: u32, data: &[&[u8]]) -> Vec<(u32, Vec<u8>)> {
        let mut call = Call::default();
        call.answers.begun = before;
        let frames = data.iter().enumerate().map(|(seq, data)| {
            let mut frame = RpcResponse {
                seq: seq as u32,
                data: Bytes::copy_from_slice(data),
                ..RpcResponse::default()
            };
            change(mutant, &mut frame, &mut call);
            (frame.seq, frame.data.to_vec())
        });
        frames.collect()
    }

    #[test]
    fn messages_change_places_and_come_twice_once_a_call() {
        let three = [0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let swapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 1, 9];
        let seen = changed(Mutant::Reorders, 499, &[&three, &three]);
        assert_eq!(seen, [(0, swapped.to_vec()), (1, three.to_vec())]);
        assert_eq!(changed(Mutant::Reorders, 0, &[&three])[0].1, three);
        let twice = [&three[..6], &three[..]].concat();
        let seen = changed(Mutant::Repeats, 499, &[&three, &three]);
        assert_eq!(seen, [(0, twice), (1, three.to_vec())]);
    }

    #[test]
    fn empty_messages_go_after_the_first_ten() {
        let eleven = [0; 55];
        let seen = changed(
            Mutant::DropsEmpty,
            0,
            &[&eleven, &[0; 5], &[0, 0, 0, 0, 1, 8]],
        );
        let due = [
            (0, vec![0; 50]),
            (0, Vec::new()),
            (1, vec![0, 0, 0, 0, 1, 8]),
        ];
        assert_eq!(seen, due);
    }
}
