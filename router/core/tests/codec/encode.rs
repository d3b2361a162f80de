//! The codec writes, prost reads, and the codec reads its own.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_STANDARD_NO_PAD};
use bytes::{Bytes, BytesMut};
use grpcrouter_core::{
    frame::{
        DeframeError, Deframer, Flags, FrameHeader, Inbound, Limits, PREFIX_LEN, RPC_FIELD,
        decode_request, decode_response, encode_control, encode_head, encode_open, encode_status,
        encode_trailers, write_frame,
    },
    metadata::{is_forwarded_request, is_forwarded_response, is_forwarded_trailer},
};
use grpcrouter_proto::v1::{
    Heartbeat, Metadata, RegisterRequest, RegisterResponse, RpcCall, RpcResponse, register_request,
    register_response,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::{collection::vec, prelude::*, sample::select};
use prost::Message;

const LIMITS: Limits = Limits {
    metadata_list: 1 << 20,
};

proptest! {
    #[test]
    fn prost_reads_a_call_as_it_was_written(
        (id, seq, window) in any::<(u64, u32, u32)>(),
        method in "/[a-z.]{1,20}/[A-Z][a-z]{0,9}",
        authority in any::<String>(),
        timeout_us in any::<Option<u64>>(),
        headers in headers(),
        data in vec(any::<u8>(), 0..300),
    ) {
        let timeout = timeout_us.map(Duration::from_micros);
        let content_type = HeaderValue::from_static("application/grpc+proto");
        let mut fields = BytesMut::new();
        encode_open(&mut fields, &method, &authority, timeout, Some(&content_type), &headers);
        let flags = Flags::OPEN | Flags::HALF_CLOSE;
        let header = FrameHeader { id, flags, seq, window, reset_code: 0 };
        let body = finish(&header, &fields, &data);

        let expected = RpcCall {
            request_id: id,
            flags: 3,
            seq,
            window,
            method,
            authority,
            // Zero would be no timeout at all.
            timeout_us: timeout_us.map_or(0, |timeout_us| timeout_us.max(1)),
            content_type: Bytes::from_static(b"application/grpc+proto"),
            metadata: entries(&headers, is_forwarded_request),
            reset_code: 0,
            data: data.into(),
        };
        let read = RegisterResponse::decode(body.clone()).unwrap();
        prop_assert_eq!(read.frame, Some(register_response::Frame::RpcCall(expected.clone())));
        let ours = crate::model::verdict(decode_response(body, &LIMITS));
        prop_assert_eq!(ours, Some(crate::model::call(&expected, &LIMITS)));
    }

    #[test]
    fn prost_reads_an_answer_as_it_was_written(
        (id, seq, window) in any::<(u64, u32, u32)>(),
        head in headers(),
        trailers in headers(),
        status in 0..=16_u32,
        message in "[ -~]{0,20}",
        details in vec(any::<u8>(), 0..40),
        padded in any::<bool>(),
        data in vec(any::<u8>(), 0..300),
    ) {
        let encoded = match padded {
            true => BASE64_STANDARD.encode(&details),
            false => BASE64_STANDARD_NO_PAD.encode(&details),
        };
        let mut trailers = trailers;
        trailers.insert("grpc-status", status.into());
        trailers.insert("grpc-message", message.parse().unwrap());
        trailers.insert("grpc-status-details-bin", encoded.parse().unwrap());
        let mut fields = BytesMut::new();
        encode_head(&mut fields, Some(&HeaderValue::from_static("application/grpc")), &head);
        encode_trailers(&mut fields, &trailers);
        let flags = Flags::HEAD | Flags::COMPLETE;
        let header = FrameHeader { id, flags, seq, window, reset_code: 0 };
        let body = finish(&header, &fields, &data);

        let expected = RpcResponse {
            request_id: id,
            flags: 3,
            seq,
            window,
            content_type: Bytes::new(),
            metadata: entries(&head, is_forwarded_response),
            reset_code: 0,
            status,
            message: message.into(),
            details: details.into(),
            trailers: entries(&trailers, is_forwarded_trailer),
            data: data.into(),
        };
        let read = RegisterRequest::decode(body.clone()).unwrap();
        prop_assert_eq!(read.frame, Some(register_request::Frame::RpcResponse(expected.clone())));
        let ours = crate::model::verdict(decode_request(body, &LIMITS));
        prop_assert_eq!(ours, Some(crate::model::response(&expected, &LIMITS)));
    }

    /// Proves: S5
    #[test]
    fn any_cut_of_a_stream_gives_the_same_messages(
        messages in vec(vec(any::<u8>(), 0..100), 0..10),
        cuts in vec(1..50_usize, 1..20),
    ) {
        let mut stream = BytesMut::new();
        for message in &messages {
            stream.extend_from_slice(&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()]);
            stream.extend_from_slice(message);
        }
        let mut stream = stream.freeze();
        let mut deframer = Deframer::new(100);
        let mut read = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !stream.is_empty() {
            deframer.push(stream.split_to(stream.len().min(*cuts.next().unwrap())));
            while let Some(message) = deframer.next().unwrap() {
                read.push(message.to_vec());
            }
        }
        prop_assert_eq!(read, messages);
    }
}

/// `http` lets such a name through from an HTTP/2 client, and a decoder must not take it.
#[test]
fn a_name_that_http_does_not_allow_is_not_written() {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_lowercase(b"a\"b").unwrap(), 1.into());
    let mut fields = BytesMut::new();
    encode_head(&mut fields, None, &headers);
    assert!(fields.is_empty());
}

#[test]
fn a_status_that_is_absent_or_out_of_range_is_unknown() {
    for (status, expected) in [
        ("0", 0),
        ("16", 16),
        ("17", 2),
        ("", 2),
        ("007", 2),
        ("-1", 2),
        ("99999999999", 2),
    ] {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        assert_eq!(written_trailers(&trailers).status, expected, "{status:?}");
    }
    assert_eq!(
        written_trailers(&HeaderMap::new()).status,
        2,
        "an absent one"
    );
}

#[test]
fn details_that_are_not_base64_are_left_out_and_the_status_stays() {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 5.into());
    trailers.insert("grpc-status-details-bin", "*not base64*".parse().unwrap());
    let read = written_trailers(&trailers);
    assert_eq!((read.status, read.details), (5, Bytes::new()));
}

#[test]
fn a_status_made_here_is_percent_encoded_and_reaches_the_client_whole() {
    let name = HeaderName::from_static("x-why");
    let value = HeaderValue::from_static("because");
    let mut fields = BytesMut::new();
    encode_status(&mut fields, 14, "50 % gone\n", [(&name, &value)]);
    let header = FrameHeader {
        flags: Flags::COMPLETE,
        ..FrameHeader::default()
    };
    let Ok(Inbound::Hot(frame)) = decode_request(finish(&header, &fields, &[]), &LIMITS) else {
        panic!("a frame of our own does not decode");
    };
    let headers = frame.end.unwrap().into_headers();
    assert_eq!(headers["grpc-status"], "14");
    assert_eq!(headers["grpc-message"], "50 %25 gone%0A");
    assert_eq!(headers["x-why"], "because");
}

#[test]
fn a_control_frame_goes_through_prost_with_its_prefix() {
    let heartbeat = Heartbeat {
        nonce: 7,
        reply_to: 0,
        services: Vec::new(),
    };
    let frame = register_request::Frame::Heartbeat(heartbeat);
    let mut out = BytesMut::new();
    encode_control(
        &mut out,
        &RegisterRequest {
            frame: Some(frame.clone()),
        },
    );
    let mut deframer = Deframer::new(1_000);
    deframer.push(out.freeze());
    let body = deframer.next().unwrap().unwrap();
    assert_eq!(decode_request(body, &LIMITS), Ok(Inbound::Control(frame)));
}

/// The frame with its data, without its prefix, whose length is checked on the way.
fn finish(header: &FrameHeader, fields: &[u8], data: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    write_frame(&mut out, RPC_FIELD, header, fields, data.len());
    out.extend_from_slice(data);
    let whole = out.freeze();
    let mut deframer = Deframer::new(whole.len());
    deframer.push(whole.clone());
    let body = deframer
        .next()
        .unwrap()
        .expect("the prefix does not claim too much");
    assert_eq!(
        body.len(),
        whole.len() - PREFIX_LEN,
        "the prefix does not claim too little"
    );
    assert_eq!(
        body.as_ptr(),
        whole[PREFIX_LEN..].as_ptr(),
        "a whole frame is not copied"
    );
    let mut strict = Deframer::new(body.len() - 1);
    strict.push(whole);
    assert!(matches!(strict.next(), Err(DeframeError::TooLarge { .. })));
    body
}

fn written_trailers(trailers: &HeaderMap) -> RpcResponse {
    let mut fields = BytesMut::new();
    encode_trailers(&mut fields, trailers);
    RpcResponse::decode(fields).unwrap()
}

fn entries(headers: &HeaderMap, is_forwarded: fn(&HeaderName) -> bool) -> Vec<Metadata> {
    headers
        .iter()
        .filter(|(name, _)| is_forwarded(name))
        .map(|(name, value)| Metadata {
            key: name.as_str().to_owned(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        })
        .collect()
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop_oneof![
        4 => select(vec!["dup", "x-a-bin", "grpc-encoding"]).prop_map(str::to_owned),
        4 => "[a-z][a-z0-9_.-]{0,12}",
        1 => select(vec!["te", "host", "content-type", "grpc-timeout", "grpc-status"])
            .prop_map(str::to_owned),
    ];
    let value = prop_oneof![
        "[ -~]{0,30}".prop_map(String::into_bytes),
        vec(0x80_u8.., 0..9)
    ];
    vec((name, value), 0..8).prop_map(|pairs| {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::from_bytes(&value).unwrap(),
            );
        }
        map
    })
}
