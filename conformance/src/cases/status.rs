//! K23-K26: a handler's status, its message, its details and its trailers arrive as they were.

use anyhow::{Context, Result, ensure};

use crate::case::{CALLS, Case};
use crate::pb::Finish;
use crate::probe::Script;
use crate::rig::Rig;
use crate::run;

use super::same;

pub(super) const CASES: &[Case] = &[
    Case::new("K23", CALLS, run!(codes)),
    Case::new("K24", CALLS, run!(messages)),
    Case::new("K25", CALLS, run!(details)),
    Case::new("K26", CALLS, run!(unknown_trailers)),
];

const UNKNOWN: u32 = 2;

async fn codes(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    for code in 0..=16 {
        let script = Script::new().read_all().finish_with(code, "as said", &[]);
        let (answer, _) = stage.unary(&script, b"").await?;
        same("status", answer.status()?, code)?;
        if code != 0 {
            same("message", answer.message(), "as said")?;
        }
    }
    // Directly, a client's library is what makes UNKNOWN of these.
    if rig.is_direct() {
        return Ok(());
    }
    let strange = [
        Script::new().read_all().finish(17),
        Script::new().read_all().finish(99),
    ];
    for script in &strange {
        let (answer, _) = stage.unary(script, b"").await?;
        same("a code that is none", answer.status()?, UNKNOWN)?;
    }
    let script = Script::new().read_all().head().finish_without_status();
    let (answer, _) = stage.unary(&script, b"").await?;
    let status = answer.status()?;
    // A library that cannot leave the status out resets the call, which is INTERNAL.
    ensure!(
        [UNKNOWN, 13].contains(&status),
        "no status at all came as {status}"
    );
    Ok(())
}

async fn messages(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let long = "\u{20ac}%\t".repeat(4096 / 5);
    let special = "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n";
    for message in ["plain", special, "100%", "%41%", &long] {
        let script = Script::new().read_all().finish_with(2, message, &[]);
        let (answer, _) = stage.unary(&script, b"").await?;
        same("status", answer.status()?, 2)?;
        let wire = answer.message().to_owned();
        ensure!(
            wire.bytes().all(|byte| (0x20..=0x7e).contains(&byte)),
            "not percent-encoded: {wire:?}"
        );
        same("message", percent_decoded(&wire)?, message)?;
    }
    Ok(())
}

async fn details(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    for len in [1_usize, 2, 3, 700, 3_000] {
        let details: Vec<u8> = (0..len).map(|j| (j * 11 + len) as u8).collect();
        let script = Script::new().read_all().finish_as(Finish {
            code: 9,
            message: "with details".to_owned(),
            details: details.clone().into(),
            trailers: vec![crate::pb::Header {
                key: "probe-trailer".to_owned(),
                value: b"kept".to_vec().into(),
            }],
            without_status: false,
        });
        let (answer, _) = stage.unary(&script, b"").await?;
        same("status", answer.status()?, 9)?;
        let got = answer.details()?.context("the details are gone")?;
        ensure!(
            got == details,
            "{len} bytes of details came as {} others",
            got.len()
        );
        let trailer = crate::client::text(&answer.trailers, "probe-trailer");
        same("the trailer beside them", trailer, "kept")?;
    }
    Ok(())
}

async fn unknown_trailers(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let load: &[u8] = &[9, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f];
    let script = Script::new().read_all().send(1, 1).finish_with(
        0,
        "",
        &[("endpoint-load-metrics-bin", load)],
    );
    let (answer, _) = stage.unary(&script, b"").await?;
    let value = answer.trailers.get("endpoint-load-metrics-bin");
    let value = value.context("endpoint-load-metrics-bin is gone")?;
    same(
        "its bytes",
        crate::client::decode_bin(value.as_bytes())?,
        load,
    )
}

fn percent_decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped.filter(|_| byte == b'%') {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).with_context(|| format!("{text:?} is no UTF-8"))
}
