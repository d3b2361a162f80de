//! Many instances that take no calls: what a gateway holds for each, and what their heartbeats cost it.
//!
//! They speak the protocol themselves instead of being the library's, so that several share a connection where this is
//! asked for, and so that 10,000 of them need little in this process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use grpcrouter::Target;
use grpcrouter_proto::v1::register_request::Frame as Said;
use grpcrouter_proto::v1::register_response::Frame as Heard;
use grpcrouter_proto::v1::router_client::RouterClient;
use grpcrouter_proto::v1::{
    Epoch, HealthStatus, Heartbeat, InstanceInfo, RegisterRequest, Revisions, ServiceInfo,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// What they serve: not what is called.
const SERVICE: &str = "bench.v1.Idle";
/// How many register at once: not so many that the gateway's handshake limit is at stake.
const AT_ONCE: usize = 64;
/// How long one may take until it is registered.
const REGISTER: Duration = Duration::from_secs(20);
/// Windows as the instance library announces them.
const CALL_WINDOW: u32 = 80 * 1024;
const MAX_FRAME: u32 = 64 * 1024;
/// With which of the gateway's questions an instance asks by itself: every 30 s at the default interval.
const ASKS_WITH: u64 = 6;
/// HTTP/2 window of a connection: a gateway holds 64 KiB of it for each of its tunnels, idle or not, so that with
/// hyper's default of 5 MiB the 81st tunnel of a connection would not even be acknowledged.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Registers them all, says so, and keeps them until it is killed.
pub(crate) async fn keep(gateway: &Target, instances: usize, per_connection: usize) -> Result<()> {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let mut channel = None;
    for number in 0..instances {
        if number % per_connection == 0 {
            channel = Some(connect(gateway, number / per_connection).await?);
        }
        let client = RouterClient::new(channel.clone().context("it was just made")?);
        let permit = room.clone().acquire_owned().await?;
        running.spawn(async move {
            let ended = tunnel(client, number, || drop(permit)).await;
            ended.with_context(|| format!("instance {number}"))
        });
        // One that has ended already ends all.
        if let Some(ended) = running.try_join_next() {
            ended??;
        }
    }
    // Each gives its permit back once it is registered.
    let all = timeout(REGISTER, room.acquire_many(AT_ONCE as u32)).await;
    drop(all.context("some are not registered")??);
    println!("ready instances={instances}");
    match running.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

async fn connect(gateway: &Target, number: usize) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(gateway.to_string())?
        .tcp_nodelay(true)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_timeout(REGISTER);
    let connected = endpoint.connect().await;
    connected.with_context(|| {
        format!("connection {number} to {gateway} (mend: a larger --max-connections-per-ip, or `ulimit -n`)")
    })
}

/// One tunnel: registers, tells when that stands, and beats.
async fn tunnel(
    mut client: RouterClient<Channel>,
    number: usize,
    told: impl FnOnce(),
) -> Result<()> {
    let (say, said) = mpsc::channel(8);
    say.send(frame(Said::InstanceInfo(info(number)))).await?;
    let opened = timeout(REGISTER, client.register(ReceiverStream::new(said))).await;
    let mut heard = opened.context("no answer to Register")??.into_inner();
    let first = timeout(REGISTER, heard.message()).await;
    let first = first.context("no acknowledgement")??;
    let Some(Heard::Ack(ack)) = first.and_then(|first| first.frame) else {
        bail!("the gateway does not acknowledge the registration");
    };
    told();
    let every = Duration::from_millis(ack.heartbeat_interval_ms.max(1).into());
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut nonce, mut heard_beats) = (0, 0);
    loop {
        let heartbeat = tokio::select! {
            biased;
            _ = beat.tick() => {
                nonce += 1;
                Heartbeat { nonce, ..Heartbeat::default() }
            }
            message = heard.message() => match message?.and_then(|message| message.frame) {
                // The gateway asks: as in the library, this side need not, but for the round trip now and then.
                Some(Heard::Heartbeat(Heartbeat { nonce: reply_to, .. })) if reply_to != 0 => {
                    beat.reset_after(every * 3 / 2);
                    heard_beats += 1;
                    let asks = heard_beats % ASKS_WITH == 0;
                    nonce += u64::from(asks);
                    let nonce = if asks { nonce } else { 0 };
                    Heartbeat { nonce, reply_to, ..Heartbeat::default() }
                }
                Some(Heard::Heartbeat(_)) => continue,
                other => bail!("the gateway says {other:?}"),
            },
        };
        say.send(frame(Said::Heartbeat(heartbeat))).await?;
    }
}

fn info(number: usize) -> InstanceInfo {
    InstanceInfo {
        instance_id: format!("idle-{number}"),
        epoch: Some(Epoch {
            started_us: 1,
            attempt: 0,
        }),
        services: vec![ServiceInfo {
            name: SERVICE.to_owned(),
            health: HealthStatus::Healthy.into(),
        }],
        revisions: Some(Revisions { min: 1, max: 1 }),
        call_window: CALL_WINDOW,
        max_frame: MAX_FRAME,
        max_calls: 10_000,
        max_metadata: 16 * 1024,
        ..InstanceInfo::default()
    }
}

fn frame(frame: Said) -> RegisterRequest {
    RegisterRequest { frame: Some(frame) }
}
