//! K15-K18, K20-K22: metadata arrive as they were sent, and only where they may.

use anyhow::{Context, Result, ensure};
use grpcrouter_proto::v1::register_response;
use http::HeaderMap;

use crate::case::{CALLS, Case, ROUTED};
use crate::probe::Script;
use crate::rig::Rig;
use crate::run;
use crate::tunnel::tap::{Seen, Tap};

use super::{UNARY, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("K15", CALLS, run!(binary)),
    Case::new("K16", CALLS, run!(joined_by_commas)),
    Case::new("K17", CALLS, run!(repeats)),
    Case::new("K18", CALLS, run!(ascii)),
    Case::new("K20", ROUTED, run!(hop_by_hop)),
    Case::new("K21", ROUTED, run!(forged_status)),
    Case::new("K22", CALLS, run!(who_calls)),
];

async fn binary(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let values: [&[u8]; 6] = [&[0x00, 0xff], b"", b"a", b"ab", b"abc", &[0xff; 40]];
    for value in values {
        let script = Script::new()
            .read_all()
            .head_with(&[("probe-answer-bin", value)])
            .finish_with(0, "", &[("probe-end-bin", value)]);
        let mut call = stage
            .open_with(UNARY, &script, |call| call.bin("probe-value-bin", value))
            .await?;
        let answer = call.finish(b"").await?;
        ok(&answer)?;
        let seen = call.handler.started().await?;
        let seen = seen.values("probe-value-bin").map_err(anyhow::Error::msg)?;
        same("the handler's value", seen, [value.to_vec()])?;
        let head = answer.head.as_ref().context("no head")?;
        same(
            "the head's value",
            decoded(head, "probe-answer-bin")?,
            value,
        )?;
        same(
            "the trailer",
            decoded(&answer.trailers, "probe-end-bin")?,
            value,
        )?;
    }
    // With padding, as some clients send it.
    let call = stage
        .open_with(UNARY, &Script::new().read_all(), |call| {
            call.header("probe-value-bin", "AP8=")
        })
        .await?;
    let mut exchange = call.exchange;
    exchange.send(b"").await?;
    exchange.half_close();
    same("status with padding", exchange.answer().await?.status()?, 0)?;
    let seen = call.handler.started().await?;
    let seen = seen.values("probe-value-bin").map_err(anyhow::Error::msg)?;
    same("a padded value", seen, [vec![0x00, 0xff]])
}

async fn joined_by_commas(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let call = stage
        .open_with(UNARY, &Script::new().read_all(), |call| {
            call.header("probe-value-bin", "AP8,YWI")
                .header("probe-value-bin", "YQ")
        })
        .await?;
    let started = call.handler.started().await?;
    // Joined or apart, as HTTP allows; decoded by a library, or not yet.
    let values = started
        .values("probe-value-bin")
        .map_err(anyhow::Error::msg)?;
    same(
        "all three values",
        values.concat(),
        [&[0x00, 0xff][..], b"ab", b"a"].concat(),
    )
}

async fn repeats(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let script = Script::new()
        .read_all()
        .head_with(&[("dup", b"1"), ("other", b"x"), ("dup", b"2")])
        .finish_with(0, "", &[("dup", b"3"), ("dup", b"4")]);
    let mut call = stage
        .open_with(UNARY, &script, |call| {
            call.header("dup", "1")
                .header("other", "x")
                .header("dup", "2")
                .header("dup", "3")
        })
        .await?;
    let answer = call.finish(b"").await?;
    let seen = call
        .handler
        .started()
        .await?
        .values("dup")
        .map_err(anyhow::Error::msg)?;
    same(
        "the handler's",
        seen,
        [b"1".to_vec(), b"2".to_vec(), b"3".to_vec()],
    )?;
    let head = answer.head.as_ref().context("no head")?;
    same("the head's", all(head, "dup"), ["1", "2"])?;
    same("the trailers'", all(&answer.trailers, "dup"), ["3", "4"])
}

async fn ascii(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let every: Vec<u8> = (0x21..=0x7e).collect();
    // Around a value HTTP has no spaces of its own, so that they stand within.
    let spaced = [b"a b  c", &every[..]].concat();
    for value in [&b""[..], b"a b", b"100%", b"%41", &every, &spaced] {
        let script = Script::new()
            .read_all()
            .head_with(&[("probe-answer", value)])
            .finish_with(0, "", &[("probe-end", value)]);
        let mut call = stage
            .open_with(UNARY, &script, |call| call.header("probe-value", value))
            .await?;
        let answer = call.finish(b"").await?;
        let seen = call.handler.started().await?;
        let seen = seen.values("probe-value").map_err(anyhow::Error::msg)?;
        same("the handler's value", seen, [value.to_vec()])?;
        let head = answer.head.as_ref().context("no head")?;
        for (list, key) in [(head, "probe-answer"), (&answer.trailers, "probe-end")] {
            let got = list.get(key).map(http::HeaderValue::as_bytes);
            same(key, got, Some(value))?;
        }
    }
    Ok(())
}

/// What belongs to a hop or has a meaning to the gateway ends there.
async fn hop_by_hop(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let mut call = stage
        .open_with(UNARY, &Script::new().read_all(), |call| {
            call.header("grpcrouter-made-up", "x")
                .header("probe-kept", "yes")
                .timeout(std::time::Duration::from_secs(60))
        })
        .await?;
    call.send(b"").await?;
    call.exchange.half_close();
    same("status", call.exchange.answer().await?.status()?, 0)?;
    let started = call.handler.started().await?;
    let keys: Vec<&str> = started.keys().collect();
    ensure!(
        keys.contains(&"probe-kept"),
        "an ordinary key is gone: {keys:?}"
    );
    let seen = stage.tap().map_or(Vec::new(), |tap| opened(&tap));
    for hop in [
        "te",
        "connection",
        "keep-alive",
        "host",
        "grpc-timeout",
        "content-length",
    ] {
        ensure!(
            !seen.iter().any(|key| key == hop),
            "`{hop}` went into the tunnel: {seen:?}"
        );
    }
    for key in keys.iter().copied().chain(seen.iter().map(String::as_str)) {
        ensure!(!key.starts_with(':'), "pseudo-header `{key}` as metadata");
        ensure!(
            !key.starts_with("grpcrouter-"),
            "`{key}` reached the handler"
        );
    }
    let left = started
        .timeout_us
        .context("the deadline was not passed on")?;
    ensure!(
        left <= 60_000_000 && left > 30_000_000,
        "{left} us are left of 60 s"
    );
    Ok(())
}

async fn forged_status(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let script = Script::new()
        .read_all()
        .head_with(&[
            ("grpc-status", b"0"),
            ("grpc-message", b"forged"),
            ("probe-ok", b"1"),
        ])
        .finish_with(7, "denied", &[]);
    let mut call = stage.open(UNARY, &script).await?;
    let answer = call.finish(b"").await?;
    same("status", answer.status()?, 7)?;
    same("message", answer.message(), "denied")?;
    let head = answer.head.as_ref().context("no head")?;
    for key in ["grpc-status", "grpc-message"] {
        ensure!(!head.contains_key(key), "`{key}` in the initial metadata");
    }
    Ok(())
}

async fn who_calls(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let call = stage
        .open_with(UNARY, &Script::new().read_all(), |call| {
            call.header("user-agent", "conformance/1")
                .authority("shop.example:8443")
        })
        .await?;
    let started = call.handler.started().await?;
    let agents = started.values("user-agent").map_err(anyhow::Error::msg)?;
    let agents = String::from_utf8_lossy(&agents.concat()).into_owned();
    ensure!(
        agents.contains("conformance/1"),
        "user-agent `{agents}` at the handler"
    );
    same("authority", started.authority, "shop.example:8443")
}

/// The keys of the metadata of every call that went into the tunnel.
fn opened(tap: &Tap) -> Vec<String> {
    let calls = tap
        .entries()
        .into_iter()
        .filter_map(|entry| match entry.frame {
            Seen::Response(frame, _) => frame.frame,
            Seen::Request(..) => None,
        });
    let lists = calls.filter_map(|frame| match frame {
        register_response::Frame::RpcCall(call) => Some(call.metadata),
        _ => None,
    });
    lists.flatten().map(|entry| entry.key).collect()
}

fn all<'a>(list: &'a HeaderMap, key: &str) -> Vec<&'a str> {
    let values = list.get_all(key).iter();
    values.filter_map(|value| value.to_str().ok()).collect()
}

fn decoded(list: &HeaderMap, key: &str) -> Result<Vec<u8>> {
    let value = list.get(key).with_context(|| format!("{key} is gone"))?;
    Ok(crate::client::decode_bin(value.as_bytes())?.to_vec())
}
