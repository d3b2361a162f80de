//! S10, S11: clients that reset their streams at once, or make the gateway reset them. Their calls are torn down at
//! the instance, and there is an end to it.

use anyhow::{Context, Result, bail, ensure};

use crate::case::{Case, GATEWAY};
use crate::client::frames::{Frames, Outcome};
use crate::client::wire::{
    END_HEADERS, END_STREAM, Frame, call_headers, frame, header_block, kind,
};
use crate::probe::side::Watched;
use crate::probe::{self, Script};
use crate::rig::Rig;
use crate::run;
use crate::stage::{Hosted, Stage};
use crate::tunnel::flags;
use crate::tunnel::instance::ServedInstance;
use crate::tunnel::tap::Way;

use super::{BIDI, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("S10", GATEWAY, run!(rapid_reset)),
    Case::new("S11", GATEWAY, run!(made_to_reset)),
];

/// Streams of an attack: more than anybody should take.
const STREAMS: u32 = 5_000;
/// RST_STREAM's payload.
const CANCEL: [u8; 4] = 8_u32.to_be_bytes();

/// An instance, an honest client and what an attacker says.
struct Scene {
    stage: Stage,
    /// The handlers of the attacker's calls.
    handler: Watched,
    block: Vec<u8>,
}

impl Scene {
    async fn new(rig: &Rig) -> Result<Self> {
        let stage = rig.stage().await?;
        let script = Script::new().head().wait("never");
        let (_, handler) = stage.unbound(BIDI, &script);
        let path = probe::path(BIDI);
        let script = script.header();
        let more = [
            ("grpcrouter-instance", stage.instance.id()),
            (probe::CALL, handler.name()),
            (probe::SCRIPT, &script),
        ];
        let block = header_block(call_headers(&path).iter().chain(&more).copied());
        Ok(Self {
            stage,
            handler,
            block,
        })
    }

    /// The stream that is the `n`th.
    fn open(&self, bytes: &mut Vec<u8>, n: u32) -> u32 {
        let stream = 2 * n + 1;
        frame(bytes, kind::HEADERS, END_HEADERS, stream, &self.block);
        stream
    }

    fn served(&self) -> Result<&ServedInstance> {
        match &self.stage.instance {
            Hosted::Suite(served) => Ok(served),
            _ => bail!("the instance is not the suite's"),
        }
    }

    /// Attacks while a call of the honest client is under way: it goes on, and so do others.
    async fn attack(&mut self, bytes: &[u8]) -> Result<Outcome> {
        let mut frames = Frames::connect(self.stage.rig.gateway.clients).await?;
        let mut beside = self.stage.open(BIDI, &Script::new().echo_all()).await?;
        beside.send(b"before").await?;
        beside.exchange.message().await?.context("an echo")?;
        let outcome = frames.attack(bytes).await?;
        self.stage.sibling().await?;
        ok(&beside.finish(b"after").await?)?;
        Ok(outcome)
    }

    /// Nothing of the attack is left at the instance, and it heard of no call that was not opened before.
    async fn quiet(&self) -> Result<()> {
        let served = self.served()?;
        served.calls(0).await?;
        same("breaches that the instance saw", served.breaches(), [""; 0])
    }

    /// OPENs that the instance was given.
    fn opened(&self) -> Result<usize> {
        let received = self.served()?.tap.calls(Way::Received).into_iter();
        Ok(received
            .filter(|call| call.flags & flags::OPEN != 0)
            .count())
    }
}

async fn rapid_reset(rig: Rig) -> Result<()> {
    taken_and_reset(&mut Scene::new(&rig).await?).await?;
    let mut scene = Scene::new(&rig).await?;
    let mut bytes = Vec::new();
    for n in 0..STREAMS {
        let stream = scene.open(&mut bytes, n);
        frame(&mut bytes, kind::RST_STREAM, 0, stream, &CANCEL);
    }
    let before = scene.opened()?;
    let outcome = scene.attack(&bytes).await?;
    ensure!(
        !outcome.lives,
        "{STREAMS} streams were reset, and it goes on"
    );
    scene.quiet().await?;
    // What the honest client called meanwhile.
    const HONEST: usize = 2;
    let opened = scene.opened()? - before - HONEST;
    let accepted = accepted(&outcome) as usize;
    ensure!(
        opened <= accepted,
        "{accepted} calls were accepted, and {opened} opened at the instance"
    );
    Ok(())
}

/// The streams that the gateway says it has looked at.
fn accepted(outcome: &Outcome) -> u32 {
    let goaways = outcome.frames.iter();
    let goaways = goaways.filter(|frame| frame.kind == kind::GOAWAY);
    let last = goaways.map(Frame::number).min();
    last.map_or(STREAMS, |last| last.div_ceil(2).min(STREAMS))
}

/// Calls that run at the instance and are then reset end there too, all on one connection.
async fn taken_and_reset(scene: &mut Scene) -> Result<()> {
    const CALLS: u32 = 100;
    let mut frames = Frames::connect(scene.stage.rig.gateway.clients).await?;
    for n in 0..CALLS {
        let mut bytes = Vec::new();
        let stream = scene.open(&mut bytes, n);
        frames.write(&bytes).await?;
        scene.served()?.calls(1).await?;
        frames.frame(kind::RST_STREAM, 0, stream, &CANCEL).await?;
        scene.served()?.calls(0).await?;
    }
    same("handlers that ran", scene.opened()?, CALLS as usize)?;
    scene.stage.sibling().await
}

/// What makes a server reset a stream.
#[derive(Debug, Clone, Copy)]
enum Provocation {
    /// More window than there may be.
    Overflow,
    /// No window at all.
    Nothing,
    /// More of a request that has ended.
    AfterEnd,
}

impl Provocation {
    const ALL: [Self; 3] = [Self::Overflow, Self::Nothing, Self::AfterEnd];

    fn write(self, bytes: &mut Vec<u8>, stream: u32) {
        let update = |bytes: &mut Vec<u8>, window: u32| {
            frame(bytes, kind::WINDOW_UPDATE, 0, stream, &window.to_be_bytes());
        };
        match self {
            Self::Overflow => update(bytes, i32::MAX as u32),
            Self::Nothing => update(bytes, 0),
            Self::AfterEnd => {
                frame(bytes, kind::DATA, END_STREAM, stream, &[]);
                frame(bytes, kind::DATA, 0, stream, b"more");
            }
        }
    }
}

async fn made_to_reset(rig: Rig) -> Result<()> {
    for provocation in Provocation::ALL {
        let what = || format!("{provocation:?}");
        one_reset(&rig, provocation).await.with_context(what)?;
        flood_of_resets(&rig, provocation)
            .await
            .with_context(what)?;
    }
    Ok(())
}

/// A call that runs: its stream is reset, or its connection ends, and its handler is told.
async fn one_reset(rig: &Rig, provocation: Provocation) -> Result<()> {
    let mut scene = Scene::new(rig).await?;
    let mut frames = Frames::connect(rig.gateway.clients).await?;
    let mut bytes = Vec::new();
    let stream = scene.open(&mut bytes, 0);
    frames.write(&bytes).await?;
    scene.handler.waiting("never").await?;
    let mut bytes = Vec::new();
    provocation.write(&mut bytes, stream);
    let outcome = frames.attack(&bytes).await?;
    scene.handler.cancelled().await?;
    // A PING may be answered ahead of what streams have to say; by now it was said.
    let reset = match outcome.lives {
        true => {
            let resets = frames.settle().await?.resets();
            let resets = resets.into_iter().chain(outcome.resets());
            resets.map(|(reset, _)| reset).any(|reset| reset == stream)
        }
        false => true,
    };
    ensure!(reset, "neither the stream nor its connection was ended");
    scene.quiet().await?;
    scene.stage.sibling().await
}

async fn flood_of_resets(rig: &Rig, provocation: Provocation) -> Result<()> {
    let mut scene = Scene::new(rig).await?;
    let mut bytes = Vec::new();
    for n in 0..STREAMS {
        let stream = scene.open(&mut bytes, n);
        provocation.write(&mut bytes, stream);
    }
    let outcome = scene.attack(&bytes).await?;
    ensure!(
        !outcome.lives,
        "{} of {STREAMS} streams were reset, and it goes on",
        outcome.resets().len()
    );
    scene.quiet().await
}
