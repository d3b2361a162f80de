//! One gateway, for as long as the instance lives: dial, register, serve, and again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::frame::Open;
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::tunnel::InstanceEvent;
use grpcrouter_core::{Instance, Key, Time, Tunnel, TunnelError};
use grpcrouter_proto::v1::{Epoch, InstanceInfo, ServiceInfo};
use http::{Request, Response};
use http_body::Body;
use tokio::task::JoinSet;
use tower_service::Service;
use tracing::{info, warn};

use crate::flag::raised;
use crate::net::Target;
use crate::status::Code;
use crate::tunnel::{Call, Driver, H2Transport, Link, Notice, TransportEnd};

use super::dial::dial;
use super::{BoxError, InstanceError, RequestBody, Shared, serve};

/// An instance's dealings with one gateway.
pub(super) struct Session<S> {
    shared: Arc<Shared>,
    /// Which of the configured gateways.
    index: usize,
    service: S,
    rng: fastrand::Rng,
    failures: u32,
    /// Since when the latest tunnel is registered, where it is.
    registered_at: Option<Time>,
    /// Tunnels to a gateway that drains, with the calls that they still have.
    rest: JoinSet<()>,
}

/// How a tunnel ended.
enum End {
    /// This instance drained.
    Drained,
    /// The gateway drains: it finishes what runs, on its own.
    Moved,
    /// It was lost, or refused for now. Wait at least this long.
    Again(Duration),
}

impl<S, B> Session<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    pub(super) fn new(shared: Arc<Shared>, index: usize, service: S) -> Self {
        let rng = fastrand::Rng::with_seed(shared.config.seed.wrapping_add(index as u64));
        Self {
            shared,
            index,
            service,
            rng,
            failures: 0,
            registered_at: None,
            rest: JoinSet::new(),
        }
    }

    /// Runs until the instance has drained, or may not go on.
    pub(super) async fn run(mut self) -> Result<(), InstanceError> {
        self.dial_and_serve().await?;
        while self.rest.join_next().await.is_some() {}
        Ok(())
    }

    async fn dial_and_serve(&mut self) -> Result<(), InstanceError> {
        let mut drain = self.shared.drain.clone();
        loop {
            let dialled = tokio::select! {
                biased;
                () = raised(&mut drain) => return Ok(()),
                dialled = dial(&self.shared.dialer, self.gateway(), self.shared.config.dial_timeout) => dialled,
            };
            let least = match dialled {
                Ok(transport) => match self.tunnel(transport).await? {
                    End::Drained => return Ok(()),
                    End::Moved => Duration::ZERO,
                    End::Again(least) => least,
                },
                Err(error) => {
                    self.missing(Some(&error));
                    Duration::ZERO
                }
            };
            // A gateway that registers and drops at once is no better than one that does not answer.
            let since = self.registered_at.take();
            let lived = since.map(|since| self.shared.clock.now() - since);
            if lived.is_some_and(|lived| lived >= self.shared.config.tunnel.heartbeat_interval) {
                self.failures = 0;
            }
            self.failures += 1;
            let wait = least
                + self
                    .shared
                    .config
                    .backoff
                    .wait(self.failures, &mut self.rng);
            tokio::select! {
                biased;
                () = raised(&mut drain) => return Ok(()),
                () = tokio::time::sleep(wait), if !sabotage::is(Sabotage::NeverDialsAgain) => {}
            }
        }
    }

    fn gateway(&self) -> &Target {
        &self.shared.config.gateways[self.index]
    }

    /// Why there is no tunnel, for the log and for who waits for one.
    fn missing(&self, why: Option<&dyn fmt::Display>) {
        let why = why.map(ToString::to_string);
        if let Some(why) = &why {
            warn!("gateway {}: {why}", self.gateway());
        }
        self.shared
            .missing
            .send_modify(|missing| missing[self.index] = why);
    }

    /// Registers over a fresh transport and serves until the tunnel ends.
    async fn tunnel(&mut self, transport: H2Transport) -> Result<End, InstanceError> {
        let Shared { clock, config, .. } = &*self.shared;
        let mut health = self.shared.health.clone();
        health.mark_unchanged();
        let tunnel = Tunnel::<Instance>::new(clock.now(), config.tunnel.clone(), self.info());
        let link = Arc::new(Link::new(tunnel, *clock));
        let mut driver = Driver::new(link.clone(), transport, *clock);
        let mut drain = self.shared.drain.clone();
        let mut asked = false;
        let mut registered = false;
        loop {
            let mut next = tokio::select! {
                biased;
                () = raised(&mut drain), if !asked => {
                    asked = true;
                    link.with(|tunnel, _| tunnel.unregister("the instance drains"));
                    continue;
                }
                // Before the registration stands nobody listens: a change waits for it.
                Ok(()) = health.changed(), if registered => {
                    let services = self.services();
                    link.with(|tunnel, _| tunnel.report_health(services));
                    continue;
                }
                notice = driver.next() => Some(notice),
            };
            // All that came together: to wait anew for each call would cost as much as to hand it on.
            while let Some(notice) = next {
                match notice {
                    Notice::Role(InstanceEvent::Incoming(key, open)) => {
                        self.spawn(&link, key, *open);
                    }
                    Notice::Role(InstanceEvent::Registered(ack)) => {
                        info!(
                            id = config.id,
                            gateway_id = ack.gateway_id,
                            "registered with {}",
                            self.gateway()
                        );
                        registered = true;
                        self.missing(None);
                        self.registered_at = Some(clock.now());
                        self.shared
                            .registered
                            .send_modify(|counts| counts[self.index] += 1);
                        if asked {
                            link.with(|tunnel, _| tunnel.unregister("the instance drains"));
                        }
                    }
                    Notice::Role(InstanceEvent::DescriptorsWanted) => {
                        let set = config.descriptors.clone().unwrap_or_default();
                        link.with(|tunnel, _| tunnel.send_descriptors(set));
                    }
                    Notice::Role(InstanceEvent::Draining { answer: true }) => {}
                    Notice::Role(InstanceEvent::Draining { answer: false }) => {
                        info!("gateway {} drains", self.gateway());
                        if !asked {
                            while self.rest.try_join_next().is_some() {}
                            let session = self.clone_for_rest();
                            self.rest.spawn(session.finish(driver));
                            return Ok(End::Moved);
                        }
                    }
                    Notice::Drained => {
                        driver.finish(TransportEnd::Request).await;
                        return Ok(End::Drained);
                    }
                    Notice::Closed(error) => {
                        driver.finish(TransportEnd::Cancel).await;
                        return if asked {
                            Ok(End::Drained)
                        } else {
                            self.ended(error)
                        };
                    }
                }
                next = link.take_notice();
            }
        }
    }

    /// Serves a call that came in.
    fn spawn(&self, link: &Arc<Link<Instance>>, key: Key, open: Open) {
        let call = Arc::new(Call::new(link.clone(), key));
        // In a box of its own: a task would move all of it six times.
        tokio::spawn(Box::pin(serve::serve(self.service.clone(), call, open)));
    }

    /// Lets the calls of a tunnel finish that takes no new ones.
    async fn finish(self, mut driver: Driver<Instance, H2Transport>) {
        loop {
            match driver.next().await {
                Notice::Drained | Notice::Closed(_) => break,
                Notice::Role(InstanceEvent::Incoming(key, open)) => {
                    self.spawn(driver.link(), key, *open);
                }
                Notice::Role(_) => {}
            }
        }
        driver.finish(TransportEnd::Request).await;
    }

    fn clone_for_rest(&self) -> Self {
        Self::new(self.shared.clone(), self.index, self.service.clone())
    }

    /// What the end of a tunnel means for the next one.
    fn ended(&self, error: TunnelError) -> Result<End, InstanceError> {
        let gateway = self.gateway().clone();
        let config = &self.shared.config;
        let TunnelError::Refused {
            code,
            reason,
            message,
        } = error
        else {
            self.missing(Some(&error));
            return Ok(End::Again(Duration::ZERO));
        };
        if reason == "superseded" {
            return Err(InstanceError::Superseded {
                gateway,
                id: config.id.clone(),
            });
        }
        const FINAL: [Code; 4] = [
            Code::InvalidArgument,
            Code::PermissionDenied,
            Code::FailedPrecondition,
            Code::Unauthenticated,
        ];
        if FINAL.iter().any(|last| *last as u32 == code) {
            return Err(InstanceError::Refused {
                gateway,
                reason,
                message,
            });
        }
        self.missing(Some(&format_args!(
            "refused the registration: {message} ({reason})"
        )));
        if code == Code::AlreadyExists as u32 {
            // A later registration of this id is alive, or dead without the gateway knowing yet.
            return Ok(End::Again(config.tunnel.heartbeat_interval * 2));
        }
        Ok(End::Again(Duration::ZERO))
    }

    fn info(&self) -> InstanceInfo {
        let config = &self.shared.config;
        let attempt = self.shared.attempts.fetch_add(1, Ordering::Relaxed);
        InstanceInfo {
            instance_id: config.id.clone(),
            epoch: Some(Epoch {
                started_us: config.epoch.started_us,
                attempt: config.epoch.attempt + attempt,
            }),
            services: self.services(),
            keys: config.keys.clone(),
            labels: config.labels.clone(),
            weight: config.weight,
            version: config.version.clone(),
            credentials: config.credentials.clone(),
            descriptors: self.shared.announced.map(Into::into),
            ..InstanceInfo::default()
        }
    }

    fn services(&self) -> Vec<ServiceInfo> {
        let health = self.shared.health.borrow();
        let service =
            |(name, health): (&String, &grpcrouter_proto::v1::HealthStatus)| ServiceInfo {
                name: name.clone(),
                health: (*health).into(),
            };
        health.iter().map(service).collect()
    }
}
