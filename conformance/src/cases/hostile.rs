//! S1, S2, S5-S7: an instance that breaks the rules of the tunnel costs the call that it breaks them on, or its
//! own tunnel, and nobody else anything.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use grpcrouter_proto::v1::{Revisions, RpcCall, RpcResponse, register_request, register_response};

use crate::case::{Case, GATEWAY};
use crate::client::{Call, Client, Exchange};
use crate::framing::framed;
use crate::pb::SubjectSettings;
use crate::rig::Rig;
use crate::run;
use crate::tunnel::instance::Tunnel;
use crate::tunnel::stream::StreamEnd;
use crate::tunnel::{self, flags};

use super::same;

pub(super) const CASES: &[Case] = &[
    Case::new("S1", GATEWAY, run!(overspent)).with(fixed),
    Case::new("S2", GATEWAY, run!(never_given)),
    Case::new("S5", GATEWAY, run!(oversize)),
    Case::new("S6", GATEWAY, run!(out_of_order)),
    Case::new("S7", GATEWAY, run!(unknown)),
];

const INTERNAL: u32 = 13;
const FAILED_PRECONDITION: u32 = 9;

/// Windows that do not grow: each frame past the credit is a breach, and a tunnel bears 64 of them.
fn fixed() -> SubjectSettings {
    SubjectSettings {
        call_window: 80 << 10,
        call_window_max: 80 << 10,
        ..SubjectSettings::default()
    }
}

/// A scripted instance, and a client that calls it.
pub(super) struct Pair {
    pub(super) tunnel: Tunnel,
    pub(super) id: String,
    pub(super) client: Client,
}

impl Pair {
    pub(super) async fn new(rig: &Rig) -> Result<Self> {
        let tunnels = rig.gateway.tunnels.context("a gateway")?;
        let mut tunnel = Tunnel::dial(tunnels).await?;
        let id = rig.name();
        let info = tunnel::info(&id, &[crate::probe::SERVICE]);
        tunnel.register(info).await?;
        Ok(Self {
            tunnel,
            id,
            client: rig.client().await?,
        })
    }

    /// A call that has come to the instance.
    pub(super) async fn call(&mut self) -> Result<(Exchange, RpcCall)> {
        let call = Call::new(crate::probe::path("Bidi")).instance(&self.id);
        let exchange = self.client.open(call.build()?, false).await?;
        let open = |frame: grpcrouter_proto::v1::RegisterResponse| match frame.frame {
            Some(register_response::Frame::RpcCall(call)) if call.flags & flags::OPEN != 0 => {
                Some(call)
            }
            _ => None,
        };
        let opened = self.tunnel.find("OPEN", open).await?;
        Ok((exchange, opened))
    }

    pub(super) async fn say(&mut self, frame: RpcResponse) -> Result<()> {
        self.tunnel.send(&tunnel::part(frame)).await
    }

    /// Another call of this tunnel begins and ends well.
    pub(super) async fn goes_on(&mut self) -> Result<()> {
        let (mut exchange, opened) = self.call().await?;
        self.say(answer(opened.request_id)).await?;
        let answer = exchange.answer().await?;
        same("the status of a call beside it", answer.status()?, 0)
    }

    /// How the gateway ended the tunnel.
    pub(super) async fn ended(&mut self) -> Result<StreamEnd> {
        let (_, end) = self.tunnel.end().await?;
        Ok(end)
    }
}

pub(super) fn answer(request_id: u64) -> RpcResponse {
    RpcResponse {
        request_id,
        flags: flags::HEAD | flags::COMPLETE,
        data: framed(b"fine"),
        ..RpcResponse::default()
    }
}

pub(super) fn data(request_id: u64, seq: u32, bytes: &[u8]) -> RpcResponse {
    RpcResponse {
        request_id,
        seq,
        data: Bytes::copy_from_slice(bytes),
        ..RpcResponse::default()
    }
}

pub(super) fn head(request_id: u64) -> RpcResponse {
    RpcResponse {
        request_id,
        flags: flags::HEAD,
        ..RpcResponse::default()
    }
}

/// The broken call has ended, by the gateway's word.
async fn broken(exchange: &mut Exchange) -> Result<()> {
    match exchange.answer().await {
        Ok(answer) => {
            same("status of the broken call", answer.status()?, INTERNAL)?;
            same("reason", answer.reason(), "protocol-error")
        }
        // Data that waits for its reader cannot be followed by trailers.
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(text.contains("reset") || text.contains("error"), "{text}");
            Ok(())
        }
    }
}

async fn overspent(rig: Rig) -> Result<()> {
    const CHUNK: usize = 16 * 1024;
    let mut pair = Pair::new(&rig).await?;
    // Its client takes nothing, and has a window of one chunk.
    pair.client = Client::with(rig.gateway.clients, |settings| {
        settings.initial_window_size(CHUNK as u32);
    })
    .await?;
    let (mut exchange, opened) = pair.call().await?;
    exchange.reading.releases(false);
    pair.say(head(opened.request_id)).await?;
    // More than the whole path may hold, so that no credit can have been for it.
    let most = rig.bound()? as usize + 2 * CHUNK;
    for seq in 0..most.div_ceil(CHUNK) as u32 {
        pair.say(data(opened.request_id, seq, &[0; CHUNK])).await?;
    }
    broken(&mut exchange).await?;
    pair.goes_on().await
}

/// Ids belong to a tunnel: a call of another instance cannot be addressed.
async fn never_given(rig: Rig) -> Result<()> {
    let mut victim = Pair::new(&rig).await?;
    let mut hostile = Pair::new(&rig).await?;
    let (mut exchange, opened) = victim.call().await?;
    for id in [opened.request_id, 0, u64::MAX] {
        hostile.say(answer(id)).await?;
    }
    let end = hostile.ended().await?;
    ensure!(
        !matches!(end, StreamEnd::HalfClosed),
        "the tunnel was ended as if all was well: {end:?}"
    );
    victim.say(answer(opened.request_id)).await?;
    same("the victim's status", exchange.answer().await?.status()?, 0)?;
    victim.goes_on().await
}

async fn oversize(rig: Rig) -> Result<()> {
    let mut victim = Pair::new(&rig).await?;
    let mut hostile = Pair::new(&rig).await?;
    // A frame of 4 GiB less one byte is announced, and refused before it comes.
    let announced = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
    hostile.tunnel.send_raw(announced).await?;
    hostile.ended().await?;
    victim.goes_on().await?;
    // A message may say that it is as long: nobody holds it whole.
    let (mut exchange, opened) = victim.call().await?;
    let mut frame = head(opened.request_id);
    frame.data = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    victim.say(frame).await?;
    exchange.head().await?;
    let came = exchange.reading.data().await?.context("the first bytes")?;
    same("its first bytes", came.len(), 8)?;
    exchange.cancel();
    victim.goes_on().await
}

async fn out_of_order(rig: Rig) -> Result<()> {
    let mut pair = Pair::new(&rig).await?;
    type Frames = fn(u64) -> Vec<RpcResponse>;
    let wrong: [(&str, Frames); 5] = [
        ("head twice", |id| vec![head(id), head(id)]),
        ("data before the head", |id| vec![data(id, 0, b"x")]),
        ("the end twice", |id| {
            let mut end = answer(id);
            end.flags = flags::COMPLETE;
            end.data = Bytes::new();
            vec![
                head(id),
                data(id, 0, &framed(b"x")),
                data(id, 0, &framed(b"x")),
                end,
            ]
        }),
        ("a gap", |id| vec![head(id), data(id, 1, b"x")]),
        ("a repeat", |id| {
            vec![head(id), data(id, 0, b"x"), data(id, 0, b"y")]
        }),
    ];
    for (what, frames) in wrong {
        let (mut exchange, opened) = pair.call().await?;
        for frame in frames(opened.request_id) {
            pair.say(frame).await?;
        }
        broken(&mut exchange).await.context(what)?;
        pair.goes_on().await.context(what)?;
    }
    Ok(())
}

/// What is not known is passed over; a revision that is not known is refused.
async fn unknown(rig: Rig) -> Result<()> {
    let mut pair = Pair::new(&rig).await?;
    let (mut exchange, opened) = pair.call().await?;
    // Field 1,000 of a frame, field 900 of a call, and a flag of a later revision.
    let mut call = prost::Message::encode_to_vec(&RpcResponse {
        flags: flags::HEAD | flags::COMPLETE | 1 << 20,
        ..answer(opened.request_id)
    });
    call.extend([0xa0, 0x38, 7]);
    let mut frame = vec![0x22];
    prost::encoding::encode_varint(call.len() as u64, &mut frame);
    frame.extend(call);
    frame.extend([0xc0, 0x3e, 1]);
    pair.tunnel.send_raw(framed(&frame)).await?;
    pair.tunnel.send_raw(framed(&[0xc0, 0x3e, 1])).await?;
    same("status", exchange.answer().await?.status()?, 0)?;
    pair.goes_on().await?;
    let tunnels = rig.gateway.tunnels.context("a gateway")?;
    let mut later = Tunnel::dial(tunnels).await?;
    let mut info = tunnel::info(&rig.name(), &[crate::probe::SERVICE]);
    info.revisions = Some(Revisions { min: 900, max: 901 });
    later
        .send(&tunnel::request(register_request::Frame::InstanceInfo(
            info,
        )))
        .await?;
    match later.end().await?.1 {
        StreamEnd::Trailers(trailers) => {
            let status = crate::client::text(&trailers, "grpc-status").to_owned();
            same("status", status, FAILED_PRECONDITION.to_string())
        }
        other => anyhow::bail!("it was ended with {other:?}, due FAILED_PRECONDITION"),
    }
}
