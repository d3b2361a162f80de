//! One test's gateway, two instances and client, each in a container of its own, on three networks.
//!
//! - `front`: the client and the gateway. `back`: the gateway and the instances. These are cut.
//! - `side`: client, instances, and this process, which tells them what to do and hears what they see. It is never cut.
//!   The gateway is not on it, so no call finds a way over it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grpcrouter_conformance::pb::{SubjectInstance, SubjectRequest, SubjectRole, SubjectSettings};
use grpcrouter_conformance::probe::side::Side;
use grpcrouter_conformance::remote::command::{Awaited, Remote};
use prost::Message as _;
use testcontainers::core::ContainerAsync;
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};

use crate::daemon::{LABEL, run_name, unique};
use crate::image::{self, BuiltImage};
use crate::network::Network;
use crate::patience::Patience;

const CLIENTS: u16 = 50_051;
const TUNNELS: u16 = 50_052;
/// Of requests and responses, per call, on both sides; it does not grow.
const CALL_WINDOW: u32 = 80 * 1024;
/// A dial while the gateway's network is not there goes out over another one, with an address of that one, and stays
/// unanswered for good: it is given up early.
const HANDSHAKE_MS: u32 = 2_000;
/// What `grpcrouter gateway --help` says of B with these windows.
const B: u64 = 240 * 1024;
/// What the instance library gives to a handler at a time, and the agent's HTTP/2 and its server hold: the more of
/// them.
const AT_INSTANCE: u64 = (64 + 64 + 16) * 1024;
/// The most that may be under way of a call and direction, beyond the reader's own window.
pub(crate) const BOUND: u64 = B + AT_INSTANCE;

/// A container of this project's binaries. It is gone with its value.
pub(crate) struct Node {
    pub(crate) container: ContainerAsync<GenericImage>,
    /// Its address on the network that is cut; the gateway's among the instances.
    pub(crate) address: Ipv4Addr,
}

/// All of it. Containers go before their networks, and the image last.
pub(crate) struct World {
    pub(crate) client: Node,
    pub(crate) gateway: Node,
    /// The first uses the instance library, the second is the agent in front of a server.
    pub(crate) instances: [Node; 2],
    pub(crate) front: Network,
    pub(crate) back: Network,
    /// What the client does and sees.
    pub(crate) remote: Remote,
    /// What handlers see.
    pub(crate) side: Side,
    pub(crate) calls: u32,
    _side: Network,
    _image: Arc<BuiltImage>,
}

impl World {
    /// Brings all up, and waits until both instances take calls.
    pub(crate) async fn start(patience: Patience) -> Result<Self> {
        let image = image::shared().await?;
        let (front, back, side_network) = tokio::try_join!(
            Network::create("front"),
            Network::create("back"),
            Network::create("side")
        )?;
        let host = IpAddr::V4(side_network.host);
        let side = Side::listen_at(host).await?;
        let awaited = Awaited::at(host).await?;
        let (at_front, at_back) = (front.address(), back.address());

        let heartbeat = format!("{}ms", patience.heartbeat.as_millis());
        let keepalive = format!("{}ms", patience.keepalive.as_millis());
        let gateway = [
            "/grpcrouter",
            "gateway",
            &format!("--listen=0.0.0.0:{CLIENTS}"),
            &format!("--tunnel-listen=0.0.0.0:{TUNNELS}"),
            &format!("--heartbeat-interval={heartbeat}"),
            &format!("--client-keepalive={keepalive}"),
            &format!("--call-window={CALL_WINDOW}"),
            "--access-log",
        ];
        let client = [
            "/grpcrouter-subject",
            "client",
            &format!("--gateway={at_front}:{CLIENTS}"),
            &format!("--suite={}", awaited.addr()?),
            &format!("--keepalive-ms={}", patience.keepalive.as_millis()),
        ];
        let instance = |id: &str| instance(id, &format!("{at_back}:{TUNNELS}"), &side);
        let library = ["/grpcrouter-subject", "instance", &instance(ids()[0])];
        let agent = ["/grpcrouter-subject", "agent", &instance(ids()[1])];
        let node = |what, network, address, command| {
            Node::start(&image, &side_network, what, network, address, command)
        };
        // First the gateway, so that nobody's first dial is in vain. It leaves the network that it was made on.
        let gateway = node("gateway", &back, at_back, &gateway[..]).await?;
        front.connect(gateway.container.id(), at_front).await?;
        side_network.disconnect(gateway.container.id()).await?;
        let (client, library, agent) = tokio::try_join!(
            node("client", &front, front.address(), &client),
            node("library", &back, back.address(), &library),
            node("agent", &back, back.address(), &agent),
        )?;
        let mut world = Self {
            client,
            gateway,
            instances: [library, agent],
            front,
            back,
            remote: awaited.client().await?,
            side,
            calls: 0,
            _side: side_network,
            _image: image,
        };
        for instance in 0..world.instances.len() {
            if let Err(error) = world.registered(instance).await {
                let log = world.log().await;
                return Err(
                    error.context(format!("{} does not get calls:\n{log}", ids()[instance]))
                );
            }
        }
        Ok(world)
    }

    /// What all processes have logged so far.
    async fn log(&self) -> String {
        let [library, agent] = &self.instances;
        let mut log = String::new();
        for node in [&self.gateway, library, agent, &self.client] {
            let lines = node.container.stderr_to_vec().await.unwrap_or_default();
            let lines = String::from_utf8_lossy(&lines);
            log += &format!("{}:\n{lines}", node.address);
        }
        log
    }
}

/// The instances' ids.
pub(crate) fn ids() -> [&'static str; 2] {
    ["library", "agent"]
}

/// The option that says to a subject what instance it is.
fn instance(id: &str, gateway: &str, side: &Side) -> String {
    let request = SubjectRequest {
        role: SubjectRole::Instance.into(),
        settings: Some(SubjectSettings {
            call_window: CALL_WINDOW,
            call_window_max: CALL_WINDOW,
            backoff_ms: 100,
            backoff_max_ms: 500,
            handshake_timeout_ms: HANDSHAKE_MS,
            ..SubjectSettings::default()
        }),
        instance: Some(SubjectInstance {
            id: id.to_owned(),
            gateways: vec![gateway.to_owned()],
            side: side.addr().to_string(),
            weight: 1,
            ..SubjectInstance::default()
        }),
    };
    format!("--request={}", STANDARD.encode(request.encode_to_vec()))
}

impl Node {
    /// Starts a container beside this process, and gives it an address on a network that is cut.
    async fn start(
        image: &BuiltImage,
        side: &Network,
        what: &str,
        network: &Network,
        address: Ipv4Addr,
        command: &[&str],
    ) -> Result<Self> {
        let (binary, arguments) = command.split_first().context("a command")?;
        let request = image
            .container()
            .with_entrypoint(binary)
            .with_cmd(arguments.iter().copied())
            .with_network(&side.name)
            .with_label(LABEL, run_name())
            .with_container_name(unique(what));
        let container = request.start().await;
        let container = container.with_context(|| format!("the container of the {what}"))?;
        network.connect(container.id(), address).await?;
        Ok(Self { container, address })
    }
}
