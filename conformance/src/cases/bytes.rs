//! K27, K29-K32: messages pass as bytes: large ones, compressed ones, and what is no message at all.

use anyhow::{Result, ensure};
use http::Method;

use crate::case::{CALLS, Case, ROUTED};
use crate::client::Call;
use crate::framing::flagged;
use crate::pb::SubjectSettings;
use crate::probe::{Script, path, payload};
use crate::rig::Rig;
use crate::run;

use super::{BIDI, CLIENT_STREAM, UNARY, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("K27", ROUTED, run!(large)).with(limited),
    Case::new("K29", CALLS, run!(compressed)),
    Case::new("K30", CALLS, run!(flag_without_encoding)),
    Case::new("K31", CALLS, run!(half_a_message)),
    Case::new("K32", CALLS, run!(content_types)),
];

/// The longest message where one is limited, in bytes.
const LIMIT: u32 = 20 << 20;
const RESOURCE_EXHAUSTED: u32 = 8;
const INTERNAL: u32 = 13;

fn limited() -> SubjectSettings {
    SubjectSettings {
        message_max: LIMIT,
        ..SubjectSettings::default()
    }
}

/// 16 MiB pass; at the limit the edge is exact, both ways, and nobody else is hurt.
async fn large(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let edges = [
        (16 << 20, 0),
        (LIMIT - 1, 0),
        (LIMIT, 0),
        (LIMIT + 1, RESOURCE_EXHAUSTED),
    ];
    for (size, due) in edges {
        let script = Script::new().head().read_all().send(1, 1);
        let mut call = stage.open(CLIENT_STREAM, &script).await?;
        // Where it is refused its sender is stopped.
        let sent = call
            .exchange
            .send(&payload::message(1, size as usize))
            .await;
        ensure!(
            sent.is_ok() || due != 0,
            "{size} bytes of a request: {:#}",
            sent.unwrap_err()
        );
        call.exchange.half_close();
        let answer = call.exchange.answer().await?;
        same(&format!("a request of {size} bytes"), answer.status()?, due)?;
        let script = Script::new().read_all().send(1, size);
        let (answer, _) = stage.unary(&script, b"").await?;
        same(
            &format!("a response of {size} bytes"),
            answer.status()?,
            due,
        )?;
        if due == 0 {
            same("responses", answer.messages.len(), 1)?;
            same("its bytes", answer.messages[0].bytes.len(), size as usize)?;
        }
        let (sibling, _) = stage.unary(&Script::new().echo_all(), b"sibling").await?;
        same("a call beside it", sibling.status()?, 0)?;
    }
    Ok(())
}

/// Flags and bytes as they came, whether or not anybody could decode them.
async fn compressed(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let script = Script::new()
        .head_with(&[("grpc-encoding", b"gzip")])
        .echo_all();
    let mut call = stage
        .open_with(BIDI, &script, |call| call.header("grpc-encoding", "gzip"))
        .await?;
    let sent: Vec<(u8, Vec<u8>)> = (0..10)
        .map(|n| ((n % 2) as u8, payload::message(n, 50).to_vec()))
        .collect();
    for (flag, message) in &sent {
        call.exchange
            .sending
            .send_raw(flagged(*flag, message))
            .await?;
    }
    call.exchange.half_close();
    let answer = call.exchange.answer().await?;
    ok(&answer)?;
    let got: Vec<_> = answer
        .messages
        .iter()
        .map(|m| (m.flag, m.bytes.to_vec()))
        .collect();
    same("messages that came back", got, sent)?;
    let encoding = call.handler.started().await?;
    let encoding = encoding
        .values("grpc-encoding")
        .map_err(anyhow::Error::msg)?;
    same("the handler's grpc-encoding", encoding, [b"gzip".to_vec()])?;
    // An encoding that a handler does not know is its own to refuse.
    let script = Script::new().finish_with(12, "unknown encoding", &[]);
    let mut call = stage
        .open_with(UNARY, &script, |call| {
            call.header("grpc-encoding", "snappy")
        })
        .await?;
    call.exchange.half_close();
    same("its refusal", call.exchange.answer().await?.status()?, 12)
}

/// INTERNAL is the endpoint's to say: the path has no opinion of its own.
async fn flag_without_encoding(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let script = Script::new()
        .read_all()
        .finish_with(INTERNAL, "no encoding", &[]);
    let mut call = stage.open(UNARY, &script).await?;
    call.exchange
        .sending
        .send_raw(flagged(1, b"squeezed"))
        .await?;
    call.exchange.half_close();
    let answer = call.exchange.answer().await?;
    same("the endpoint's status", answer.status()?, INTERNAL)?;
    same("the gateway's reason", answer.reason(), "")?;
    same("runs of the handler", stage.runs(&call.handler).await?, 1)
}

async fn half_a_message(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut call = stage
        .open(UNARY, &Script::new().read_all().send(1, 1))
        .await?;
    let whole = payload::framed_message(1, 100);
    call.exchange.sending.send_raw(whole.slice(..40)).await?;
    call.exchange.half_close();
    let answer = call.exchange.answer().await?;
    ensure!(
        answer.status()? != 0,
        "half a message was taken for a whole one"
    );
    same(
        "messages that the handler took",
        call.handler.counts().taken.messages,
        0,
    )
}

async fn content_types(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    for kind in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc+json",
    ] {
        let mut call = stage
            .open_with(UNARY, &Script::new().echo_all(), |call| {
                call.without("content-type").header("content-type", kind)
            })
            .await?;
        let answer = call.finish(b"x").await?;
        same(kind, answer.status()?, 0)?;
        let started = call.handler.started().await?;
        if let Some(seen) = started
            .values("content-type")
            .map_err(anyhow::Error::msg)?
            .first()
        {
            same("content-type at the handler", &seen[..], kind.as_bytes())?;
        }
    }
    if rig.is_direct() {
        return Ok(());
    }
    let (call, handler) = stage.request(UNARY, &Script::new().echo_all())?;
    let wrong = call
        .without("content-type")
        .header("content-type", "text/plain");
    let mut exchange = stage.client.open(wrong.build()?, true).await?;
    let head = exchange.head().await?;
    same("HTTP status of text/plain", head.status.as_u16(), 415)?;
    let get = Call::new(path(UNARY)).http_method(Method::GET);
    let mut exchange = stage.client.open(get.build()?, true).await?;
    let head = exchange.head().await?;
    ensure!(
        head.status.is_client_error() || head.headers.contains_key("grpc-status"),
        "a GET was answered with {}",
        head.status
    );
    same("handlers that ran", stage.runs(&handler).await?, 0)
}
