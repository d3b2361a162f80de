//! R2, R4-R8, R6w: where calls go, and what is said where they cannot.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::case::{AT_GATEWAY, CALLS, Case, GATEWAY, ROUTED};
use crate::client::Call;
use crate::clock;
use crate::probe::Script;
use crate::rig::Rig;
use crate::run;
use crate::wait::{LIMIT, within};

use super::{UNARY, same};

pub(super) const CASES: &[Case] = &[
    Case::new("R2", ROUTED, run!(unknown_method)),
    Case::new("R4", AT_GATEWAY, run!(nobody_for_a_key)),
    Case::new("R5", AT_GATEWAY, run!(unknown_service)).alone(),
    Case::new("R6", AT_GATEWAY, run!(nobody_at_all)).alone(),
    Case::new("R6w", GATEWAY, run!(waits_for_one)).alone(),
    Case::new("R7", CALLS, run!(timeouts)),
    Case::new("R8", CALLS, run!(time_left)),
];

const UNIMPLEMENTED: u32 = 12;
const UNAVAILABLE: u32 = 14;
const DEADLINE: u32 = 4;

async fn unknown_method(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let (call, handler) = stage.request("NoSuchMethod", &Script::new())?;
    let answer = stage.client.unary(call, b"").await?;
    same("status", answer.status()?, UNIMPLEMENTED)?;
    same(
        "the gateway's reason, where the instance answers",
        answer.reason(),
        "",
    )?;
    same("handlers that ran", stage.runs(&handler).await?, 0)
}

async fn nobody_for_a_key(rig: Rig) -> Result<()> {
    let stage = rig.stage().await?;
    let call = Call::new(crate::probe::path(UNARY)).instance("nobody-of-that-id");
    let answer = stage.client.unary(call, b"").await?;
    same("status", answer.status()?, UNAVAILABLE)?;
    same("reason", answer.reason(), "no-instance")
}

async fn unknown_service(rig: Rig) -> Result<()> {
    let client = rig.client().await?;
    let other = || Call::new("/no.such.Service/Method");
    let answer = client.unary(other(), b"").await?;
    same(
        "status with no instance at all",
        answer.status()?,
        UNAVAILABLE,
    )?;
    same("reason", answer.reason(), "no-instance")?;
    let _stage = rig.stage().await?;
    let answer = client.unary(other(), b"").await?;
    same(
        "status once services are declared",
        answer.status()?,
        UNIMPLEMENTED,
    )?;
    same("reason", answer.reason(), "unknown-service")
}

async fn nobody_at_all(rig: Rig) -> Result<()> {
    let client = rig.client().await?;
    let call = Call::new(crate::probe::path(UNARY));
    let limit = Duration::from_millis(50);
    let answer = rig
        .in_time("answer", limit, client.unary(call, b""))
        .await??;
    same("status", answer.status()?, UNAVAILABLE)?;
    same("reason", answer.reason(), "no-instance")
}

/// A call that asked to wait has its answer from whoever comes, and where nobody does it waits for all of its time.
async fn waits_for_one(rig: Rig) -> Result<()> {
    let mut gone = rig.stage().await?;
    gone.sibling().await?;
    gone.instance.kill().await?;
    let client = rig.client().await?;
    let plain = || Call::new(crate::probe::path(UNARY));
    let lost = async {
        while client.unary(plain(), b"").await?.reason() != "no-instance" {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    within("the end of the only instance", LIMIT, lost).await??;

    let time = Duration::from_millis(500);
    let asked = |call: Call| call.header("grpcrouter-wait-for-ready", "true");
    let from = clock::now();
    let answer = client.unary(asked(plain()).timeout(time), b"").await?;
    let took = clock::now() - from;
    same("status where nobody comes", answer.status()?, DEADLINE)?;
    same("reason", answer.reason(), "deadline")?;
    ensure!(
        took >= time,
        "it had {time:?}, and was answered after {took:?}"
    );

    let (call, handler) = gone.unbound(UNARY, &Script::new().read_all());
    let mut waiting = client.open(asked(call).build()?, false).await?;
    waiting.send(b"x").await?;
    waiting.half_close();
    let mut next = rig.stage().await?;
    let answer = waiting.answer().await?;
    same("status once somebody came", answer.status()?, 0)?;
    same("runs of its handler", next.runs(&handler).await?, 1)
}

async fn timeouts(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let hour = 3_600_000_000;
    let right = [
        ("1H", hour),
        ("60M", hour),
        ("3600S", hour),
        ("3600000m", hour),
        ("99999999u", 99_999_999),
        ("99999999n", 99_999),
        ("99999999H", u64::MAX),
    ];
    for (text, us) in right {
        let call = stage
            .open_with(UNARY, &Script::new().wait("never"), |call| {
                call.header("grpc-timeout", text)
            })
            .await?;
        // What ends before a handler runs is told by its deadline alone.
        if us >= 1_000_000 {
            let left = call.handler.started().await?.timeout_us;
            match left {
                Some(left) => ensure!(
                    left <= us && (us == u64::MAX || left + 30_000_000 > us),
                    "{text}: {left} us are left at the handler"
                ),
                // Longer than a library can count.
                None => same("no deadline at the handler for", text, "99999999H")?,
            }
        }
    }
    if rig.is_direct() {
        return Ok(());
    }
    for text in [
        "123456789S",
        "abc",
        "",
        "10",
        "S",
        "-1S",
        "1.5S",
        "1s",
        " 1S",
    ] {
        let (call, handler) = stage.request(UNARY, &Script::new())?;
        let answer = stage
            .client
            .unary(call.header("grpc-timeout", text), b"")
            .await?;
        let status = answer.status()?;
        ensure!(
            status == 3 || status == 13,
            "grpc-timeout {text:?} was answered with {status}"
        );
        same("handlers that ran", stage.runs(&handler).await?, 0)?;
    }
    Ok(())
}

async fn time_left(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    for seconds in [5_u64, 100] {
        let begun = clock::now();
        let call = stage
            .open_with(UNARY, &Script::new(), |call| {
                call.timeout(Duration::from_secs(seconds))
            })
            .await?;
        let left = call.handler.started().await?.timeout_us;
        let left = Duration::from_micros(left.context("no deadline at the handler")?);
        let hop = begun.elapsed();
        let all = Duration::from_secs(seconds);
        ensure!(left <= all, "{left:?} are left of {all:?}");
        ensure!(
            left + hop + Duration::from_millis(1) >= all,
            "{left:?} are left of {all:?}, and the way took {hop:?}"
        );
    }
    Ok(())
}
