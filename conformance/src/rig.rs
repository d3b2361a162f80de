//! What a case is given: gateways that run, links, and whatever of client, gateway and instance is not the
//! subject's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::Mutex;

use crate::client::Client;
use crate::pb::{SubjectInstance, SubjectRequest, SubjectRole, SubjectSettings};
use crate::probe::side::Side;
use crate::role::Role;
use crate::stage::Stage;
use crate::subject::{Running, Subject};
use crate::tunnel::gateway::{NaiveGateway, Settings as Naive};
use crate::wait::exactly;

/// How much longer than the exact time something may take on a machine that does other things too.
const BUSY: u32 = 10;

/// The subjects of a run, and what of them runs.
#[derive(Debug)]
pub struct Host {
    /// What is under test.
    pub role: Role,
    /// The gateway, or the server of a direct run.
    pub gateway: Option<Subject>,
    /// The instance.
    pub instance: Option<Subject>,
    /// The bound of a gateway that runs already, in bytes.
    pub bound: Option<u64>,
    /// Where handlers report.
    pub side: Side,
    shared: Mutex<Vec<(SubjectSettings, Arc<Gateway>)>>,
}

/// A gateway that runs, or a server of a direct run.
#[derive(Debug)]
pub struct Gateway {
    /// Where clients call.
    pub clients: SocketAddr,
    /// Where instances dial; none of a direct run.
    pub tunnels: Option<SocketAddr>,
    /// What it declares that a path through it may hold of a call and direction, in bytes; none where it says
    /// nothing.
    pub bound: Option<u64>,
    /// The subject's process, where it is one.
    pub process: Mutex<Option<Running>>,
    /// The suite's own, where the instance is the subject.
    pub naive: Option<NaiveGateway>,
}

/// Why a case has no gateway.
#[derive(Debug)]
pub enum Cannot {
    /// The subject cannot be set as the case needs it: the case is not run.
    Set(String),
    /// It did not start.
    Start(anyhow::Error),
}

/// The case cannot judge this subject, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Skip(pub String);

impl Host {
    /// Subjects of a role, none of which runs yet.
    ///
    /// # Errors
    /// Where no port is free for the side channel.
    pub async fn new(
        role: Role,
        gateway: Option<Subject>,
        instance: Option<Subject>,
        bound: Option<u64>,
    ) -> Result<Self> {
        Ok(Self {
            role,
            gateway,
            instance,
            bound,
            side: Side::listen().await?,
            shared: Mutex::default(),
        })
    }

    /// Starts what most cases share.
    ///
    /// # Errors
    /// Where the subject does not start.
    pub async fn warm(&self) -> Result<()> {
        match self.gateway(&SubjectSettings::default(), false).await {
            Ok(_) => Ok(()),
            Err(Cannot::Set(why)) => bail!(why),
            Err(Cannot::Start(error)) => Err(error),
        }
    }

    /// A gateway of these settings: one that other cases use too, or one for a case alone.
    pub(crate) async fn gateway(
        &self,
        settings: &SubjectSettings,
        alone: bool,
    ) -> Result<Arc<Gateway>, Cannot> {
        if alone || self.role == Role::Instance {
            return self.start(settings).await.map(Arc::new);
        }
        let mut shared = self.shared.lock().await;
        if let Some((_, gateway)) = shared.iter().find(|(set, _)| set == settings) {
            return Ok(gateway.clone());
        }
        let gateway = Arc::new(self.start(settings).await?);
        shared.push((settings.clone(), gateway.clone()));
        Ok(gateway)
    }

    async fn start(&self, settings: &SubjectSettings) -> Result<Gateway, Cannot> {
        match (self.role, &self.gateway) {
            (Role::Instance, _) => self.naive(settings).await.map_err(Cannot::Start),
            (role, Some(subject)) => {
                if let Subject::Gateway { .. } = subject
                    && *settings != SubjectSettings::default()
                {
                    let why = "it needs a gateway with other settings, and this one runs already";
                    return Err(Cannot::Set(why.to_owned()));
                }
                self.subject(subject, role, settings).await
            }
            (role, None) => Err(Cannot::Start(anyhow::anyhow!(
                "the role `{role}` needs a gateway: --gateway, or --gateway-client and --gateway-tunnel"
            ))),
        }
    }

    async fn naive(&self, settings: &SubjectSettings) -> Result<Gateway> {
        let mut own = Naive::default();
        if settings.heartbeat_ms > 0 {
            own.heartbeat_ms = settings.heartbeat_ms;
        }
        if settings.call_window > 0 {
            own.call_window = settings.call_window;
        }
        let bound = own.bound(crate::tunnel::limits::CALL_WINDOW);
        let naive = NaiveGateway::start(own).await?;
        Ok(Gateway {
            clients: naive.client_addr,
            tunnels: Some(naive.tunnel_addr),
            bound: Some(bound.request.max(bound.response)),
            process: Mutex::default(),
            naive: Some(naive),
        })
    }

    async fn subject(
        &self,
        subject: &Subject,
        role: Role,
        settings: &SubjectSettings,
    ) -> Result<Gateway, Cannot> {
        let direct = role == Role::Direct;
        let request = SubjectRequest {
            role: match direct {
                true => SubjectRole::Direct.into(),
                false => SubjectRole::Gateway.into(),
            },
            settings: Some(settings.clone()),
            instance: direct.then(|| SubjectInstance {
                id: "direct".to_owned(),
                side: self.side.addr().to_string(),
                ..SubjectInstance::default()
            }),
        };
        let running = subject.start(&request, &self.side).await;
        let running = running.map_err(|error| Cannot::Start(error.into()))?;
        if let Some(missing) = missing(settings, &running.reply.honoured) {
            return Err(Cannot::Set(format!(
                "it needs the setting `{missing}`, which the subject has not"
            )));
        }
        let address = |text: &str, what: &str| {
            let parsed = text.parse();
            parsed.with_context(|| format!("the subject's {what}: `{text}` is no IP:PORT"))
        };
        let clients = address(&running.reply.client_addr, "client_addr");
        let tunnels = match direct {
            true => Ok(None),
            false => address(&running.reply.tunnel_addr, "tunnel_addr").map(Some),
        };
        let bound = Some(running.reply.bound_bytes).filter(|bound| *bound > 0);
        Ok(Gateway {
            clients: clients.map_err(Cannot::Start)?,
            tunnels: tunnels.map_err(Cannot::Start)?,
            bound: bound.or(self.bound),
            process: Mutex::new(Some(running)),
            naive: None,
        })
    }
}

/// A setting that is wanted of an instance and was not honoured.
pub(crate) fn missing_of_instance(
    settings: &SubjectSettings,
    honoured: &[String],
) -> Option<&'static str> {
    let own = SubjectSettings {
        call_window: settings.call_window,
        call_window_max: settings.call_window_max,
        message_max: settings.message_max,
        max_metadata: settings.max_metadata,
        max_calls: settings.max_calls,
        ..SubjectSettings::default()
    };
    missing(&own, honoured)
}

/// A setting that is wanted and was not honoured.
fn missing(settings: &SubjectSettings, honoured: &[String]) -> Option<&'static str> {
    let set = [
        ("client_window", settings.client_window),
        ("call_window", settings.call_window),
        ("call_window_max", settings.call_window_max),
        ("heartbeat_ms", settings.heartbeat_ms),
        ("message_max", settings.message_max),
        ("max_metadata", settings.max_metadata),
        ("max_calls", settings.max_calls),
        ("max_streams", settings.max_streams),
        ("drain_timeout_ms", settings.drain_timeout_ms),
        ("handshake_timeout_ms", settings.handshake_timeout_ms),
        ("preface_timeout_ms", settings.preface_timeout_ms),
        ("client_keepalive_ms", settings.client_keepalive_ms),
        ("routes", settings.routes.len() as u32),
        ("max_connections", settings.max_connections),
    ];
    let mut wanted = set.iter().filter(|(_, value)| *value > 0);
    let lacks = |name: &str| !honoured.iter().any(|own| own == name);
    wanted.find(|(name, _)| lacks(name)).map(|(name, _)| *name)
}

/// What one case is given.
#[derive(Debug, Clone)]
pub struct Rig {
    /// The subjects.
    pub host: Arc<Host>,
    /// The gateway of this case, which others may use too.
    pub gateway: Arc<Gateway>,
    /// Its settings.
    pub settings: SubjectSettings,
    case: &'static str,
    seed: u64,
    strict_time: bool,
    names: Arc<std::sync::atomic::AtomicU32>,
}

impl Rig {
    pub(crate) fn new(
        host: Arc<Host>,
        gateway: Arc<Gateway>,
        settings: SubjectSettings,
        case: &'static str,
        (seed, strict_time): (u64, bool),
    ) -> Self {
        Self {
            host,
            gateway,
            settings,
            case,
            seed,
            strict_time,
            names: Arc::default(),
        }
    }

    /// The role of the subject.
    pub fn role(&self) -> Role {
        self.host.role
    }

    /// Whether nothing lies between client and server.
    pub fn is_direct(&self) -> bool {
        self.role() == Role::Direct
    }

    /// An instance with a link to its gateway, and a client with another.
    ///
    /// # Errors
    /// Where one of them cannot be brought up.
    pub async fn stage(&self) -> Result<Stage> {
        Stage::new(self.clone(), |_| {}).await
    }

    /// The same, the instance registered with more, or otherwise.
    ///
    /// # Errors
    /// As [`Rig::stage`].
    pub async fn stage_with(&self, change: impl FnOnce(&mut SubjectInstance)) -> Result<Stage> {
        Stage::new(self.clone(), change).await
    }

    /// The same with a gateway of its own, as new as this one was: for a case that needs several.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn afresh(&self) -> Result<Self> {
        match self.host.gateway(&self.settings, true).await {
            Ok(gateway) => Ok(Self {
                gateway,
                ..self.clone()
            }),
            Err(Cannot::Set(why)) => Err(Skip(why).into()),
            Err(Cannot::Start(error)) => Err(error),
        }
    }

    /// A connection of a client, with nothing in between.
    ///
    /// # Errors
    /// Where it cannot connect.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(self.gateway.clients).await
    }

    /// A name that nothing else in the run has.
    pub fn name(&self) -> String {
        let n = self
            .names
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("{}-{}-{n}", self.case, self.role())
    }

    /// Random numbers, the same in every run of this seed.
    pub fn random(&self) -> fastrand::Rng {
        let own = self
            .case
            .bytes()
            .fold(0_u64, |sum, byte| sum * 31 + u64::from(byte));
        fastrand::Rng::with_seed(self.seed ^ own)
    }

    /// The bound that is declared for paths of this case, in bytes.
    ///
    /// # Errors
    /// Skips the case where the gateway declares none.
    pub fn bound(&self) -> Result<u64> {
        let none = || Skip("the gateway declares no bound: --bound".to_owned());
        Ok(self.gateway.bound.ok_or_else(none)?)
    }

    /// The memory that the gateway's process has resident, in bytes.
    ///
    /// # Errors
    /// Skips the case where nobody says.
    pub async fn memory(&self) -> Result<u64> {
        let process = self.gateway.process.lock().await;
        let memory = process.as_ref().and_then(Running::memory);
        let none = "the gateway's memory is not to be seen: it is not the suite's process, or not on Linux";
        Ok(memory.ok_or_else(|| Skip(none.to_owned()))?)
    }

    /// Waits for something that has an exact time: ten times as long, where times are not strict.
    ///
    /// # Errors
    /// Where it does not come in time.
    pub async fn in_time<T>(
        &self,
        what: &str,
        exact: Duration,
        event: impl Future<Output = T>,
    ) -> Result<T> {
        let limit = match self.strict_time {
            true => exact,
            false => exact * BUSY,
        };
        exactly(what, limit, event).await
    }
}
