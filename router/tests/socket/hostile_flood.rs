//! Clients that flood: each attack ends its own connection or is bounded, and an honest connection
//! beside it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use grpcrouter::GatewayConfig;
use http::HeaderMap;

use crate::support::client::Client;
use crate::support::frames::{ACK, END_HEADERS, END_STREAM, Frames, Outcome, call, frame, kind};
use crate::support::handler::Handler;
use crate::support::wire::Wire;
use crate::support::world::World;

/// RST_STREAM's payload: CANCEL.
const CANCEL: [u8; 4] = 8u32.to_be_bytes();

const PROTOCOL_ERROR: u32 = 0x1;
const FLOW_CONTROL_ERROR: u32 = 0x3;
const FRAME_SIZE_ERROR: u32 = 0x6;
const REFUSED_STREAM: u32 = 0x7;
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// A gateway whose handler echoes and counts its calls, an honest client, and an attacker.
struct Scene {
    world: World,
    honest: Client,
    attacker: Frames,
    opened: Arc<AtomicUsize>,
}

impl Scene {
    async fn set() -> Self {
        Self::with(GatewayConfig::default()).await
    }

    async fn with(config: GatewayConfig) -> Self {
        let opened = Arc::new(AtomicUsize::new(0));
        let count = opened.clone();
        let handler = Handler::new(move |mut call| {
            // Siblings use another method, and are not counted.
            count.fetch_add(
                usize::from(call.method.ends_with("/Bad")),
                Ordering::Relaxed,
            );
            async move {
                call.head(HeaderMap::new());
                while let Some(message) = call.message().await {
                    call.send(&message).await;
                }
                call.finish(0, "").await;
            }
        });
        let world = World::with(config).await;
        world.instance("a", handler).await;
        let honest = world.client().await;
        let attacker = Frames::connect(world.clients).await;
        Self {
            world,
            honest,
            attacker,
            opened,
        }
    }

    /// Attacks, with an honest call under way all the while and others after it.
    async fn attack(&mut self, bytes: &[u8]) -> Outcome {
        let mut under_way = self.honest.call("Echo").await;
        under_way.head().await;
        let mut outcome = self.attacker.attack(bytes).await;
        under_way.send(b"still here").await;
        assert_eq!(under_way.message().await.expect("an echo"), "still here");
        under_way.half_close();
        assert!(under_way.message().await.is_none());
        for _ in 0..10 {
            let answer = self.honest.unary("Echo", b"honest").await;
            assert_eq!(answer.status(), 0, "an honest connection goes on");
        }
        if outcome.lives {
            // A PING is answered ahead of what streams have to say.
            let rest = self.attacker.attack(&[]).await;
            outcome.frames.extend(rest.frames);
            outcome.lives = rest.lives;
        }
        outcome
    }

    /// Everything that the attacker opened has ended, at the gateway and at the instance.
    async fn quiet(self) {
        let Self {
            world, attacker, ..
        } = self;
        drop(attacker);
        world.quiet().await;
    }
}

fn open(out: &mut Vec<u8>, stream: u32, more: u8) {
    frame(
        out,
        kind::HEADERS,
        END_HEADERS | more,
        stream,
        &call("Bad", &[]),
    );
}

/// Proves: S10
#[tokio::test]
async fn rapid_reset_ends_its_connection_and_opens_nothing_at_the_instance() {
    let mut scene = Scene::set().await;
    let mut attack = Vec::new();
    for i in 0..5_000 {
        let stream = 1 + 2 * i;
        open(&mut attack, stream, 0);
        // More than is looked at before the call is opened.
        frame(&mut attack, kind::DATA, 0, stream, &[0; 5_000]);
        frame(&mut attack, kind::RST_STREAM, 0, stream, &CANCEL);
    }
    let outcome = scene.attack(&attack).await;
    let opened = scene.opened.load(Ordering::Relaxed);
    eprintln!("rapid reset: {:?}, {opened} calls opened", outcome.goaway());
    assert!(!outcome.lives, "the connection ends");
    if let Some((code, _)) = outcome.goaway() {
        assert_eq!(code, ENHANCE_YOUR_CALM);
    }
    assert_eq!(
        opened, 0,
        "no call that was reset before it was taken is opened"
    );
    scene.quiet().await;
}

/// Proves: S10
#[tokio::test]
async fn a_call_that_is_reset_before_it_is_taken_sends_nothing_to_the_instance() {
    let world = World::start().await;
    let wire = Wire::to(world.tunnels).await;
    let mut config = world.config("a");
    config.gateways = vec![format!("http://{}", wire.addr).parse().expect("an address")];
    world.instance_with(config, Handler::echo()).await;
    let mut attacker = Frames::connect(world.clients).await;
    let before = wire.down();
    for round in 0..50 {
        let mut attack = Vec::new();
        // Fewer at a time than end the connection.
        for i in 0..10 {
            let stream = 1 + 2 * (10 * round + i);
            open(&mut attack, stream, 0);
            // More than is looked at before a call is opened.
            frame(&mut attack, kind::DATA, 0, stream, &[0; 5_000]);
            frame(&mut attack, kind::RST_STREAM, 0, stream, &CANCEL);
        }
        assert!(attacker.attack(&attack).await.lives);
    }
    world.quiet().await;
    let client = world.client().await;
    assert_eq!(client.unary("Echo", b"honest").await.status(), 0);
    // One honest call, heartbeats perhaps; an OPEN takes some 30 bytes, and there were 500 calls.
    let sent = wire.down() - before;
    eprintln!("500 calls reset before they were taken: {sent} B to the instance");
    assert!(sent < 4_000, "{sent} B went to the instance");
}

/// Proves: S10
#[tokio::test]
async fn calls_that_were_taken_and_then_reset_are_torn_down_at_the_instance() {
    let mut scene = Scene::set().await;
    for i in 0..200 {
        let stream = 1 + 2 * i;
        let mut bytes = Vec::new();
        open(&mut bytes, stream, 0);
        scene.attacker.write(&bytes).await;
        // The handler sends its head at once: the call was taken.
        while scene.attacker.next().await.expect("a head").kind != kind::HEADERS {}
        let mut bytes = Vec::new();
        frame(&mut bytes, kind::RST_STREAM, 0, stream, &CANCEL);
        scene.attacker.write(&bytes).await;
    }
    assert_eq!(scene.opened.load(Ordering::Relaxed), 200);
    scene.attack(&[]).await;
    // The attacker's connection is still there; its calls are not.
    scene.world.quiet().await;
}

/// Proves: S11
#[tokio::test]
async fn a_server_made_to_reset_tears_its_calls_down_and_has_a_limit() {
    let mut scene = Scene::set().await;
    let mut attack = Vec::new();
    for i in 0..3_000 {
        let stream = 1 + 2 * i;
        open(&mut attack, stream, 0);
        // Overflows the stream's window: a stream error, so it is the server that resets.
        let full = i32::MAX.to_be_bytes();
        frame(&mut attack, kind::WINDOW_UPDATE, 0, stream, &full);
    }
    let outcome = scene.attack(&attack).await;
    let (resets, opened) = (outcome.resets().len(), scene.opened.load(Ordering::Relaxed));
    eprintln!(
        "made you reset: {:?}, {resets} resets, {opened} opened",
        outcome.goaway()
    );
    assert!(!outcome.lives, "the connection ends");
    assert!(resets <= 1_024, "{resets} resets");
    assert!(opened <= 1_024, "{opened} calls opened");
    scene.quiet().await;
}

/// Proves: S12
#[tokio::test]
async fn a_flood_of_continuations_ends_its_connection() {
    let mut scene = Scene::set().await;
    let mut attack = Vec::new();
    frame(&mut attack, kind::HEADERS, 0, 1, &call("Bad", &[]));
    for _ in 0..10_000 {
        frame(
            &mut attack,
            kind::CONTINUATION,
            0,
            1,
            &[0x10, 1, b'a', 1, b'b'],
        );
    }
    let outcome = scene.attack(&attack).await;
    assert!(!outcome.lives, "the connection ends");
    assert_eq!(scene.opened.load(Ordering::Relaxed), 0);
    scene.quiet().await;
}

/// Proves: S12
#[tokio::test]
async fn floods_of_frames_that_say_nothing_are_borne_or_ended() {
    let floods: [(&str, u8, u8, u32, &[u8]); 4] = [
        ("empty DATA", kind::DATA, 0, 1, &[]),
        ("PING", kind::PING, 0, 0, b"12345678"),
        ("SETTINGS", kind::SETTINGS, 0, 0, &[]),
        ("SETTINGS ACK", kind::SETTINGS, ACK, 0, &[]),
    ];
    for (name, kind, flags, stream, payload) in floods {
        let mut scene = Scene::set().await;
        let mut attack = Vec::new();
        open(&mut attack, 1, 0);
        for _ in 0..20_000 {
            frame(&mut attack, kind, flags, stream, payload);
        }
        let outcome = scene.attack(&attack).await;
        let answers = outcome.frames.len();
        let goaway = outcome.goaway();
        eprintln!("flood of {name}: {answers} frames back, {goaway:?}");
        // One answer for each at most, and those only as fast as the attacker reads them.
        assert!(answers <= 20_100, "{name}: {answers} frames came back");
        assert!(scene.opened.load(Ordering::Relaxed) <= 1);
        scene.quiet().await;
    }
}

/// Proves: S12
#[tokio::test]
async fn a_flood_whose_sender_reads_nothing_stops_itself() {
    let mut scene = Scene::set().await;
    let mut pings = Vec::new();
    for _ in 0..10_000 {
        frame(&mut pings, kind::PING, 0, 0, b"12345678");
    }
    // Answers pile up in the sockets only; then the gateway stops reading this peer.
    let flood = async {
        loop {
            scene.attacker.write(&pings).await;
        }
    };
    let honest = async {
        for _ in 0..200 {
            assert_eq!(scene.honest.unary("Echo", b"honest").await.status(), 0);
        }
    };
    tokio::select! {
        biased;
        () = flood => unreachable!("it never ends by itself"),
        () = honest => {}
    }
}

/// Proves: S12
#[tokio::test]
async fn windows_that_overflow_or_do_not_open_end_the_connection_or_the_stream() {
    let full = i32::MAX as u32;
    for (stream, increment, code) in [
        (0, 0, PROTOCOL_ERROR),
        (0, full, FLOW_CONTROL_ERROR),
        (1, 0, PROTOCOL_ERROR),
        (1, full, FLOW_CONTROL_ERROR),
    ] {
        let mut scene = Scene::set().await;
        let mut attack = Vec::new();
        open(&mut attack, 1, 0);
        frame(
            &mut attack,
            kind::WINDOW_UPDATE,
            0,
            stream,
            &increment.to_be_bytes(),
        );
        let outcome = scene.attack(&attack).await;
        let said = match outcome.goaway() {
            Some((said, _)) => said,
            None => {
                let reset = outcome.resets().first().copied();
                reset.unwrap_or_else(|| panic!("no end: {outcome:?}")).1
            }
        };
        assert_eq!(said, code, "{increment} on stream {stream}: {outcome:?}");
        assert!(
            stream == 1 || !outcome.lives,
            "a connection's fault ends it"
        );
        // With the attacker still connected where its connection lives.
        scene.world.quiet().await;
    }
}

/// Proves: S12
#[tokio::test]
async fn a_frame_longer_than_agreed_ends_the_connection() {
    let mut scene = Scene::set().await;
    let mut attack = Vec::new();
    open(&mut attack, 1, 0);
    frame(&mut attack, kind::DATA, 0, 1, &vec![0; 16_385]);
    let outcome = scene.attack(&attack).await;
    assert!(!outcome.lives, "the connection ends");
    assert_eq!(
        outcome.goaway().map(|(code, _)| code),
        Some(FRAME_SIZE_ERROR)
    );
    scene.quiet().await;
}

/// Proves: S12
#[tokio::test]
async fn data_beyond_the_window_ends_the_connection_or_the_stream() {
    let mut scene = Scene::with(GatewayConfig {
        client_window: 65_535,
        ..GatewayConfig::default()
    })
    .await;
    let mut attack = Vec::new();
    // A stream to an instance that is not there, so that nothing gives window back.
    let lost = call("Bad", &[("grpcrouter-instance", "a")]);
    frame(&mut attack, kind::HEADERS, END_HEADERS, 1, &lost);
    let mut message = vec![0];
    message.extend_from_slice(&(1u32 << 30).to_be_bytes());
    message.resize(16_384, 0);
    for _ in 0..200 {
        frame(&mut attack, kind::DATA, 0, 1, &message);
    }
    let outcome = scene.attack(&attack).await;
    let flow = Some(FLOW_CONTROL_ERROR);
    let ended = outcome.goaway().map(|(code, _)| code) == flow
        || outcome.resets().first().map(|(_, code)| *code) == flow;
    assert!(ended, "{:?} {:?}", outcome.goaway(), outcome.resets());
    scene.quiet().await;
}

/// Proves: S13
#[tokio::test]
async fn the_limit_of_streams_is_advertised_and_enforced() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let mut scene = Scene::with(GatewayConfig {
        max_streams: 10,
        ..GatewayConfig::default()
    })
    .await;
    assert!(
        scene
            .attacker
            .settings
            .contains(&(MAX_CONCURRENT_STREAMS, 10)),
        "{:?}",
        scene.attacker.settings
    );
    let mut attack = Vec::new();
    for i in 0..15 {
        open(&mut attack, 1 + 2 * i, 0);
    }
    let outcome = scene.attack(&attack).await;
    assert!(outcome.lives, "the ten are served");
    let refused: Vec<_> = [21, 23, 25, 27, 29]
        .map(|stream| (stream, REFUSED_STREAM))
        .into();
    assert_eq!(
        outcome.resets(),
        refused,
        "those beyond the limit are refused"
    );
    assert_eq!(scene.opened.load(Ordering::Relaxed), 10);
    // Ended ones make room again.
    let mut end = Vec::new();
    frame(&mut end, kind::DATA, END_STREAM, 1, &[]);
    scene.attacker.write(&end).await;
    loop {
        let frame = scene.attacker.next().await.expect("trailers");
        if (frame.kind, frame.stream) == (kind::HEADERS, 1) && frame.flags & END_STREAM > 0 {
            break;
        }
    }
    let mut more = Vec::new();
    open(&mut more, 31, END_STREAM);
    assert_eq!(scene.attacker.attack(&more).await.resets(), []);
    scene.quiet().await;

    let default = Scene::set().await;
    let limit = default
        .attacker
        .settings
        .iter()
        .find(|(id, _)| *id == MAX_CONCURRENT_STREAMS);
    assert_eq!(
        limit.map(|(_, value)| *value),
        Some(1_024),
        "there is one by default"
    );
}
