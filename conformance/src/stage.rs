//! A stage: one client, one instance, and a link before each, for calls whose handlers are watched.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Answer, Call, Client, Exchange};
use crate::link::Link;
use crate::pb::{SubjectInstance, SubjectRequest, SubjectRole};
use crate::probe::side::Watched;
use crate::probe::{self, Probe, Script};
use crate::rig::{Rig, Skip, missing_of_instance};
use crate::role::Role;
use crate::subject::Running;
use crate::tunnel::instance::{ServedInstance, serve};
use crate::tunnel::{self, tap::Tap};
use crate::wait::within;

/// How long an instance may take to be registered: an interpreter starts within seconds.
const REGISTERED: Duration = Duration::from_secs(20);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(10);

/// One client and one instance.
#[derive(Debug)]
pub struct Stage {
    /// What they belong to.
    pub rig: Rig,
    /// A connection through [`Stage::clients`].
    pub client: Client,
    /// The instance; the server of a direct run.
    pub instance: Hosted,
    /// Between client and gateway.
    pub clients: Link,
    /// Between instance and gateway; of a direct run it leads nowhere.
    pub tunnel: Link,
}

/// An instance that hosts the probe.
#[derive(Debug)]
pub enum Hosted {
    /// The suite's own.
    Suite(Box<ServedInstance>),
    /// The subject's.
    Subject {
        /// Its id.
        id: String,
        /// Its process.
        running: Box<Running>,
    },
    /// None: a direct run.
    Direct,
}

/// A call, and its handler.
#[derive(Debug)]
pub struct Probed {
    /// The client's edge.
    pub exchange: Exchange,
    /// The handler's edge.
    pub handler: Watched,
}

impl Probed {
    /// Sends a message.
    ///
    /// # Errors
    /// Where it cannot be sent: with what the call was answered instead.
    pub async fn send(&mut self, message: &[u8]) -> Result<()> {
        let Err(error) = self.exchange.send(message).await else {
            return Ok(());
        };
        let answer = self.exchange.answer().await?;
        let (status, reason) = (answer.status()?, answer.reason());
        bail!(
            "{error:#}: the call was answered with {status}, `{}` {reason}",
            answer.message()
        )
    }

    /// Sends a message, ends the request, and waits for all of the answer, which may come before.
    ///
    /// # Errors
    /// Where there is no whole answer.
    pub async fn finish(&mut self, message: &[u8]) -> Result<Answer> {
        let sent = self.exchange.send(message).await;
        self.exchange.half_close();
        match (self.exchange.answer().await, sent) {
            (Ok(answer), _) => Ok(answer),
            (Err(error), Ok(())) => Err(error),
            (Err(_), Err(error)) => Err(error),
        }
    }
}

impl Stage {
    pub(crate) async fn new(rig: Rig, change: impl FnOnce(&mut SubjectInstance)) -> Result<Self> {
        let clients = Link::to(rig.gateway.clients).await?;
        let tunnel = Link::to(rig.gateway.tunnels.unwrap_or(rig.gateway.clients)).await?;
        let mut asked = SubjectInstance {
            id: rig.name(),
            gateways: vec![tunnel.addr().to_string()],
            side: rig.host.side.addr().to_string(),
            weight: 1,
            ..SubjectInstance::default()
        };
        change(&mut asked);
        let instance = Hosted::start(&rig, asked).await?;
        let client = Client::connect(clients.addr()).await?;
        let mut stage = Self {
            rig,
            client,
            instance,
            clients,
            tunnel,
        };
        stage.registered().await?;
        Ok(stage)
    }

    /// Waits until the instance gets calls.
    ///
    /// # Errors
    /// Where it does not come to that.
    pub async fn registered(&mut self) -> Result<()> {
        if !matches!(self.instance, Hosted::Subject { .. }) {
            return Ok(());
        }
        let client = Client::connect(self.rig.gateway.clients).await?;
        within("registration of the instance", REGISTERED, async {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                looks.tick().await;
                let (call, _) = self.request("Unary", &Script::new().read_all())?;
                let answer = client.unary(call, b"").await?;
                if answer.status()? == 0 {
                    return anyhow::Ok(());
                }
                let reason = answer.reason();
                ensure!(
                    ["no-instance", "instance-lost"].contains(&reason),
                    "a first call was answered with {}, {reason}",
                    answer.status()?
                );
            }
        })
        .await?
    }

    /// A request whose handler obeys the script, and what will be seen of it. It is for this stage's instance.
    ///
    /// # Errors
    /// Never for a script of this suite.
    pub fn request(&self, method: &str, script: &Script) -> Result<(Call, Watched)> {
        let (call, handler) = self.unbound(method, script);
        let call = match &self.instance {
            Hosted::Direct => call,
            hosted => call.instance(hosted.id()),
        };
        Ok((call, handler))
    }

    /// The same for whichever instance.
    pub fn unbound(&self, method: &str, script: &Script) -> (Call, Watched) {
        let name = self.rig.name();
        let call = Call::new(probe::path(method))
            .header(probe::CALL, &name)
            .header(probe::SCRIPT, script.header());
        (call, self.rig.host.side.call(&name))
    }

    /// Opens a call.
    ///
    /// # Errors
    /// Where the client cannot.
    pub async fn open(&mut self, method: &str, script: &Script) -> Result<Probed> {
        self.open_with(method, script, |call| call).await
    }

    /// Opens a call with a request that is changed before.
    ///
    /// # Errors
    /// Where the client cannot.
    pub async fn open_with(
        &mut self,
        method: &str,
        script: &Script,
        change: impl FnOnce(Call) -> Call,
    ) -> Result<Probed> {
        let (call, handler) = self.request(method, script)?;
        let exchange = self.client.open(change(call).build()?, false).await?;
        Ok(Probed { exchange, handler })
    }

    /// Opens a call for whichever instance.
    ///
    /// # Errors
    /// Where the client cannot.
    pub async fn open_anywhere(&mut self, method: &str, script: &Script) -> Result<Probed> {
        let (call, handler) = self.unbound(method, script);
        let exchange = self.client.open(call.build()?, false).await?;
        Ok(Probed { exchange, handler })
    }

    /// One unary call.
    ///
    /// # Errors
    /// Where there is no whole answer.
    pub async fn unary(&mut self, script: &Script, message: &[u8]) -> Result<(Answer, Watched)> {
        let mut call = self.open("Unary", script).await?;
        Ok((call.finish(message).await?, call.handler))
    }

    /// A short call on the same connection, which must succeed.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn sibling(&mut self) -> Result<()> {
        let (answer, _) = self
            .unary(&Script::new().echo_all(), b"sibling")
            .await
            .context("a call beside it")?;
        let status = answer.status()?;
        ensure!(status == 0, "a call beside it ended with {status}");
        Ok(())
    }

    /// The most that may be under way from one end of a call to the other, in bytes: what the path declares, and
    /// what the instance may hold itself.
    ///
    /// # Errors
    /// Skips the case where the gateway declares nothing.
    pub fn bound(&self) -> Result<u64> {
        let own = match &self.instance {
            Hosted::Subject { running, .. } => running.reply.bound_bytes,
            // What waits at the suite's own is within its call window.
            Hosted::Suite(_) | Hosted::Direct => 0,
        };
        Ok(self.rig.bound()? + own)
    }

    /// Skips the case where the instance is a subject that has not this field of its settings or its request.
    ///
    /// # Errors
    /// The skip.
    pub fn needs(&self, field: &str) -> Result<()> {
        match &self.instance {
            Hosted::Subject { running, .. }
                if !running.reply.honoured.iter().any(|own| own == field) =>
            {
                Err(Skip(format!("it needs `{field}`, which the subject has not")).into())
            }
            _ => Ok(()),
        }
    }

    /// How often a call's handler ran, once everything that this stage's instance had to report of it must have
    /// come: reports keep their order.
    ///
    /// # Errors
    /// Where the instance takes no further call.
    pub async fn runs(&mut self, handler: &Watched) -> Result<usize> {
        let (_, later) = self.unary(&Script::new().echo_all(), b"later").await?;
        later.finished().await?;
        Ok(handler.runs())
    }

    /// Another client's connection, through no link.
    ///
    /// # Errors
    /// Where it cannot connect.
    pub async fn another_client(&self) -> Result<Client> {
        self.rig.client().await
    }

    /// The frames of the tunnel, where an end of it is the suite's.
    pub fn tap(&self) -> Option<Tap> {
        match (&self.instance, &self.rig.gateway.naive) {
            (Hosted::Suite(served), _) => Some(served.tap.clone()),
            (Hosted::Subject { id, .. }, Some(naive)) => naive.tap(id),
            _ => None,
        }
    }
}

impl Hosted {
    async fn start(rig: &Rig, asked: SubjectInstance) -> Result<Self> {
        let host = &rig.host;
        if rig.is_direct() {
            return Ok(Self::Direct);
        }
        let id = asked.id.clone();
        if rig.role().has_instance() {
            let subject = host.instance.as_ref();
            let subject =
                subject.context("the role needs an instance: --instance or --instance-cmd")?;
            let request = SubjectRequest {
                role: SubjectRole::Instance.into(),
                settings: Some(rig.settings.clone()),
                instance: Some(asked),
            };
            let running = Box::new(subject.start(&request, &host.side).await?);
            // Beside a gateway that has the setting, it is the gateway's to keep.
            if rig.role() == Role::Instance
                && let Some(lacks) = missing_of_instance(&rig.settings, &running.reply.honoured)
            {
                let why = format!("it needs the setting `{lacks}`, which the subject has not");
                return Err(Skip(why).into());
            }
            return Ok(Self::Subject { id, running });
        }
        let services = match asked.services.is_empty() {
            true => vec![probe::SERVICE],
            false => asked.services.iter().map(String::as_str).collect(),
        };
        let mut info = tunnel::info(&id, &services);
        info.keys.clone_from(&asked.keys);
        info.labels = asked.labels.clone().into_iter().collect();
        info.weight = asked.weight;
        let addr = asked.gateways.first().context("no gateway")?.parse()?;
        let probe = Probe::new(host.side.reporter(&id));
        Ok(Self::Suite(Box::new(serve(addr, info, probe).await?)))
    }

    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Suite(served) => &served.id,
            Self::Subject { id, .. } => id,
            Self::Direct => "direct",
        }
    }

    /// Ends it without a word, as a process that is killed.
    ///
    /// # Errors
    /// Where it lives on.
    pub async fn kill(&mut self) -> Result<()> {
        match std::mem::replace(self, Self::Direct) {
            Self::Suite(served) => served.kill().await,
            Self::Subject { running, .. } => {
                running.kill();
                Ok(())
            }
            Self::Direct => Ok(()),
        }
    }
}

/// Many stages of one gateway.
///
/// # Errors
/// Where one cannot be brought up.
pub async fn stages(rig: &Rig, count: usize) -> Result<Vec<Stage>> {
    let mut stages = Vec::with_capacity(count);
    for _ in 0..count {
        stages.push(rig.stage().await?);
    }
    Ok(stages)
}
