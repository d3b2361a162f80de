//! K34: the official interoperability cases of gRPC, with the sizes and statuses that their descriptions give
//! (grpc/grpc, doc/interop-test-descriptions.md). What they ask of a test service the probe's scripts say.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;

use crate::case::{Case, ROUTED};
use crate::client::Call;
use crate::probe::{Script, payload};
use crate::rig::Rig;
use crate::run;
use crate::stage::Stage;
use crate::wait;

use super::{BIDI, CLIENT_STREAM, SERVER_STREAM, UNARY, done, ok, same};

pub(super) const CASES: &[Case] = &[Case::new("K34", ROUTED, run!(interop))];

const CANCELLED: u32 = 1;
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const UNIMPLEMENTED: u32 = 12;

/// Bytes of the request of `large_unary`, and of its response.
const LARGE: (usize, u32) = (271_828, 314_159);
/// Sizes of the messages of streams: what clients send, and what servers do.
const SENT: [usize; 4] = [27_182, 8, 1_828, 45_904];
const GIVEN: [u32; 4] = [31_415, 9, 2_653, 58_979];
/// `large_unary` at once on one connection.
const PARALLEL: u32 = 1_000;
/// How long one of them may wait for the others: they are 586 MB together.
const PATIENCE: Duration = Duration::from_secs(150);

async fn interop(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    empty(&mut stage)
        .await
        .context("empty_unary, empty_stream")?;
    streams(&mut stage).await.context("streaming")?;
    metadata(&mut stage).await.context("custom_metadata")?;
    statuses(&mut stage)
        .await
        .context("status_code_and_message")?;
    ends(&mut stage)
        .await
        .context("cancellation and deadline")?;
    parallel(&mut stage).await.context("large_unary")
}

async fn empty(stage: &mut Stage) -> Result<()> {
    let (answer, _) = stage
        .unary(&Script::new().read_all().send(1, 0), b"")
        .await?;
    ok(&answer)?;
    same("messages", answer.messages.len(), 1)?;
    let mut call = stage.open(BIDI, &Script::new().read_all()).await?;
    call.exchange.half_close();
    let answer = call.exchange.answer().await?;
    ok(&answer)?;
    same("messages of an empty stream", answer.messages.len(), 0)
}

async fn streams(stage: &mut Stage) -> Result<()> {
    let script = Script::new().read_all().send(1, 4);
    let mut up = stage.open(CLIENT_STREAM, &script).await?;
    for size in SENT {
        up.send(&payload::message(0, size)).await?;
    }
    up.exchange.half_close();
    ok(&up.exchange.answer().await?)?;
    // aggregated_payload_size
    same("bytes taken", done(&up.handler).await?.taken.bytes, 74_922)?;
    let give = |script: Script, (n, size): (u32, u32)| script.send_from(n, 1, size);
    let script = (0..).zip(GIVEN).fold(Script::new().read_all(), give);
    let mut down = stage.open(SERVER_STREAM, &script).await?;
    down.exchange.half_close();
    let answer = down.exchange.answer().await?;
    ok(&answer)?;
    let sizes: Vec<u32> = answer
        .messages
        .iter()
        .map(|m| m.bytes.len() as u32)
        .collect();
    same("sizes given", sizes, GIVEN.to_vec())?;
    // ping_pong: the next request only after the last response.
    let turn = |script: Script, given: (u32, u32)| give(script.read(1), given);
    let script = (0..).zip(GIVEN).fold(Script::new(), turn);
    let mut both = stage.open(BIDI, &script).await?;
    for (n, (sent, given)) in (0..).zip(SENT.into_iter().zip(GIVEN)) {
        both.send(&payload::message(n, sent)).await?;
        let back = both.exchange.message().await?.context("an end")?;
        same("a pong", back.bytes, payload::message(n, given as usize))?;
    }
    both.exchange.half_close();
    ok(&both.exchange.answer().await?)
}

async fn metadata(stage: &mut Stage) -> Result<()> {
    const INITIAL: &str = "x-grpc-test-echo-initial";
    const TRAILING: &str = "x-grpc-test-echo-trailing-bin";
    let (initial, trailing) = (b"test_initial_metadata_value", b"\xab\xab\xab");
    let script = Script::new()
        .head_with(&[(INITIAL, initial)])
        .read_all()
        .send(1, LARGE.1)
        .finish_with(0, "", &[(TRAILING, trailing)]);
    for method in [UNARY, BIDI] {
        let mut call = stage
            .open_with(method, &script, |call| {
                call.header(INITIAL, initial).bin(TRAILING, trailing)
            })
            .await?;
        let answer = call.finish(&payload::message(0, LARGE.0)).await?;
        ok(&answer)?;
        let started = call.handler.started().await?;
        let values = |key: &str| started.values(key).map_err(anyhow::Error::msg);
        same(
            "initial metadata at the server",
            values(INITIAL)?,
            vec![initial.to_vec()],
        )?;
        same(
            "binary metadata at the server",
            values(TRAILING)?,
            vec![trailing.to_vec()],
        )?;
        let head = answer.head.as_ref().context("no initial metadata")?;
        same(
            "initial metadata",
            head.get(INITIAL).map(http::HeaderValue::as_bytes),
            Some(&initial[..]),
        )?;
        let back = answer
            .trailers
            .get(TRAILING)
            .context("no trailing metadata")?;
        let back = crate::client::decode_bin(back.as_bytes())?;
        same("trailing metadata", &back[..], &trailing[..])?;
    }
    Ok(())
}

async fn statuses(stage: &mut Stage) -> Result<()> {
    let special = "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n";
    let encoded =
        "%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA and non-BMP %F0%9F%98%88%09%0A";
    let pairs = [
        ("test status message", "test status message"),
        (special, encoded),
    ];
    for (message, due) in pairs {
        for method in [UNARY, BIDI] {
            let script = Script::new().read_all().finish_with(UNKNOWN, message, &[]);
            let mut call = stage.open(method, &script).await?;
            let answer = call.finish(b"").await?;
            same("status", answer.status()?, UNKNOWN)?;
            same("message", answer.message(), due)?;
        }
    }
    let (call, _) = stage.request("UnimplementedCall", &Script::new())?;
    let answer = stage.client.unary(call, b"").await?;
    same(
        "status of unimplemented_method",
        answer.status()?,
        UNIMPLEMENTED,
    )
}

async fn ends(stage: &mut Stage) -> Result<()> {
    // cancel_after_begin, cancel_after_first_response
    let mut begun = stage.open(CLIENT_STREAM, &Script::new().read_all()).await?;
    begun.handler.started().await?;
    begun.exchange.cancel();
    begun.handler.cancelled().await?;
    let mut first = stage.open(BIDI, &Script::new().echo(1).read_all()).await?;
    first.send(&payload::message(0, SENT[0])).await?;
    first.exchange.message().await?.context("an end")?;
    first.exchange.cancel();
    first.handler.cancelled().await?;
    // timeout_on_sleeping_server
    let script = Script::new().read(1).wait("never");
    let timeout = Duration::from_millis(1);
    let mut late = stage
        .open_with(BIDI, &script, |call| call.timeout(timeout))
        .await?;
    let _ = late.exchange.send(&payload::message(0, SENT[0])).await;
    match late.exchange.answer().await {
        Ok(answer) => same("status", answer.status()?, DEADLINE_EXCEEDED),
        // Cancelled by the server's own library, which has the deadline too.
        Err(error) => same(&format!("{error:#}"), CANCELLED, DEADLINE_EXCEEDED),
    }
}

/// One connection bears all of them at once.
async fn parallel(stage: &mut Stage) -> Result<()> {
    let script = Script::new().read_all().send(1, LARGE.1);
    let request = payload::message(0, LARGE.0);
    let mut calls = Vec::new();
    for _ in 0..wait::rounds(PARALLEL) {
        let (call, _) = stage.request(UNARY, &script)?;
        calls.push(call);
    }
    let (client, request) = (&stage.client, &request);
    let one = |call: Call| async move {
        let mut exchange = client.open(call.build()?, false).await?;
        exchange.patient(PATIENCE);
        exchange.send(request).await?;
        exchange.half_close();
        let answer = exchange.answer().await?;
        ok(&answer)?;
        let size = answer.messages.first().map(|message| message.bytes.len());
        same("bytes of the response", size, Some(LARGE.1 as usize))
    };
    try_join_all(calls.into_iter().map(one)).await?;
    Ok(())
}
