//! The probe behind tonic's server, with no tunnel.

use std::net::SocketAddr;
use std::time::Duration;

use grpcrouter_conformance::pb;
use grpcrouter_conformance::probe::payload::{crc_of_made, framed, framed_message, message};
use grpcrouter_conformance::probe::side::{Amount, Ended, Event, Side, instance};
use grpcrouter_conformance::probe::{Lie, Probe, Script};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::client::{Client, status_of};

/// A probe, a client of it, and the side channel.
async fn start() -> (Client, Side) {
    let side = Side::listen().await.unwrap();
    let probe = Probe::new(side.reporter("here"));
    (Client::connect(serve(probe)).await, side)
}

fn serve(probe: Probe) -> SocketAddr {
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = incoming.local_addr().unwrap();
    let server = Server::builder()
        .initial_stream_window_size(65_535)
        .add_service(probe);
    tokio::spawn(server.serve_with_incoming(incoming));
    addr
}

#[tokio::test]
async fn all_four_kinds_obey_the_same_script() {
    let (client, side) = start().await;
    let script = Script::new().head().read(1).echo_all().send_from(7, 2, 600);
    for kind in ["Unary", "ClientStream", "ServerStream", "Bidi"] {
        let mut call = client.call(kind, kind, &script).await;
        for n in 0..3 {
            call.send(framed_message(n, 100));
        }
        call.half_close();
        let mut answer = call.answer().await;
        assert_eq!(answer.headers["content-type"], "application/grpc");
        for expected in [(1, 100), (2, 100), (7, 600), (8, 600)] {
            let expected = framed_message(expected.0, expected.1);
            assert_eq!(answer.message().await, Some(expected));
        }
        assert_eq!(answer.status().await, "0");
        let watched = side.call(kind);
        assert_eq!(watched.finished().await.unwrap(), 0);
        let counts = watched.counts();
        assert_eq!(counts.handed, Amount::new(3, 300));
        assert_eq!(counts.taken, Amount::new(3, 300));
        assert_eq!(counts.sent, Amount::new(4, 1_400));
        assert_eq!(counts.crc, crc_of_made(0, 3, 100));
        assert!(counts.half_closed);
        assert_eq!(watched.runs(), 1);
        let started = watched.started().await.unwrap();
        assert!(started.method.ends_with(kind));
        assert_eq!(started.timeout_us, None);
    }
}

#[tokio::test]
async fn metadata_are_reported_and_sent_byte_for_byte() {
    let (client, side) = start().await;
    let initial = [("first-bin", &[0, 0xff][..]), ("dup", b"1"), ("dup", b"2")];
    let script = Script::new().head_with(&initial).send(1, 0).finish_with(
        9,
        "b\u{e4}d %",
        &[("last-bin", b""), ("last", b"a b")],
    );
    let headers = [("k-bin", "AP8="), ("k-bin", "AA"), ("grpc-timeout", "7S")];
    let mut call = client.call_with("Bidi", "m", &script, &headers).await;
    let mut answer = call.answer().await;
    assert_eq!(answer.headers["first-bin"], "AP8");
    let dup: Vec<_> = answer.headers.get_all("dup").iter().collect();
    assert_eq!(dup, ["1", "2"]);
    assert_eq!(answer.message().await, Some(framed(0, b"")));
    let trailers = answer.trailers().await.unwrap();
    assert_eq!(status_of(&trailers), "9");
    assert_eq!(trailers["grpc-message"], "b%C3%A4d %25");
    assert_eq!(
        (&trailers["last-bin"], &trailers["last"]),
        (&"".parse().unwrap(), &"a b".parse().unwrap())
    );
    let started = side.call("m").started().await.unwrap();
    assert_eq!(started.values("k-bin").unwrap(), [vec![0, 0xff], vec![0]]);
    assert_eq!(started.timeout_us, Some(7_000_000));
    assert!(started.authority.starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn nothing_sent_is_a_trailers_only_answer() {
    let (client, side) = start().await;
    let details = pb::Finish {
        code: 17,
        details: vec![0, 1, 2].into(),
        ..pb::Finish::default()
    };
    let script = Script::new().finish_as(details);
    let mut call = client.call("Bidi", "only", &script).await;
    let answer = call.answer().await;
    assert!(answer.is_only);
    assert_eq!(status_of(&answer.headers), "17");
    assert_eq!(answer.headers["grpc-status-details-bin"], "AAEC");
    assert_eq!(side.call("only").finished().await.unwrap(), 17);
}

#[tokio::test]
async fn a_head_comes_before_its_first_message_and_stays_apart_from_trailers() {
    let (client, side) = start().await;
    let script = Script::new().head().wait("go").finish(5);
    let mut call = client.call("Bidi", "head", &script).await;
    let mut answer = call.answer().await;
    assert!(!answer.is_only);
    assert_eq!(answer.headers.get("grpc-status"), None);
    side.call("head").waiting("go").await.unwrap();
    side.call("head").release("go");
    assert_eq!(answer.status().await, "5");
    // A gate that is open already holds nobody.
    let script = Script::new().wait("early").finish_without_status();
    side.call("next").release("early");
    let mut answer = client.call("Bidi", "next", &script).await.answer().await;
    assert_eq!(answer.trailers().await, None);
}

#[tokio::test]
async fn a_reset_is_a_cancellation_before_and_after_the_head() {
    let (client, side) = start().await;
    let scripts = [
        ("before", Script::new().wait("never")),
        ("after", Script::new().head().wait("never")),
        ("reading", Script::new().head().read_all()),
        ("sending", Script::new().send(1_000, 1_000)),
    ];
    for (name, script) in scripts {
        let mut call = client.call("Bidi", name, &script).await;
        side.call(name).started().await.unwrap();
        if name != "before" {
            call.answer().await;
        }
        call.cancel();
        side.call(name).cancelled().await.unwrap();
        assert_eq!(side.call(name).ended().await.unwrap(), Ended::Cancelled);
        let last = side.call(name).log().pop().unwrap();
        assert!(matches!(last.event, Event::Cancelled { .. }), "{last:?}");
    }
}

#[tokio::test]
async fn who_does_not_read_is_handed_nothing() {
    let (client, side) = start().await;
    let script = Script::new().wait("go").read_all();
    let mut call = client.call("ClientStream", "stall", &script).await;
    for n in 0..100 {
        call.send(framed_message(n, 10_000));
    }
    call.half_close();
    let watched = side.call("stall");
    watched.waiting("go").await.unwrap();
    assert_eq!(watched.counts().handed, Amount::default());
    watched.release("go");
    let all = watched.until(|counts| counts.half_closed).await.unwrap();
    assert_eq!(
        (all.handed, all.taken),
        (Amount::new(100, 1_000_000), Amount::new(100, 1_000_000))
    );
    assert_eq!(all.crc, crc_of_made(0, 100, 10_000));
    assert_eq!(status_of(&call.answer().await.headers), "0");
}

#[tokio::test]
async fn what_is_sent_counts_when_the_transport_has_taken_it() {
    let (client, side) = start().await;
    // The client's window of 65,535 bytes is all that goes while it reads nothing, and what hyper buffers.
    let script = Script::new().send(100, 16_379);
    let mut call = client.call("ServerStream", "window", &script).await;
    let watched = side.call("window");
    let enough = watched.until(|counts| counts.sent.messages >= 4).await;
    assert!(enough.unwrap().sent.bytes < 100 * 16_379);
    let mut answer = call.answer().await;
    for n in 0..100 {
        assert_eq!(answer.message().await, Some(framed_message(n, 16_379)));
    }
    assert_eq!(answer.status().await, "0");
    assert_eq!(watched.finished().await.unwrap(), 0);
    assert_eq!(watched.counts().sent, Amount::new(100, 100 * 16_379));
}

#[tokio::test]
async fn what_breaks_grpc_gets_a_status_and_no_handler_sees_it() {
    let (client, side) = start().await;
    let script = Script::new().read_all();
    let part = framed(0, b"12345").slice(..7);
    let broken = [
        ("part", part, "13"),
        ("flag", framed(1, b"zip"), "13"),
        ("length", vec![0, 0xff, 0xff, 0xff, 0xff].into(), "8"),
    ];
    for (name, bytes, status) in broken {
        let mut call = client.call("Bidi", name, &script).await;
        call.send(bytes);
        call.half_close();
        assert_eq!(status_of(&call.answer().await.headers), status, "{name}");
        assert_eq!(side.call(name).counts().taken, Amount::default());
    }
    let mut call = client.call("Bidi", "no name!", &script).await;
    assert_eq!(status_of(&call.answer().await.headers), "3");
    let mut call = client.call("Other", "other", &script).await;
    assert_eq!(status_of(&call.answer().await.headers), "12");
    assert_eq!(
        (side.call("no name!").runs(), side.call("other").runs()),
        (0, 0)
    );
}

#[tokio::test]
async fn compressed_messages_go_back_as_they_came() {
    let (client, _side) = start().await;
    let script = Script::new().echo_all();
    let headers = [("grpc-encoding", "gzip")];
    let mut call = client.call_with("Bidi", "zip", &script, &headers).await;
    call.send(framed(1, b"not even gzip"));
    call.send(framed(0, b"plain"));
    call.half_close();
    let mut answer = call.answer().await;
    assert_eq!(answer.headers["grpc-encoding"], "gzip");
    assert_eq!(answer.message().await, Some(framed(1, b"not even gzip")));
    assert_eq!(answer.message().await, Some(framed(0, b"plain")));
    assert_eq!(answer.status().await, "0");
}

#[tokio::test]
async fn an_abort_is_no_end_that_the_handler_reports() {
    let (client, side) = start().await;
    let mut call = client.call("Bidi", "abort", &Script::new().abort()).await;
    call.failure().await;
    let script = Script::new().head().read(1).abort();
    let mut call = client.call("Bidi", "later", &script).await;
    call.answer().await;
    call.send(framed(0, b""));
    side.call("later")
        .until(|counts| counts.taken.messages == 1)
        .await
        .unwrap();
    for name in ["abort", "later"] {
        let missed = side.call(name).within(Duration::ZERO).ended().await;
        assert!(missed.unwrap_err().to_string().contains(name));
    }
}

#[tokio::test]
async fn a_lie_shows_in_the_sum() {
    let side = Side::listen().await.unwrap();
    let probe = Probe::new(side.reporter("liar")).lying(Lie::Unread);
    let client = Client::connect(serve(probe)).await;
    let script = Script::new().read(3).head().wait("never");
    let mut call = client.call("Bidi", "lie", &script).await;
    call.send(framed(0, &message(0, 1024)));
    let watched = side.call("lie");
    watched.waiting("never").await.unwrap();
    let counts = watched.counts();
    assert_eq!(counts.taken, Amount::new(3, 3 * 1024));
    assert_ne!(counts.crc, crc_of_made(0, 3, 1024));
}

#[tokio::test]
async fn the_side_channel_goes_over_tcp_and_back() {
    let side = Side::listen().await.unwrap();
    let (reporter, mut channel) = instance::connect(side.addr(), "far").await.unwrap();
    side.hello("far").await.unwrap();
    let client = Client::connect(serve(Probe::new(reporter))).await;
    let script = Script::new().head().read(10_000).wait("go").finish(0);
    let mut call = client.call("Bidi", "tcp", &script).await;
    // In few frames of HTTP/2: tonic bears no more than about 2,000 tiny ones that wait.
    let all: Vec<u8> = (0..10_000).flat_map(|n| framed_message(n, 5)).collect();
    call.send(all.into());
    let watched = side.call("tcp");
    let all =
        |counts: &grpcrouter_conformance::probe::side::Counts| counts.taken.messages == 10_000;
    let counts = watched.until(all).await.unwrap();
    assert_eq!(counts.crc, crc_of_made(0, 10_000, 5));
    watched.release("go");
    assert_eq!(watched.finished().await.unwrap(), 0);
    let log = watched.log();
    assert!(matches!(log[0].event, Event::Started(_)));
    assert!(log.windows(2).all(|pair| pair[0].at <= pair[1].at));
    side.drain("far");
    channel.asked_to_drain().await.unwrap();
    channel.draining();
    side.draining("far").await.unwrap();
    channel.end(0).await;
    assert_eq!(side.ended("far").await.unwrap(), 0);
    assert_eq!(side.faults(), [""; 0]);
}

#[tokio::test]
async fn a_line_of_no_protocol_names_its_instance() {
    use tokio::io::AsyncWriteExt;
    let side = Side::listen().await.unwrap();
    let mut socket = tokio::net::TcpStream::connect(side.addr()).await.unwrap();
    let lines = "{\"event\": \"hello\", \"instance\": \"bad-1\", \"new\": 1}\nnonsense\n";
    socket.write_all(lines.as_bytes()).await.unwrap();
    let missed = side.call("any").started().await.unwrap_err().to_string();
    assert!(
        missed.contains("side channel of instance bad-1: no line of the protocol"),
        "{missed}"
    );
}
