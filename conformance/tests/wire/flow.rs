//! A reader that does not read holds its sender back, within the bound.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use grpcrouter_conformance::client::frames::Frames;
use grpcrouter_conformance::client::wire::kind;
use grpcrouter_conformance::client::{Call, Client, Sending};
use grpcrouter_conformance::framing::flagged;
use grpcrouter_conformance::tunnel::flags;
use grpcrouter_conformance::tunnel::tap::Way;
use grpcrouter_conformance::wait::{LIMIT, until};

use super::worlds::{ARMS, Arm, Side, World};

/// How long no window comes before a sender counts as stopped.
const STILL: Duration = Duration::from_millis(300);

/// Sends until no window comes any more.
async fn send_until_stopped(sending: &mut Sending, rest: &mut Bytes) -> Result<()> {
    while let Ok(room) = tokio::time::timeout(STILL, sending.room(rest.len())).await {
        ensure!(!rest.is_empty(), "nothing stops the sender");
        sending.send_raw(rest.split_to(room?)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_does_not_read_stops_its_client_within_the_bound() -> Result<()> {
    for arm in ARMS {
        let world = World::start(arm).await?;
        let client = world.client().await?;
        let mut call = client
            .open(Call::new("/test.Echo/Hold").build()?, false)
            .await?;
        let message = flagged(0, &vec![1; 4 << 20]);
        let mut rest = message.clone();
        send_until_stopped(&mut call.sending, &mut rest).await?;
        let sent = call.sending.sent();
        // One window of the receiver's is what the echo's own body may hold: it takes nothing here.
        assert!(
            sent <= world.request_bound,
            "{arm:?}: {sent} > {}",
            world.request_bound
        );
        assert!(sent >= 64 * 1024, "{arm:?}: {sent} bytes went");
        assert_eq!(world.echo.taken(), 0);

        // A sibling goes on as if it were not there.
        let sibling = client
            .unary(Call::new("/test.Echo/Echo"), b"sibling")
            .await?;
        assert_eq!(sibling.status()?, 0, "{arm:?}");

        world.echo.open_gate();
        let sends = async {
            call.sending.send_raw(rest).await?;
            call.sending.half_close();
            anyhow::Ok(())
        };
        let (sent, answer) = tokio::join!(sends, call.reading.answer());
        sent?;
        let answer = answer?;
        assert_eq!(answer.status()?, 0, "{arm:?}");
        assert!(
            answer.messages[0].bytes[..] == message[5..],
            "{arm:?}: not what was sent"
        );
        world.quiet().await?;
        world.check();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_its_handler_within_the_bound() -> Result<()> {
    let window = 65_535;
    for arm in ARMS {
        let world = World::start(arm).await?;
        let client = Client::with(world.clients, |settings| {
            settings.initial_window_size(window);
        })
        .await?;
        let mut call = client
            .open(Call::new("/test.Echo/Echo").build()?, false)
            .await?;
        call.reading.releases(false);
        let message = flagged(0, &vec![1; 4 << 20]);
        let mut rest: Bytes = message.clone();
        send_until_stopped(&mut call.sending, &mut rest).await?;
        // The handler took what it could send on, and one chunk that it holds.
        let taken = world.echo.taken();
        let bound = world.response_bound + u64::from(window) + 16 * 1024;
        assert!(taken <= bound, "{arm:?}: {taken} > {bound}");
        assert!(
            taken >= u64::from(window),
            "{arm:?}: {taken} bytes were taken"
        );

        call.reading.releases(true);
        let sends = async {
            call.sending.send_raw(rest).await?;
            call.sending.half_close();
            anyhow::Ok(())
        };
        let (sent, answer) = tokio::join!(sends, call.reading.answer());
        sent?;
        assert!(
            answer?.messages[0].bytes[..] == message[5..],
            "{arm:?}: not what was sent"
        );
        world.quiet().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_are_counted_exactly_by_hand() -> Result<()> {
    for arm in ARMS {
        let world = World::start(arm).await?;
        let mut frames = Frames::connect(world.clients).await?;
        let begins = frames.windows().initial;
        frames.open(1, "/test.Echo/Hold", &[]).await?;
        let bytes = vec![0; 4 << 20];
        let mut sent = 0;
        loop {
            sent += frames.data(1, &bytes[sent..]).await?;
            match tokio::time::timeout(STILL, frames.next()).await {
                Ok(frame) => assert!(frame?.is_some(), "{arm:?}: the connection lives"),
                Err(_) => break,
            }
        }
        assert!(frames.settle().await?.lives, "{arm:?}");
        let windows = frames.windows();
        let granted = windows.granted.get(&1).copied().unwrap_or(0);
        assert_eq!(windows.streams[&1].max(0), 0, "{arm:?}: {windows:?}");
        assert_eq!(sent as u64, begins as u64 + granted, "{arm:?}");
        assert!(sent as u64 <= world.request_bound, "{arm:?}: {sent}");
        world.echo.open_gate();
        // What the handler takes comes back as window.
        while frames.windows().granted.get(&1).copied().unwrap_or(0) == granted {
            let frame = frames.next().await?.expect("the connection lives");
            assert_ne!(frame.kind, kind::RST_STREAM, "{arm:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_come_only_for_what_was_taken() -> Result<()> {
    let world = World::start(Arm::Own).await?;
    let (Side::Own(gateway), Side::Own(instance)) = (&world.gateway, &world.instance) else {
        panic!("both are the suite's");
    };
    let client = world.client().await?;
    let message = vec![3; 1 << 20];
    let mut call = client
        .open(Call::new("/test.Echo/Echo").build()?, false)
        .await?;
    let sends = async {
        call.sending.send(&message).await?;
        call.sending.half_close();
        anyhow::Ok(())
    };
    let (sent, answer) = tokio::join!(sends, call.reading.answer());
    sent?;
    assert_eq!(answer?.status()?, 0);
    world.quiet().await?;
    let tap = gateway.tap("a").expect("it is registered");
    let complete = |entry: &grpcrouter_conformance::tunnel::tap::Entry| {
        entry
            .frame
            .of_call()
            .is_some_and(|call| call.flags & flags::COMPLETE != 0)
    };
    tap.wait("COMPLETE", complete).await?;
    for tap in [&tap, &instance.tap] {
        assert_eq!(tap.dropped(), 0);
        for (way, back) in [(Way::Sent, Way::Received), (Way::Received, Way::Sent)] {
            let data: usize = tap.calls(way).iter().map(|call| call.data).sum();
            let grants: Vec<_> = tap
                .calls(back)
                .iter()
                .map(|call| call.window as usize)
                .collect();
            let granted: usize = grants.iter().sum();
            assert_eq!(data, message.len() + 5);
            assert!(granted <= data, "{granted} > {data}");
            assert!(granted + 81_920 >= data);
            assert!(
                grants
                    .iter()
                    .all(|grant| *grant == 0 || *grant >= 81_920 / 2),
                "{grants:?}"
            );
        }
    }
    until("no call", LIMIT, || instance.calls_open() == 0).await
}
