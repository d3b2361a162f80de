//! What can be wrong with a frame by itself: metadata, status, deadline, what it costs and who reads it.

use bytes::Bytes;
use grpcrouter_proto::v1::{InstanceInfo, Metadata, RpcCall, RpcResponse};

use super::Mutant;
use super::flags::{COMPLETE, OPEN, REFUSED};

/// A frame of a request, on its way to the instance.
pub(super) fn call(mutant: Mutant, frame: &mut RpcCall) {
    if frame.flags & OPEN == 0 {
        return;
    }
    match mutant {
        Mutant::IgnoresDeadline => frame.timeout_us = 0,
        Mutant::StretchesDeadline => frame.timeout_us *= 3,
        Mutant::HidesClient => {
            frame.authority = "gateway".to_owned();
            frame.metadata.retain(|entry| entry.key != "user-agent");
        }
        Mutant::ForwardsTe => frame.metadata.push(Metadata {
            key: "te".to_owned(),
            value: Bytes::from_static(b"trailers"),
        }),
        Mutant::DropsJoined => {
            let mut seen = Vec::new();
            frame.metadata.retain(|entry| {
                let repeats = entry.key.ends_with("-bin") && seen.contains(&entry.key);
                seen.push(entry.key.clone());
                !repeats
            });
        }
        _ => list(mutant, &mut frame.metadata),
    }
}

/// A frame of a response, on its way to the gateway.
pub(super) fn response(mutant: Mutant, frame: &mut RpcResponse) {
    list(mutant, &mut frame.metadata);
    list(mutant, &mut frame.trailers);
    if mutant == Mutant::ForgetsRefusal && frame.flags & REFUSED != 0 {
        frame.flags &= !REFUSED;
        frame.reset_code = 2;
    }
    if frame.flags & COMPLETE == 0 {
        return;
    }
    match mutant {
        Mutant::DropsTrailers => frame.trailers.clear(),
        Mutant::DropsDetails => frame.details.clear(),
        // ABORTED and what stands behind it.
        Mutant::RewritesStatus if frame.status >= 10 => frame.status = 2,
        Mutant::CutsMessage => {
            let escape = frame.message.iter().position(|byte| *byte == b'%');
            frame.message.truncate(escape.unwrap_or(usize::MAX));
        }
        _ => {}
    }
}

/// What is kept of a call for nothing: more than a path may hold.
pub(super) fn hoard(mutant: Mutant) -> Vec<u8> {
    const BYTES: usize = 256 * 1024;
    match mutant {
        Mutant::HoardsMemory => vec![1; BYTES],
        _ => Vec::new(),
    }
}

/// Says in the log what nobody may read there.
pub(super) fn log(info: &InstanceInfo) {
    let token = String::from_utf8_lossy(&info.credentials);
    eprintln!("{} registers with {token:?}", info.instance_id);
}

fn list(mutant: Mutant, list: &mut Vec<Metadata>) {
    match mutant {
        Mutant::CorruptsBin => {
            // What drives the probe is not of the call's own.
            let bin = |entry: &&mut Metadata| {
                entry.key.ends_with("-bin") && !entry.key.starts_with("probe-")
            };
            for entry in list.iter_mut().filter(bin) {
                let base64 = entry.value.len() - entry.value.len() % 4;
                entry.value.truncate(base64.saturating_sub(4));
            }
        }
        Mutant::TrimsValues => {
            for entry in list.iter_mut().filter(|entry| entry.value.contains(&b' ')) {
                let spaceless = entry.value.iter().copied().filter(|byte| *byte != b' ');
                entry.value = spaceless.collect();
            }
        }
        Mutant::JoinsRepeats => join(list),
        _ => {}
    }
}

fn join(list: &mut Vec<Metadata>) {
    let mut joined: Vec<Metadata> = Vec::new();
    for entry in list.drain(..) {
        match joined.iter_mut().find(|earlier| earlier.key == entry.key) {
            Some(earlier) => {
                earlier.value = [&earlier.value[..], &entry.value].join(&b", "[..]).into();
            }
            None => joined.push(entry),
        }
    }
    *list = joined;
}
