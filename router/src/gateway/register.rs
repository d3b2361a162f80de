//! A tunnel at the gateway: from the instance's registration to its end.

use std::sync::Arc;

use grpcrouter_core::registry::{Identity, Key};
use grpcrouter_core::sabotage::{self, Sabotage};
use grpcrouter_core::tunnel::GatewayEvent;
use grpcrouter_core::{Tunnel, TunnelError};
use grpcrouter_proto::v1::InstanceInfo;
use http::HeaderMap;
use tracing::{debug, info, warn};

use crate::flag::raised;
use crate::status::{Code, REASON, status_trailers};
use crate::tunnel::{Driver, Link, Notice, Transport, TransportEnd};

use super::Shared;
use super::directory::{Refused, TunnelLink};

/// Serves one `Register` call.
pub(super) async fn serve(shared: Arc<Shared>, transport: impl Transport, identity: Identity) {
    let open = shared.gauges.tunnels.enter();
    let tunnel =
        Tunnel::<grpcrouter_core::Gateway>::new(shared.clock.now(), shared.config.tunnel.clone());
    let link = Arc::new(Link::new(tunnel, shared.clock));
    let entered = shared.meter.tunnels.enter(&link);
    let mut driver = Driver::new(link, transport, shared.clock);
    let mut session = Session {
        shared: &shared,
        identity,
        key: None,
        name: String::new(),
    };
    let mut drain = shared.drain.subscribe();
    let mut told = false;
    let error = loop {
        let notice = tokio::select! {
            biased;
            () = raised(&mut drain), if !told => {
                told = true;
                driver.link().with(|tunnel, _| tunnel.drain("the gateway is shutting down"));
                continue;
            }
            notice = driver.next() => notice,
        };
        match notice {
            Notice::Role(event) => session.on_event(&driver, event),
            // The instance closes a drained tunnel, after it knows that it is.
            Notice::Drained => {}
            Notice::Closed(error) => break error,
        }
    };
    session.ended(&error);
    let link = driver.link().clone();
    let farewell = async {
        let end = TransportEnd::Response(trailers(&error));
        driver.finish(end).await;
        drop((entered, open));
    };
    // Clients that read slowly may have whole answers left to take.
    tokio::join!(farewell, link.keep_deadlines());
    if sabotage::is(Sabotage::TunnelTaskLeaked) {
        std::future::pending::<()>().await;
    }
}

struct Session<'a> {
    shared: &'a Shared,
    identity: Identity,
    key: Option<Key>,
    name: String,
}

impl Session<'_> {
    fn on_event<T: Transport>(
        &mut self,
        driver: &Driver<grpcrouter_core::Gateway, T>,
        event: GatewayEvent,
    ) {
        let directory = &self.shared.directory;
        match (event, self.key) {
            (GatewayEvent::Registering(info), _) if *self.shared.drain.borrow() => {
                let message = "the gateway is shutting down; dial another".to_owned();
                let (code, reason) = (Code::Unavailable, "draining");
                let refused = Refused {
                    code,
                    reason,
                    message,
                };
                self.refuse(driver.link(), &info, &refused);
            }
            (GatewayEvent::Registering(info), _) => {
                self.name.clone_from(&info.instance_id);
                let config = &self.shared.config;
                let accept = |tunnel: &mut Tunnel<_>, now| {
                    tunnel.accept(now, config.gateway_id.clone(), config.gateways.clone());
                };
                match directory.register(&info, self.identity.clone(), driver.link(), accept) {
                    Ok(key) => {
                        let again = info.epoch.is_some_and(|epoch| epoch.attempt > 0);
                        self.shared.meter.tunnels.registered(again);
                        info!(
                            instance = self.name,
                            services = info.services.len(),
                            "registered"
                        );
                        self.key = Some(key);
                        self.shared.descriptors.announce(key, &info, driver.link());
                    }
                    Err(refused) => self.refuse(driver.link(), &info, &refused),
                }
            }
            (GatewayEvent::Health(services), Some(key)) => directory.report_health(key, &services),
            (GatewayEvent::Unregistering, Some(key)) => {
                info!(instance = self.name, "drains");
                directory.set_draining(key);
            }
            (GatewayEvent::Descriptors(outcome), Some(key)) => {
                self.shared.descriptors.brought(key, &self.name, outcome);
            }
            (_, None) => {}
        }
    }

    fn refuse(&self, link: &TunnelLink, info: &InstanceInfo, refused: &Refused) {
        let (reason, message) = (refused.reason, &refused.message);
        self.shared.meter.tunnels.refused(reason);
        warn!(instance = info.instance_id, reason, "refused: {message}");
        link.with(|tunnel, _| tunnel.refuse(refused.code as u32, reason, message));
    }

    fn ended(&self, error: &TunnelError) {
        if let Some(key) = self.key {
            if !sabotage::is(Sabotage::DeadTunnelKept) {
                self.shared.directory.remove(key);
            }
            self.shared.descriptors.leave(key);
            info!(instance = self.name, "tunnel ended: {error}");
        } else {
            debug!(instance = self.name, "no tunnel: {error}");
        }
    }
}

/// The status with which a `Register` call ends.
fn trailers(error: &TunnelError) -> HeaderMap {
    let (code, reason) = error.verdict();
    let message = if code == Code::Ok as u32 {
        String::new()
    } else {
        error.to_string()
    };
    let mut trailers = status_trailers(Code::Ok, &message);
    trailers.insert("grpc-status", code.into());
    if !reason.is_empty()
        && let Ok(reason) = reason.parse()
    {
        trailers.insert(REASON, reason);
    }
    trailers
}
