//! S20: what an instance proves itself with, what a client does, and where instances are, stand in no status that a
//! gateway makes, and tokens not in its log either.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use grpcrouter_proto::v1::{InstanceInfo, Metadata, RpcResponse, register_response};

use crate::case::{Case, GATEWAY};
use crate::client::{Answer, Call, Exchange};
use crate::probe::{self, SERVICE};
use crate::rig::Rig;
use crate::run;
use crate::tunnel::instance::Tunnel;
use crate::tunnel::{self, flags, part, reset};
use crate::wait::LIMIT;

pub(super) const CASES: &[Case] = &[Case::new("S20", GATEWAY, run!(secrets)).alone()];

/// What instances and clients prove themselves with.
const TOKEN: &str = "hush-this-token-is-nobody-elses-business";
/// What an instance says of itself to people who ask, and not to every client.
const LABEL: &str = "murmur-this-label-is-not-for-clients";

/// The header that says which call it is.
const WRONG: &str = "wrong";

/// Calls that a gateway answers itself.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    NoInstance,
    Deadline,
    Refused,
    Reset,
    Breach,
    Timeout,
    UnknownService,
    Metadata,
    Path,
    Lost,
}

impl Wrong {
    const ALL: [Self; 10] = [
        Self::NoInstance,
        Self::Deadline,
        Self::Refused,
        Self::Reset,
        Self::Breach,
        Self::Timeout,
        Self::UnknownService,
        Self::Metadata,
        Self::Path,
        Self::Lost,
    ];

    fn call(self, id: &str) -> Call {
        let path = match self {
            Self::UnknownService => "/no.Such/Method".to_owned(),
            Self::Path => format!("//{SERVICE}/Bidi"),
            _ => probe::path("Bidi"),
        };
        let call = Call::new(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header(WRONG, format!("{self:?}"));
        match self {
            Self::NoInstance => call.instance("nobody"),
            Self::UnknownService => call,
            Self::Deadline => call.instance(id).timeout(Duration::from_millis(50)),
            Self::Timeout => call.instance(id).header("grpc-timeout", "soon"),
            Self::Metadata => call.instance(id).header("bomb", "x".repeat(17_000)),
            _ => call.instance(id),
        }
    }

    /// What the instance says to a call of this id; nothing where it does not get the call, or says nothing.
    fn answer(self, request_id: u64) -> Option<RpcResponse> {
        let cut = |more, reset_code| RpcResponse {
            request_id,
            flags: flags::RESET | more,
            reset_code,
            ..RpcResponse::default()
        };
        match self {
            Self::Refused => Some(cut(flags::REFUSED, reset::REFUSED_STREAM)),
            Self::Reset => Some(cut(0, reset::INTERNAL_ERROR)),
            Self::Breach => Some(RpcResponse {
                request_id,
                flags: flags::HEAD | flags::COMPLETE,
                metadata: vec![Metadata {
                    key: "no header".to_owned(),
                    value: Bytes::from_static(b"x"),
                }],
                ..RpcResponse::default()
            }),
            _ => None,
        }
    }
}

async fn secrets(rig: Rig) -> Result<()> {
    let addr = rig.gateway.tunnels.context("a gateway")?;
    let client = rig.client().await?;
    let id = rig.name();
    refusals(&rig).await?;
    let mut own = Tunnel::dial(addr).await?;
    own.register(info(&id)).await?;
    for wrong in Wrong::ALL {
        let what = || format!("{wrong:?}");
        let mut exchange = client.open(wrong.call(&id).build()?, false).await?;
        if let Some(said) = wrong.answer(0) {
            let request_id = opened(&mut own, wrong).await?;
            own.send(&part(RpcResponse { request_id, ..said })).await?;
        }
        if let Wrong::Lost = wrong {
            opened(&mut own, wrong).await?;
            own.kill().await?;
            judge(&rig, &mut exchange).await.with_context(what)?;
            break;
        }
        judge(&rig, &mut exchange).await.with_context(what)?;
    }
    logged(&rig).await
}

fn info(id: &str) -> InstanceInfo {
    let mut info = tunnel::info(id, &[SERVICE]);
    info.credentials = TOKEN.into();
    info.labels.insert("owner".to_owned(), LABEL.to_owned());
    info
}

/// The OPEN of this call.
async fn opened(own: &mut Tunnel, wrong: Wrong) -> Result<u64> {
    let name = format!("{wrong:?}");
    own.find("OPEN", |frame| match frame.frame {
        Some(register_response::Frame::RpcCall(call)) => {
            let mut list = call.metadata.iter();
            let own = list.any(|entry| entry.key == WRONG && entry.value == name);
            own.then_some(call.request_id)
        }
        _ => None,
    })
    .await
}

async fn judge(rig: &Rig, exchange: &mut Exchange) -> Result<()> {
    let answer = exchange.answer().await?;
    let made_here = !answer.reason().is_empty();
    ensure!(made_here, "status {}", answer.status()?);
    for (name, value) in all_of(&answer) {
        clean(rig, &String::from_utf8_lossy(&value)).with_context(|| name)?;
    }
    Ok(())
}

/// Every header that a client sees.
fn all_of(answer: &Answer) -> Vec<(String, Bytes)> {
    let lists = answer.head.iter().chain([&answer.trailers]);
    let entries = lists.flatten();
    let texts = entries.map(|(name, value)| {
        let value = Bytes::copy_from_slice(value.as_bytes());
        (name.to_string(), value)
    });
    texts.collect()
}

/// Registrations that are refused, which proved themselves too.
async fn refusals(rig: &Rig) -> Result<()> {
    let addr = rig.gateway.tunnels.context("a gateway")?;
    let id = rig.name();
    let mut first = Tunnel::dial(addr).await?;
    first.register(info(&id)).await?;
    let mut stale = info(&id);
    stale.epoch = Some(grpcrouter_proto::v1::Epoch::default());
    let mut malformed = info(&rig.name());
    malformed.services[0].name = "no service".to_owned();
    let mut later = info(&rig.name());
    later.revisions = Some(grpcrouter_proto::v1::Revisions { min: 900, max: 901 });
    for info in [stale, malformed, later] {
        let mut own = Tunnel::dial(addr).await?;
        let register = grpcrouter_proto::v1::register_request::Frame::InstanceInfo(info);
        own.send(&tunnel::request(register)).await?;
        // One that is taken is another case's matter.
        if let Ok(frame) = own.next_or_end().await?
            && let Some(register_response::Frame::Error(error)) = frame.frame
        {
            clean(rig, &error.message).context(error.reason)?;
        }
    }
    Ok(())
}

/// A text for clients: no token, and no address.
fn clean(rig: &Rig, text: &str) -> Result<()> {
    let ports = [Some(rig.gateway.clients), rig.gateway.tunnels];
    let ports = ports.into_iter().flatten();
    let ports = ports.map(|addr| format!(":{}", addr.port()));
    let local = ["127.0.0.1", "localhost", LABEL].map(str::to_owned);
    for hidden in ports.chain(local).chain(forms()) {
        ensure!(!text.contains(&hidden), "{text:?} names {hidden:?}");
    }
    Ok(())
}

/// The token, as texts hold bytes.
fn forms() -> [String; 4] {
    let bytes = TOKEN.as_bytes();
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<_> = bytes.iter().map(ToString::to_string).collect();
    [
        TOKEN.to_owned(),
        // The last bits depend on what follows.
        STANDARD_NO_PAD.encode(&bytes[..bytes.len() / 3 * 3]),
        hex,
        numbers.join(", "),
    ]
}

/// What the gateway wrote to its standard error, to its end. Nothing is judged of one that is not the suite's.
async fn logged(rig: &Rig) -> Result<()> {
    let mut process = rig.gateway.process.lock().await;
    let Some(running) = process.as_mut().filter(|running| running.is_ours()) else {
        return Ok(());
    };
    running.terminate();
    running.exited(LIMIT).await.context("its end at SIGTERM")?;
    let log = running.stderr();
    for token in forms() {
        let line = log.lines().find(|line| line.contains(&token));
        ensure!(line.is_none(), "a token stands in the log: {line:?}");
    }
    Ok(())
}
