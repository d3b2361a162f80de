//! R1, R3, R19: calls go where their keys say, wherever in a call a key stands.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;

use crate::case::{AT_GATEWAY, Case};
use crate::client::{Answer, Call, Client};
use crate::pb::{KeySource, Message, Strategy, SubjectRoute, SubjectSettings};
use crate::probe::side::Watched;
use crate::probe::{self, SERVICE, Script};
use crate::rig::Rig;
use crate::run;
use crate::stage::Stage;
use crate::wait;

use super::{BIDI, CLIENT_STREAM, SERVER_STREAM, UNARY, ok, same};

pub(super) const CASES: &[Case] = &[
    Case::new("R1", AT_GATEWAY, run!(everywhere)).with(pinned),
    Case::new("R3", AT_GATEWAY, run!(absent)).with(pinned),
    Case::new("R19", AT_GATEWAY, run!(sticky)).with(hashed),
];

const INVALID_ARGUMENT: u32 = 3;
const UNAVAILABLE: u32 = 14;

/// Where a key stands, as the routes of [`pinned`] have it.
const SOURCES: [&str; 4] = [UNARY, CLIENT_STREAM, SERVER_STREAM, BIDI];
/// The header with a key.
const HEADER: &str = "x-site";
/// What stands before keys in paths.
const PREFIX: &str = "/site";
/// A key of the probe's request message: its only field.
const FIELD: &str = "1";

fn route(method: &str, key: KeySource, key_name: &str, strategy: Strategy) -> SubjectRoute {
    SubjectRoute {
        service: SERVICE.to_owned(),
        method: method.to_owned(),
        key: key.into(),
        key_name: key_name.to_owned(),
        strategy: strategy.into(),
        path_prefix: PREFIX.to_owned(),
        ..SubjectRoute::default()
    }
}

/// Each method has its key somewhere else.
fn pinned() -> SubjectSettings {
    let pinned = Strategy::Pinned;
    let mut routes = vec![
        route(UNARY, KeySource::Header, HEADER, pinned),
        route(CLIENT_STREAM, KeySource::Header, ":authority", pinned),
        route(SERVER_STREAM, KeySource::Field, FIELD, pinned),
        route(BIDI, KeySource::Path, "", pinned),
    ];
    routes[0].reject_missing = true;
    SubjectSettings {
        routes,
        ..SubjectSettings::default()
    }
}

fn hashed() -> SubjectSettings {
    let hash = Strategy::ConsistentHash;
    SubjectSettings {
        routes: vec![route("", KeySource::Header, HEADER, hash)],
        ..SubjectSettings::default()
    }
}

/// A call of this method with its key where it belongs, and other keys in all other places.
fn keyed(method: &str, key: &str, other: &str) -> (Call, Vec<u8>) {
    let own = |source| if method == source { key } else { other };
    let path = match method {
        BIDI => format!("{PREFIX}/{key}{}", probe::path(method)),
        _ => probe::path(method),
    };
    let call = Call::new(path)
        .authority(own(CLIENT_STREAM))
        .header(HEADER, own(UNARY));
    let message = Message {
        payload: own(SERVER_STREAM).as_bytes().to_vec().into(),
    };
    (call, prost::Message::encode_to_vec(&message))
}

/// Makes a call that reads its request and answers with one message.
async fn ask(
    rig: &Rig,
    client: &Client,
    (call, message): (Call, Vec<u8>),
) -> Result<(Answer, Watched)> {
    let name = rig.name();
    let call = call
        .header(probe::CALL, &name)
        .header(probe::SCRIPT, Script::new().read_all().send(1, 4).header());
    let answer = client.unary(call, &message).await?;
    Ok((answer, rig.host.side.call(&name)))
}

/// The instance at which a call's only handler ran.
async fn ran_at(handler: &Watched) -> Result<String> {
    handler.started().await?;
    let runs = handler.all_runs();
    same("runs of its handler", runs.len(), 1)?;
    Ok(runs[0].instance.clone())
}

/// Instances with these keys, by their names.
async fn registered(rig: &Rig, keys: &[String]) -> Result<Vec<Stage>> {
    let start = |key: &String| {
        let keys = vec![key.clone()];
        rig.stage_with(move |asked| asked.keys = keys)
    };
    try_join_all(keys.iter().map(start)).await
}

/// Every call comes to the instance of its key, and to that alone.
async fn everywhere(rig: Rig) -> Result<()> {
    const INSTANCES: usize = 8;
    let names = (0..INSTANCES).map(|_| rig.name());
    let keys: Vec<String> = names.map(|name| format!("key-of-{name}")).collect();
    let stages = registered(&rig, &keys).await?;
    let each_calls = wait::rounds(10_000) as usize / INSTANCES;
    let each = (0..INSTANCES).map(|own| {
        let (rig, keys, stages) = (&rig, &keys, &stages);
        async move {
            let client = rig.client().await?;
            let (key, other) = (&keys[own], &keys[(own + 1) % INSTANCES]);
            for n in 0..each_calls {
                let method = SOURCES[n % SOURCES.len()];
                let (answer, handler) = ask(rig, &client, keyed(method, key, other)).await?;
                let what = || format!("a key of {method}");
                ok(&answer).with_context(what)?;
                let instance = ran_at(&handler).await.with_context(what)?;
                same(&what(), instance.as_str(), stages[own].instance.id())?;
            }
            anyhow::Ok(())
        }
    });
    try_join_all(each).await?;
    // Their ids are keys too.
    let client = rig.client().await?;
    let id = stages[3].instance.id();
    let (answer, handler) = ask(&rig, &client, keyed(UNARY, id, &keys[0])).await?;
    ok(&answer)?;
    same("a call for an id", ran_at(&handler).await?.as_str(), id)
}

/// A call without a key is refused where the route says so, and else goes to whoever is next.
async fn absent(rig: Rig) -> Result<()> {
    // Where nobody else is, who may be about to leave.
    let rig = rig.afresh().await?;
    let keys = [rig.name(), rig.name()];
    let _stages = registered(&rig, &keys).await?;
    let client = rig.client().await?;
    for _ in 0..10 {
        let call = Call::new(probe::path(UNARY));
        let (answer, handler) = ask(&rig, &client, (call, Vec::new())).await?;
        same("status without a key", answer.status()?, INVALID_ARGUMENT)?;
        same("reason", answer.reason(), "bad-key")?;
        same("handlers that ran", handler.runs(), 0)?;
    }
    let mut seen = BTreeMap::<String, u32>::new();
    for _ in 0..20 {
        // Its path has no prefix, so no key.
        let call = Call::new(probe::path(BIDI));
        let (answer, handler) = ask(&rig, &client, (call, Vec::new())).await?;
        ok(&answer)?;
        *seen.entry(ran_at(&handler).await?).or_default() += 1;
    }
    ensure!(
        seen.len() > 1,
        "all calls without a key went to one: {seen:?}"
    );
    Ok(())
}

/// Where each key's call ran.
async fn owners(rig: &Rig, client: &Client, keys: &[String]) -> Result<BTreeMap<String, String>> {
    let mut owners = BTreeMap::new();
    for key in keys {
        let call = Call::new(probe::path(UNARY)).header(HEADER, key);
        let (answer, handler) = ask(rig, client, (call, Vec::new())).await?;
        ok(&answer).with_context(|| format!("key {key}"))?;
        owners.insert(key.clone(), ran_at(&handler).await?);
    }
    Ok(owners)
}

/// A key stays with its instance while that lives, and then with another one.
async fn sticky(rig: Rig) -> Result<()> {
    const KEYS: usize = 100;
    let rig = rig.afresh().await?;
    let mut stages = crate::stage::stages(&rig, 3).await?;
    let client = rig.client().await?;
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key-{n}")).collect();
    let first = owners(&rig, &client, &keys).await?;
    let mut shares = BTreeMap::<&str, usize>::new();
    for owner in first.values() {
        *shares.entry(owner).or_default() += 1;
    }
    same("instances that have keys", shares.len(), 3)?;
    for _ in 0..2 {
        same(
            "owners, asked again",
            &owners(&rig, &client, &keys).await?,
            &first,
        )?;
    }
    let mut lost = stages.pop().context("an instance")?;
    let id = lost.instance.id().to_owned();
    lost.instance.kill().await?;
    gone(&client, &id).await?;
    let then = owners(&rig, &client, &keys).await?;
    for (key, owner) in &first {
        match *owner == id {
            true => ensure!(then[key] != id, "{key} is with who is gone"),
            false => same(&format!("owner of {key}"), &then[key], owner)?,
        }
    }
    same(
        "owners, asked again",
        &owners(&rig, &client, &keys).await?,
        &then,
    )
}

/// Waits until the gateway knows that an instance is gone.
async fn gone(client: &Client, id: &str) -> Result<()> {
    wait::within("end of an instance", wait::LIMIT, async {
        loop {
            let call = Call::new(probe::path(UNARY)).instance(id);
            let answer = client.unary(call, b"").await?;
            if answer.reason() == "no-instance" {
                return same("status", answer.status()?, UNAVAILABLE);
            }
            tokio::task::yield_now().await;
        }
    })
    .await?
}
