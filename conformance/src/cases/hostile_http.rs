//! K19, S9, S13, S14, S18: clients that break HTTP/2's rules, or ask for what is not theirs.

use anyhow::{Context, Result, ensure};

use crate::case::{AT_GATEWAY, Case};
use crate::client::frames::Frames;
use crate::client::wire::{MAX_CONCURRENT_STREAMS, kind};
use crate::client::{Call, Client};
use crate::probe::Script;
use crate::rig::Rig;
use crate::run;
use crate::tunnel::REGISTER;

use super::{UNARY, same};

pub(super) const CASES: &[Case] = &[
    Case::new("K19", AT_GATEWAY, run!(capitals)),
    Case::new("S9", AT_GATEWAY, run!(metadata_bomb)),
    Case::new("S13", AT_GATEWAY, run!(streams)),
    Case::new("S14", AT_GATEWAY, run!(paths)),
    Case::new("S18", AT_GATEWAY, run!(ports)),
];

async fn capitals(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let (_, handler) = stage.unbound(UNARY, &Script::new());
    let mut frames = Frames::connect(rig.gateway.clients).await?;
    let path = crate::probe::path(UNARY);
    let more = [
        ("grpcrouter-instance", stage.instance.id()),
        ("probe-call", handler.name()),
        ("Upper-Case", "no"),
    ];
    frames.open(1, &path, &more).await?;
    ensure!(
        refused(&mut frames, 1).await?,
        "a header in capitals was answered"
    );
    same("handlers that ran", stage.runs(&handler).await?, 0)
}

/// A list that is too long costs its call, at most its connection, and nobody else anything.
async fn metadata_bomb(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let long = "x".repeat(1_000);
    for kilobytes in [20, 70, 200] {
        let (mut call, handler) = stage.request(UNARY, &Script::new())?;
        for n in 0..kilobytes {
            call = call.header(format!("bomb-{n}"), &long);
        }
        let client = Client::connect(rig.gateway.clients).await?;
        let refused = match client.open(call.build()?, true).await {
            Ok(mut exchange) => match exchange.answer().await {
                Ok(answer) => answer.http != 200 || answer.status()? != 0,
                Err(_) => true,
            },
            Err(_) => true,
        };
        ensure!(refused, "{kilobytes} KB of metadata were taken");
        same("handlers that ran", stage.runs(&handler).await?, 0)?;
    }
    stage.sibling().await
}

async fn streams(rig: Rig) -> Result<()> {
    /// More than any gateway should take of one client.
    const MANY: u32 = 20_000;
    let mut stage = rig.stage().await?;
    let mut frames = Frames::connect(rig.gateway.clients).await?;
    let limit = frames
        .settings
        .iter()
        .find(|(id, _)| *id == MAX_CONCURRENT_STREAMS);
    let limit = limit
        .context("no MAX_CONCURRENT_STREAMS in the settings")?
        .1;
    ensure!(limit <= MANY, "MAX_CONCURRENT_STREAMS is {limit}");
    let script = Script::new().wait("never").header();
    let path = crate::probe::path(UNARY);
    let id = stage.instance.id().to_owned();
    for n in 0..=limit {
        let name = rig.name();
        let more = [
            ("grpcrouter-instance", id.as_str()),
            ("probe-call", &name),
            ("probe-script-bin", &script),
        ];
        frames.open(2 * n + 1, &path, &more).await?;
    }
    ensure!(
        refused(&mut frames, 2 * limit + 1).await?,
        "a stream beyond the limit of {limit} was answered"
    );
    stage.sibling().await
}

/// A path that is none is refused before anything is done with it.
async fn paths(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let service = crate::probe::SERVICE;
    let long = format!("/{service}/{}", "x".repeat(9_000));
    let wrong = [
        format!("{service}/Unary"),
        format!("//{service}/Unary"),
        format!("/{service}//Unary"),
        format!("/{service}/"),
        format!("/{service}%2fUnary"),
        format!("/{service}/Unary%00"),
        format!("/{service}/Un\u{0}ary"),
        "/".to_owned(),
        "*".to_owned(),
        String::new(),
        long,
    ];
    for path in wrong {
        let mut frames = Frames::connect(rig.gateway.clients).await?;
        let (_, handler) = stage.unbound(UNARY, &Script::new());
        let script = Script::new().read_all().header();
        let more = [
            ("grpcrouter-instance", stage.instance.id()),
            ("probe-call", handler.name()),
            ("probe-script-bin", script.as_str()),
        ];
        frames.open(1, &path, &more).await?;
        // Where the connection has ended the request was refused too.
        let _ = frames.half_close(1).await;
        let end = refused(&mut frames, 1).await;
        end.with_context(|| format!("the path {path:?}"))?;
        same(
            &format!("handlers that ran for {path:?}"),
            stage.runs(&handler).await?,
            0,
        )?;
    }
    Ok(())
}

/// Waits until a stream is answered, or refused: reset, or its connection ends. Whether it was refused.
async fn refused(frames: &mut Frames, stream: u32) -> Result<bool> {
    while let Some(frame) = frames.next().await? {
        match frame.kind {
            kind::HEADERS if frame.stream == stream => return Ok(false),
            kind::RST_STREAM if frame.stream == stream => return Ok(true),
            kind::GOAWAY => return Ok(true),
            _ => {}
        }
    }
    Ok(true)
}

/// On the port of clients nobody registers, and on the port of tunnels nobody calls.
async fn ports(rig: Rig) -> Result<()> {
    let mut stage = rig.stage().await?;
    let client = rig.client().await?;
    for path in [REGISTER, "/grpcrouter.v1.Router/ListInstances"] {
        let mut exchange = client.open(Call::new(path).build()?, true).await?;
        let status = exchange.answer().await?.status()?;
        ensure!(
            status != 0,
            "{path} was answered with OK on the port of clients"
        );
    }
    let tunnels = rig.gateway.tunnels.context("a gateway")?;
    let client = Client::connect(tunnels).await?;
    let (call, handler) = stage.request(UNARY, &Script::new().read_all())?;
    let mut exchange = client.open(call.build()?, true).await?;
    let status = exchange.answer().await?.status()?;
    ensure!(
        status != 0,
        "a call was answered with OK on the port of tunnels"
    );
    same("handlers that ran", stage.runs(&handler).await?, 0)
}
