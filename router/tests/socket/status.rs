//! Statuses: codes, messages, details, and the trailers beside them.

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;

use super::support::arms::{Arm, on_both_arms};
use super::support::client::{Answer, text};
use super::support::handler::Handler;
use super::support::raw::{self, Raw};
use super::support::world::World;

fn headers(entries: &[(&'static str, &str)]) -> HeaderMap {
    entries
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (HeaderName::from_static(name), value)
        })
        .collect()
}

/// What a client gets when a handler answers with these trailers, with a head before them or without.
async fn answers(arm: Arm, trailers: &HeaderMap) -> [Answer; 2] {
    let sent = trailers.clone();
    let handler = Handler::new(move |mut call| {
        let trailers = sent.clone();
        async move {
            if call.method.ends_with("TrailersOnly") {
                call.trailers_only_as(trailers);
            } else {
                call.head(HeaderMap::new());
                call.finish_as(trailers).await;
            }
        }
    });
    let (world, client) = World::probe_on(arm, handler).await;
    let answers = [
        client.unary("Head", b"q").await,
        client.unary("TrailersOnly", b"q").await,
    ];
    world.quiet().await;
    answers
}

/// Proves: K11
#[tokio::test]
async fn a_trailers_only_error_is_one_headers_frame_with_all_that_was_in_it() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            call.trailers_only(headers(&[("x-why", "none today")]), 5, "no such thing");
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let answer = client.unary("Find", b"q").await;
        assert!(answer.head.is_none(), "one block: {answer:?}");
        assert_eq!(answer.status(), 5);
        assert_eq!(text(&answer.trailers, "grpc-message"), "no such thing");
        assert_eq!(text(&answer.trailers, "x-why"), "none today");
        assert_eq!(text(&answer.trailers, "content-type"), "application/grpc");
        let mut raw = Raw::connect(world.clients).await;
        raw.call(1, "Find", &[]).await;
        raw.write(raw::DATA, raw::END_STREAM, 1, &[]).await;
        let frames = raw.read_to_end(1).await;
        assert_eq!(frames.len(), 1, "exactly one frame: {frames:?}");
        assert_eq!(frames[0].kind, raw::HEADERS);
        assert!(frames[0].ends(), "END_STREAM stands in it");
    })
    .await;
}

/// Proves: K13
#[tokio::test]
async fn initial_metadata_and_error_trailers_without_a_message_stay_two_blocks() {
    on_both_arms(async |arm| {
        let handler = Handler::new(|mut call| async move {
            call.head(headers(&[("x-initial", "i")]));
            if call.method.ends_with("Later") {
                // The client ends only once it has the head.
                assert_eq!(call.message().await, None);
            }
            call.finish_with(headers(&[("x-trailing", "t")]), 10, "try again")
                .await;
        });
        let (world, client) = World::probe_on(arm, handler).await;
        for method in ["AtOnce", "Later"] {
            let mut call = client.call(method).await;
            let head = call.head().await;
            call.half_close();
            assert_eq!(call.message().await, None, "{method}: no message");
            let trailers = call.trailers().await;
            assert_eq!(text(&head, "x-initial"), "i");
            assert_eq!(text(&trailers, "x-trailing"), "t");
            assert_eq!(text(&trailers, "grpc-status"), "10");
            assert_eq!(text(&trailers, "grpc-message"), "try again");
            for (block, other) in [(&head, "x-trailing"), (&trailers, "x-initial")] {
                assert!(!block.contains_key(other), "{method}: {other} moved");
            }
            assert!(!head.contains_key("grpc-status"), "{head:?}");
        }
        world.quiet().await;
    })
    .await;
}

/// Proves: K23
#[tokio::test]
async fn every_code_passes_with_its_message() {
    on_both_arms(async |arm| {
        for code in 0..=16 {
            let mut trailers = headers(&[("grpc-message", "so it is")]);
            trailers.insert("grpc-status", code.into());
            for answer in answers(arm, &trailers).await {
                assert_eq!(answer.status(), code, "{answer:?}");
                assert_eq!(text(&answer.trailers, "grpc-message"), "so it is");
                assert_eq!(answer.reason(), "", "it is the handler's own");
            }
        }
    })
    .await;
}

/// Proves: K23
#[tokio::test]
async fn a_code_that_is_none_of_grpcs_is_unknown() {
    on_both_arms(async |arm| {
        for code in ["17", "18446744073709551616", "-1", "07", "OK", ""] {
            let trailers = headers(&[("grpc-status", code), ("grpc-message", "odd")]);
            for answer in answers(arm, &trailers).await {
                assert_eq!(answer.status(), 2, "{code:?}: {answer:?}");
                assert_eq!(text(&answer.trailers, "grpc-message"), "odd");
            }
        }
        // Without a status there is no trailers-only answer: the handler ends, with trailers or without.
        let handler = Handler::new(|mut call| async move {
            call.head(HeaderMap::new());
            if call.method.ends_with("Trailers") {
                call.finish_as(headers(&[("x-end", "1")])).await;
            }
        });
        let (world, client) = World::probe_on(arm, handler).await;
        let answer = client.unary("Trailers", b"q").await;
        assert_eq!(answer.status(), 2, "{answer:?}");
        assert_eq!(text(&answer.trailers, "x-end"), "1");
        let answer = client.unary("Nothing", b"q").await;
        assert_eq!(answer.status(), 2, "{answer:?}");
        world.quiet().await;
    })
    .await;
}

/// Proves: K24
#[tokio::test]
async fn a_message_of_any_text_is_percent_encoded_and_intact() {
    on_both_arms(async |arm| {
        let special = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
        let long = "100 % \u{7f}ä".repeat(500);
        assert!(long.len() > 4096);
        for message in [special, "%", "%%41", "plain", &long] {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", 2.into());
            let encoded = grpcrouter_core::percent::encode(message);
            trailers.insert("grpc-message", encoded.clone());
            for answer in answers(arm, &trailers).await {
                // Judged by another library's decoder, and as bytes.
                let status = Status::from_header_map(&answer.trailers).expect("a status");
                assert_eq!(status.message(), message);
                assert_eq!(answer.trailers["grpc-message"], encoded, "as it was sent");
            }
        }
    })
    .await;
}

/// Proves: K25, K26
#[tokio::test]
async fn details_and_trailers_that_the_gateway_does_not_know_are_byte_for_byte() {
    on_both_arms(async |arm| {
        for size in [1_usize, 2, 3, 300, 1_500, 6_000] {
            let details: Vec<u8> = (0..size).map(|i| (i * 7 % 256) as u8).collect();
            let error = Status::with_details(tonic::Code::Aborted, "no", details.clone().into());
            let mut trailers = error.into_http::<()>().into_parts().0.headers;
            trailers.remove("content-type");
            trailers.extend(headers(&[
                ("endpoint-load-metrics-bin", "CQAAAAAAAPA/+/8="),
                ("x-trace", "abc"),
            ]));
            for answer in answers(arm, &trailers).await {
                let status = Status::from_header_map(&answer.trailers).expect("a status");
                assert_eq!(status.details(), details, "{size} bytes");
                let value = text(&answer.trailers, "endpoint-load-metrics-bin");
                assert_eq!(value, "CQAAAAAAAPA/+/8=");
                assert_eq!(text(&answer.trailers, "x-trace"), "abc", "on an error too");
            }
        }
    })
    .await;
}
