//! What a hostile peer may send, one trick a test.

use bytes::{Bytes, BytesMut};
use grpcrouter_core::frame::{
    Breach, DecodeError, DeframeError, Deframer, Inbound, Limits, decode_request, decode_response,
};
use grpcrouter_proto::v1::{Metadata, RpcCall, RpcResponse};
use prost::Message;

use crate::prost_frames::outer;

const ID: u64 = 0xabcd_0000_0001;

/// Proves: S5
#[test]
fn a_length_of_almost_4_gib_is_refused_at_its_prefix() {
    let mut deframer = Deframer::new(65_536);
    deframer.push(Bytes::from_static(&[0, 0xff, 0xff]));
    assert_eq!(deframer.next(), Ok(None), "not seen yet");
    deframer.push(Bytes::from_static(&[0xff, 0xff]));
    let refused = DeframeError::TooLarge {
        len: u32::MAX,
        max_frame: 65_536,
    };
    assert_eq!(
        deframer.next(),
        Err(refused),
        "seen before a byte of the body"
    );
}

/// Proves: S5
#[test]
fn the_limit_on_a_frame_is_exact_and_takes_in_its_whole_body() {
    for (len, fits) in [(9, true), (10, true), (11, false)] {
        let mut deframer = Deframer::new(10);
        let mut stream = BytesMut::from(&[0, 0, 0, 0, len][..]);
        stream.resize(5 + usize::from(len), 7);
        deframer.push(stream.freeze());
        assert_eq!(deframer.next().is_ok(), fits, "{len} bytes of 10");
    }
}

#[test]
fn a_compressed_frame_is_refused_and_a_cut_one_waits() {
    let mut deframer = Deframer::new(10);
    deframer.push(Bytes::from_static(&[0, 0, 0, 0, 4, 1]));
    assert_eq!(deframer.next(), Ok(None));
    deframer.push(Bytes::from_static(&[2, 3, 4, 1, 0, 0, 0, 0]));
    assert_eq!(deframer.next(), Ok(Some(Bytes::from_static(&[1, 2, 3, 4]))));
    assert_eq!(deframer.next(), Err(DeframeError::Flag(1)));
}

/// Proves: S7
#[test]
fn a_frame_of_a_later_revision_is_ignored() {
    // Field 99 of the oneof, with anything in it.
    let body = Bytes::from_static(&[0x9a, 0x06, 0x03, 0xff, 0xff, 0xff]);
    assert_eq!(
        decode_request(body.clone(), &Limits::default()),
        Ok(Inbound::Unknown)
    );
    assert_eq!(
        decode_response(body, &Limits::default()),
        Ok(Inbound::Unknown)
    );
    assert_eq!(
        decode_request(Bytes::new(), &Limits::default()),
        Ok(Inbound::Unknown)
    );
}

#[test]
fn a_breach_names_its_call_and_its_rule() {
    let cases = [
        ("Upper", "v", Breach::HeaderName),
        (":path", "v", Breach::HeaderName),
        ("", "v", Breach::HeaderName),
        ("a\"b", "v", Breach::HeaderName),
        ("x", "v\r\nset: cookie", Breach::HeaderValue),
        ("x", "v\0", Breach::HeaderValue),
    ];
    for (key, value, breach) in cases {
        let metadata = vec![Metadata {
            key: key.into(),
            value: value.into(),
        }];
        let message = RpcCall { metadata, ..open() };
        assert_eq!(
            breach_of(&message),
            Some((ID, breach)),
            "{key:?}: {value:?}"
        );
    }
    for method in ["", "pkg.Service/Method", "*", "/a b", "/a\0", "/a\r\nb"] {
        let message = RpcCall {
            method: method.into(),
            ..open()
        };
        assert_eq!(
            breach_of(&message),
            Some((ID, Breach::Method)),
            "{method:?}"
        );
    }
    let contradictions = [
        RpcCall {
            flags: 1 | 4,
            ..open()
        },
        RpcCall {
            flags: 2 | 4,
            ..open()
        },
        RpcCall {
            flags: 1 | 8,
            ..open()
        },
        RpcCall {
            flags: 4,
            data: Bytes::from_static(b"x"),
            ..open()
        },
    ];
    for message in contradictions {
        assert_eq!(
            breach_of(&message),
            Some((ID, Breach::Flags)),
            "{message:?}"
        );
    }
}

#[test]
fn a_breach_is_named_though_the_id_comes_last() {
    let mut message = RpcCall {
        request_id: 0,
        method: String::new(),
        ..open()
    }
    .encode_to_vec();
    message.extend(
        RpcCall {
            request_id: ID,
            ..RpcCall::default()
        }
        .encode_to_vec(),
    );
    let breach = DecodeError::Breach {
        id: ID,
        breach: Breach::Method,
    };
    assert_eq!(
        decode_response(outer(&message), &Limits::default()),
        Err(breach)
    );
}

#[test]
fn the_limit_on_a_metadata_list_is_exact_and_counts_reserved_headers() {
    let entry = |key: &str, len| Metadata {
        key: key.into(),
        value: vec![b'x'; len].into(),
    };
    let whole = Limits::default().metadata_list;
    let lists = [
        (vec![entry("k", whole - 33)], true),
        (vec![entry("k", whole - 32)], false),
        (vec![entry("te", whole - 34), entry("k", 0)], false),
    ];
    for (metadata, fits) in lists {
        let message = RpcCall { metadata, ..open() };
        let breach = (!fits).then_some((ID, Breach::MetadataTooLarge));
        assert_eq!(breach_of(&message), breach);
    }
}

#[test]
fn fields_of_a_flag_that_is_not_set_do_nothing() {
    let metadata = vec![Metadata {
        key: "BAD".into(),
        value: Bytes::new(),
    }];
    let message = RpcCall {
        flags: 2,
        method: "no path".into(),
        metadata,
        ..open()
    };
    assert_eq!(breach_of(&message), None);
}

/// A handler cannot forge what the gateway says: neither a status in its initial metadata nor a
/// reason in its trailers.
#[test]
fn a_forged_status_and_a_forged_reason_are_dropped() {
    let entry = |key: &str| Metadata {
        key: key.into(),
        value: "0".into(),
    };
    let forged = vec![
        entry("grpc-status"),
        entry("grpc-message"),
        entry("grpcrouter-reason"),
    ];
    let message = RpcResponse {
        flags: 3,
        status: 13,
        metadata: forged.clone(),
        trailers: forged,
        ..RpcResponse::default()
    };
    let body = outer(&message.encode_to_vec());
    let Ok(Inbound::Hot(frame)) = decode_request(body, &Limits::default()) else {
        panic!("the frame itself is in order");
    };
    assert!(frame.start.unwrap().metadata.is_empty());
    let headers = frame.end.unwrap().into_headers();
    assert_eq!(headers.len(), 1);
    assert_eq!(headers["grpc-status"], "13");
}

fn open() -> RpcCall {
    RpcCall {
        request_id: ID,
        flags: 1,
        method: "/pkg.Service/Method".into(),
        ..RpcCall::default()
    }
}

fn breach_of(message: &RpcCall) -> Option<(u64, Breach)> {
    match decode_response(outer(&message.encode_to_vec()), &Limits::default()) {
        Err(DecodeError::Breach { id, breach }) => Some((id, breach)),
        Ok(Inbound::Hot(_)) => None,
        other => panic!("{other:?}"),
    }
}
