//! Metadata that travels: values, repeats, order, bytes.

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;

use super::support::arms::{Arm, on_both_arms};
use super::support::client::request;
use super::support::handler::Handler;
use super::support::within;
use super::support::world::World;

/// Where metadata was seen: by the handler, and by the client at the start and at the end.
const PLACES: [&str; 3] = ["request", "initial", "trailing"];

/// Sends metadata with a call, has the handler send the same as its initial and trailing metadata, and
/// returns it as it was seen in all three places.
async fn seen_everywhere(arm: Arm, sent: &[(&'static str, &[u8])]) -> [HeaderMap; 3] {
    let sent: HeaderMap = sent
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_bytes(value).expect("a value");
            (HeaderName::from_static(name), value)
        })
        .collect();
    let (seen, mut requests) = mpsc::channel(16);
    let answers = sent.clone();
    let handler = Handler::new(move |mut call| {
        let _ = seen.try_send(call.headers.clone());
        let answers = answers.clone();
        async move {
            call.head(answers.clone());
            while let Some(message) = call.message().await {
                call.send(&message).await;
            }
            call.finish_with(answers, 0, "").await;
        }
    });
    let (world, client) = World::probe_on(arm, handler).await;
    let mut call = request("Echo");
    call.headers_mut().extend(sent);
    let mut call = client.open(call).await;
    call.half_close();
    let answer = call.answer().await;
    assert_eq!(answer.status(), 0, "{answer:?}");
    world.quiet().await;
    let request = within("the handler's call", requests.recv()).await;
    [
        request.expect("a call"),
        answer.head.expect("a head"),
        answer.trailers,
    ]
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect()
}

/// Proves: K15
#[tokio::test]
async fn binary_metadata_arrives_as_the_same_bytes_padded_or_not() {
    let all: Vec<u8> = (0..=255).collect();
    let cases: [(&[u8], &[&str]); 6] = [
        (b"", &[""]),
        (b"\x00", &["AA", "AA=="]),
        (b"\x00\xff", &["AP8", "AP8="]),
        (b"\xff\x00\xff", &["/wD/"]),
        (b"\xfb\xff\xbf\x00", &["+/+/AA", "+/+/AA=="]),
        (&all, &[&base64_of(&all)]),
    ];
    on_both_arms(async |arm| {
        for (bytes, forms) in cases {
            let sent: Vec<_> = forms
                .iter()
                .map(|form| ("x-probe-bin", form.as_bytes()))
                .collect();
            let seen = seen_everywhere(arm, &sent).await;
            for (place, headers) in PLACES.into_iter().zip(seen) {
                assert_eq!(
                    values(&headers, "x-probe-bin"),
                    forms.iter().map(|form| form.as_bytes()).collect::<Vec<_>>(),
                    "{place}: the very characters"
                );
                // Judged by another library's decoder.
                let metadata = MetadataMap::from_headers(headers);
                for value in metadata.get_all_bin("x-probe-bin") {
                    assert_eq!(value.to_bytes().expect("base64"), bytes, "{place}");
                }
            }
        }
    })
    .await;
}

/// As tonic's own client writes it.
fn base64_of(bytes: &[u8]) -> String {
    let mut metadata = MetadataMap::new();
    metadata.insert_bin("x-bin", tonic::metadata::MetadataValue::from_bytes(bytes));
    let value = &metadata.into_headers()["x-bin"];
    value.to_str().expect("base64").to_owned()
}

/// Proves: K16
#[tokio::test]
async fn binary_values_joined_by_commas_are_still_as_many_values() {
    on_both_arms(async |arm| {
        let joined: &[(_, &[u8])] = &[("x-probe-bin", b"AAEC,AwQ=,,/w"), ("x-probe-bin", b"BQ")];
        let seen = seen_everywhere(arm, joined).await;
        for (place, headers) in PLACES.into_iter().zip(seen) {
            let values = values(&headers, "x-probe-bin").join(&b',');
            let values: Vec<_> = values.split(|byte| *byte == b',').collect();
            let sent: [&[u8]; 5] = [b"AAEC", b"AwQ=", b"", b"/w", b"BQ"];
            assert_eq!(values, sent, "{place}");
        }
    })
    .await;
}

/// Proves: K17
#[tokio::test]
async fn repeated_keys_keep_their_count_and_order() {
    on_both_arms(async |arm| {
        let sent: &[(_, &[u8])] = &[
            ("dup", b"1"),
            ("other", b"a"),
            ("dup", b"2"),
            ("dup", b"1"),
            ("other", b"a"),
            ("dup-bin", b"AQ"),
            ("dup-bin", b"AA"),
        ];
        let seen = seen_everywhere(arm, sent).await;
        for (place, headers) in PLACES.into_iter().zip(seen) {
            let expected: [&[u8]; 3] = [b"1", b"2", b"1"];
            assert_eq!(values(&headers, "dup"), expected, "{place}");
            let expected: [&[u8]; 2] = [b"a", b"a"];
            assert_eq!(values(&headers, "other"), expected, "{place}");
            let expected: [&[u8]; 2] = [b"AQ", b"AA"];
            assert_eq!(values(&headers, "dup-bin"), expected, "{place}");
        }
    })
    .await;
}

/// Proves: K18
#[tokio::test]
async fn text_values_arrive_character_for_character() {
    // Space at an edge is no part of a value in HTTP; between other characters it is.
    let all: Vec<u8> = [b"x".as_slice(), &(0x20..=0x7e).collect::<Vec<u8>>()].concat();
    on_both_arms(async |arm| {
        let sent: &[(_, &[u8])] = &[
            ("empty", b""),
            ("spaces", b"a  b c"),
            ("percent", b"100 %25 %zz %"),
            ("all", &all),
        ];
        let seen = seen_everywhere(arm, sent).await;
        for (place, headers) in PLACES.into_iter().zip(seen) {
            for (name, value) in sent {
                assert_eq!(values(&headers, name), [*value], "{place}: {name}");
            }
        }
    })
    .await;
}
