//! prost writes, the codec reads: random messages, their fields in random order, repeated, and
//! between fields that this revision does not know.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use grpcrouter_core::frame::Limits;
use grpcrouter_proto::v1::{Metadata, RpcCall, RpcResponse};
use proptest::{collection::vec, prelude::*, sample::select};
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint},
};

use crate::model::{compare_request, compare_response};

/// Small, so that random lists lie on both sides of it.
const LIMITS: Limits = Limits { metadata_list: 256 };

proptest! {
    /// Proves: S7
    #[test]
    fn a_call_frame_reads_as_prost_reads_it(message in call(), mangle in mangle()) {
        compare_response(&outer(&mangle.apply(&message.encode_to_vec())), &LIMITS);
    }

    /// Proves: S7
    #[test]
    fn a_response_frame_reads_as_prost_reads_it(message in response(), mangle in mangle()) {
        compare_request(&outer(&mangle.apply(&message.encode_to_vec())), &LIMITS);
    }

    /// A oneof's message may come in pieces, which are merged.
    #[test]
    fn a_frame_in_two_pieces_reads_as_prost_reads_it(first in call(), second in call()) {
        let mut body = BytesMut::from(&outer(&first.encode_to_vec())[..]);
        body.extend_from_slice(&outer(&second.encode_to_vec()));
        compare_response(&body.freeze(), &LIMITS);
    }
}

/// How the fields of a message are disturbed.
#[derive(Debug, Clone)]
pub(crate) struct Mangle {
    order: Vec<usize>,
    repeat: bool,
    unknown: Vec<(u32, u8, u64)>,
}

impl Mangle {
    /// Splits a message into its top-level fields and puts them together in another order. Fields
    /// of one number keep theirs, as it has a meaning.
    fn apply(&self, message: &[u8]) -> Vec<u8> {
        let mut by_number: BTreeMap<u32, VecDeque<Vec<u8>>> = BTreeMap::new();
        let mut numbers = Vec::new();
        for (number, field) in split(message) {
            numbers.push(number);
            by_number.entry(number).or_default().push_back(field);
        }
        for &(number, kind, value) in &self.unknown {
            numbers.push(number);
            by_number
                .entry(number)
                .or_default()
                .push_back(unknown(number, kind, value));
        }
        if self.repeat {
            // A stale value before the one that counts.
            for number in [1, 2, 3, 15] {
                if let Some(fields) = by_number.get_mut(&number) {
                    let mut stale = Vec::new();
                    if number == 1 {
                        prost::encoding::fixed64::encode(number, &7, &mut stale);
                    } else if number == 15 {
                        prost::encoding::bytes::encode(number, &vec![1, 2, 3], &mut stale);
                    } else {
                        prost::encoding::uint32::encode(number, &7, &mut stale);
                    }
                    numbers.push(number);
                    fields.push_front(stale);
                }
            }
        }
        let mut out = Vec::new();
        for at in 0..numbers.len() {
            let pick = self.order.get(at).map_or(0, |order| order % numbers.len());
            numbers.swap(at, pick);
        }
        for number in numbers {
            let fields = by_number.get_mut(&number).unwrap();
            out.extend(fields.pop_front().unwrap());
        }
        out
    }
}

pub(crate) fn mangle() -> impl Strategy<Value = Mangle> {
    let unknown = (
        select(vec![16, 17, 1_000, (1 << 29) - 1]),
        0..4_u8,
        any::<u64>(),
    );
    (
        vec(any::<usize>(), 0..20),
        any::<bool>(),
        vec(unknown, 0..4),
    )
        .prop_map(|(order, repeat, unknown)| Mangle {
            order,
            repeat,
            unknown,
        })
}

pub(crate) fn call() -> impl Strategy<Value = RpcCall> {
    let numbers = (
        any::<u64>(),
        flags(),
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        any::<u64>(),
    );
    let method = prop_oneof![8 => "/[a-z.]{1,20}/[A-Z][a-z]{0,9}", 1 => any::<String>()];
    (
        numbers,
        method,
        any::<String>(),
        value(),
        vec(metadata(), 0..5),
        data(),
    )
        .prop_map(
            |(
                (request_id, flags, seq, window, reset_code, timeout_us),
                method,
                authority,
                content_type,
                metadata,
                data,
            )| RpcCall {
                request_id,
                flags,
                seq,
                window,
                method,
                authority,
                timeout_us,
                content_type,
                metadata,
                reset_code,
                data,
            },
        )
}

pub(crate) fn response() -> impl Strategy<Value = RpcResponse> {
    let numbers = (
        any::<u64>(),
        flags(),
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
    );
    let status = prop_oneof![0..20_u32, any::<u32>()];
    let lists = (vec(metadata(), 0..5), vec(metadata(), 0..5));
    (numbers, value(), lists, status, data(), data(), data()).prop_map(
        |(
            (request_id, flags, seq, window, reset_code),
            content_type,
            (metadata, trailers),
            status,
            message,
            details,
            data,
        )| RpcResponse {
            request_id,
            flags,
            seq,
            window,
            content_type,
            metadata,
            reset_code,
            status,
            message,
            details,
            trailers,
            data,
        },
    )
}

/// Field 4 of the outer message.
pub(crate) fn outer(message: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    prost::encoding::bytes::encode(4, &message.to_vec(), &mut out);
    out.freeze()
}

fn flags() -> impl Strategy<Value = u32> {
    prop_oneof![8 => select(vec![0, 1, 2, 3, 4, 12]), 1 => any::<u32>()]
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

/// Mostly a header value, sometimes not.
fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        12 => "[ -~]{0,30}".prop_map(Bytes::from),
        4 => vec(0x20..0x7f_u8, 0..200).prop_map(Bytes::from),
        4 => vec(0x80..=0xff_u8, 0..20).prop_map(Bytes::from),
        1 => data(),
    ]
}

/// Mostly a header name, sometimes a reserved one, sometimes none.
fn metadata() -> impl Strategy<Value = Metadata> {
    let key = prop_oneof![
        8 => select(vec!["dup", "x-a", "x-b-bin", "grpc-encoding", "user-agent"])
            .prop_map(str::to_owned),
        8 => "[a-z][a-z0-9_.-]{0,12}",
        4 => select(vec![
            "te", "host", "connection", "content-type", "grpc-timeout", "grpc-status",
            "grpc-message", "grpc-status-details-bin", "grpcrouter-reason",
        ])
        .prop_map(str::to_owned),
        1 => select(vec!["Dup", ":path", "", "a b", "a\r\nb", "\u{e9}"]).prop_map(str::to_owned),
    ];
    (key, value()).prop_map(|(key, value)| Metadata { key, value })
}

fn split(message: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut rest = message;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let begin = rest;
        let (number, wire_type) = decode_key(&mut rest).unwrap();
        match wire_type {
            WireType::Varint => drop(decode_varint(&mut rest).unwrap()),
            WireType::SixtyFourBit => rest = &rest[8..],
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut rest).unwrap()).unwrap();
                rest = &rest[len..];
            }
            other => unreachable!("{other:?} in our own messages"),
        }
        fields.push((number, begin[..begin.len() - rest.len()].to_vec()));
    }
    fields
}

fn unknown(number: u32, kind: u8, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    match kind {
        0 => {
            encode_key(number, WireType::Varint, &mut out);
            encode_varint(value, &mut out);
        }
        1 => {
            encode_key(number, WireType::SixtyFourBit, &mut out);
            out.put_u64_le(value);
        }
        2 => {
            encode_key(number, WireType::LengthDelimited, &mut out);
            encode_varint(8, &mut out);
            out.put_u64_le(value);
        }
        _ => {
            encode_key(number, WireType::ThirtyTwoBit, &mut out);
            out.put_u32_le(7);
        }
    }
    out
}
