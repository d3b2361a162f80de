//! K1-K4, K7, K9-K14, K33: the four kinds of call, and how they end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::case::{CALLS, Case};
use crate::probe::side::Event;
use crate::probe::{Script, payload};
use crate::rig::Rig;
use crate::run;

use super::{BIDI, CLIENT_STREAM, SERVER_STREAM, UNARY, done, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("K1", CALLS, run!(unary_echo)),
    Case::new("K2", CALLS, run!(client_stream_of_none)),
    Case::new("K3", CALLS, run!(server_stream_of_none)),
    Case::new("K4", CALLS, run!(bidi_of_none)),
    Case::new("K7", CALLS, run!(half_closed)),
    Case::new("K9", CALLS, run!(early_end)),
    Case::new("K10", CALLS, run!(ok_unread)),
    Case::new("K11", CALLS, run!(trailers_only)),
    Case::new("K12", CALLS, run!(head_first)),
    Case::new("K13", CALLS, run!(head_then_trailers)),
    Case::new("K14", CALLS, run!(server_first)),
    Case::new("K33", CALLS, run!(cardinality)),
];

async fn unary_echo(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    for size in [0, 1, 64 << 10] {
        let message = payload::message(7, size);
        let mut call = stage.open(UNARY, &Script::new().echo(1)).await?;
        let answer = call.finish(&message).await?;
        ok(&answer)?;
        same("responses", answer.messages.len(), 1)?;
        ensure!(
            answer.messages[0].bytes == message,
            "the {size} bytes came back as {} others",
            answer.messages[0].bytes.len()
        );
    }
    Ok(())
}

async fn client_stream_of_none(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let script = Script::new().read_all().send(1, 10);
    let mut call = stage.open(CLIENT_STREAM, &script).await?;
    call.exchange.half_close();
    let answer = call.exchange.answer().await?;
    ok(&answer)?;
    same("responses", answer.messages.len(), 1)?;
    let seen = done(&call.handler).await?;
    same("messages that the handler took", seen.taken.messages, 0)?;
    ensure!(seen.half_closed, "the handler saw no end of the request");
    Ok(())
}

async fn server_stream_of_none(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    for script in [Script::new().read_all(), Script::new().head().read_all()] {
        let mut call = stage.open(SERVER_STREAM, &script).await?;
        let answer = call.finish(b"").await?;
        ok(&answer)?;
        same("responses", answer.messages.len(), 0)?;
    }
    Ok(())
}

async fn bidi_of_none(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut call = stage.open(BIDI, &Script::new().echo_all()).await?;
    call.exchange.half_close();
    let answer = call.exchange.answer().await?;
    ok(&answer)?;
    same("responses", answer.messages.len(), 0)
}

async fn half_closed(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let pace = Script::new().send(1, 100).sleep_ms(10);
    let script = Script::new().head().read_all().times(100, &pace);
    let mut call = stage.open(BIDI, &script).await?;
    call.send(b"one").await?;
    call.exchange.half_close();
    call.exchange.head().await?;
    let first = call.exchange.message().await?;
    ensure!(first.is_some(), "no reply");
    let answer = call.exchange.answer().await?;
    same("replies after the half close", answer.messages.len(), 99)?;
    call.handler.finished().await?;
    // The handler's own reports keep their order, whichever way they and the replies took.
    let early = call
        .handler
        .log()
        .into_iter()
        .any(|logged| match logged.event {
            Event::Counts { counts, .. } => counts.sent.messages > 0 && !counts.half_closed,
            _ => false,
        });
    ensure!(
        !early,
        "the reply that waits for the half close came before it"
    );
    ok(&answer)
}

/// The handler ends while the client still sends: the client has the status at once.
async fn early_end(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    for code in [0, 9] {
        let script = Script::new().head().read(1).finish(code);
        let mut call = stage.open(CLIENT_STREAM, &script).await?;
        call.send(&payload::message(0, 1_000)).await?;
        // It never half-closes.
        let answer = call.exchange.answer().await?;
        same("status", answer.status()?, code)?;
        // What is sent now is late, and hurts nobody.
        let _ = call
            .exchange
            .sending
            .send_now(&payload::framed_message(1, 60_000))
            .await;
    }
    // Credit of what was late is given back: the connection goes on.
    for _ in 0..20 {
        let (answer, _) = stage
            .unary(&Script::new().read(1).send(1, 1), &[7; 60_000])
            .await?;
        same("a later call's status", answer.status()?, 0)?;
    }
    Ok(())
}

async fn ok_unread(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut call = stage.open(CLIENT_STREAM, &Script::new().send(1, 5)).await?;
    // The handler may be done before all of this has come.
    let _ = call.exchange.send(&payload::message(0, 30_000)).await;
    let answer = call.exchange.answer().await?;
    ok(&answer)?;
    same("responses", answer.messages.len(), 1)
}

async fn trailers_only(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let script = Script::new().finish_with(5, "not here", &[("probe-trailer", b"kept")]);
    let mut call = stage.open(UNARY, &script).await?;
    let answer = call.finish(b"x").await?;
    ensure!(
        answer.head.is_none(),
        "a head of its own, and not trailers only"
    );
    same("status", answer.status()?, 5)?;
    same("message", answer.message(), "not here")?;
    let trailer = crate::client::text(&answer.trailers, "probe-trailer");
    same("the trailer", trailer, "kept")
}

/// The head does not wait for the first message, which comes only when the case says so.
async fn head_first(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let script = Script::new()
        .head_with(&[("probe-head", b"early")])
        .wait("go")
        .send(1, 10);
    let mut call = stage.open(SERVER_STREAM, &script).await?;
    call.send(b"x").await?;
    call.exchange.half_close();
    call.handler.waiting("go").await?;
    let head = rig
        .in_time("head", Duration::from_millis(100), call.exchange.head())
        .await??;
    let early = crate::client::text(&head.headers, "probe-head");
    same("the head's metadata", early, "early")?;
    call.handler.release("go");
    let answer = call.exchange.answer().await?;
    same("responses", answer.messages.len(), 1)
}

async fn head_then_trailers(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let script = Script::new()
        .head_with(&[("probe-head", b"one")])
        .finish_with(10, "aborted", &[("probe-trailer", b"two")]);
    let mut call = stage.open(BIDI, &script).await?;
    call.exchange.half_close();
    let answer = call.exchange.answer().await?;
    let head = answer.head.as_ref().context("the head is gone")?;
    same("head", crate::client::text(head, "probe-head"), "one")?;
    ensure!(!head.contains_key("probe-trailer"), "a trailer in the head");
    let trailer = crate::client::text(&answer.trailers, "probe-trailer");
    same("trailer", trailer, "two")?;
    ensure!(
        !answer.trailers.contains_key("probe-head"),
        "the head's metadata in the trailers"
    );
    same("status", answer.status()?, 10)
}

async fn server_first(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let script = Script::new().send(1, 20).echo_all();
    let mut call = stage.open(BIDI, &script).await?;
    call.exchange.head().await?;
    let first = call.exchange.message().await?.context("no message")?;
    same("the first message", first.bytes, payload::message(0, 20))?;
    let answer = call.finish(b"mine").await?;
    same("echoes", answer.messages.len(), 1)?;
    ok(&answer)
}

/// What an endpoint makes of it is its own affair: a path in between has no opinion.
async fn cardinality(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    for (messages, code) in [(0, 0), (2, 0), (0, 13)] {
        let script = Script::new().head().read(1).send(messages, 10).finish(code);
        let (answer, _) = stage.unary(&script, b"x").await?;
        same("status", answer.status()?, code)?;
        same("responses", answer.messages.len(), messages as usize)?;
    }
    Ok(())
}
