//! What is known of a call once it is over: it is counted, and in the access log it has a line.

use std::sync::Arc;

use grpcrouter_core::Time;
use grpcrouter_core::registry::{InstanceId, Key};

use crate::status::{Code, GatewayStatus};

use super::Shared;
use super::metrics::Counting;
use super::request::{Ingress, Refusal};

/// Collects what is to be said of a call, and says it when it is dropped.
#[derive(Debug)]
pub(super) struct Access {
    shared: Arc<Shared>,
    /// Empty where nothing is logged.
    path: String,
    started: Time,
    /// Who the call was given to, the latest where there were two.
    instance: Option<InstanceId>,
    outcome: Outcome,
    received: u64,
    sent: u64,
    /// None before the request is known to be a call.
    counting: Option<Counting>,
}

#[derive(Debug)]
enum Outcome {
    None,
    Gone,
    Http(u16),
    Code(u32),
    Status(GatewayStatus),
}

impl Access {
    pub(super) fn begin(shared: Arc<Shared>, path: &str) -> Self {
        let (path, started) = match shared.config.access_log {
            true => (path.to_owned(), shared.clock.now()),
            false => (String::new(), Time::ZERO),
        };
        Self {
            shared,
            path,
            started,
            instance: None,
            outcome: Outcome::None,
            received: 0,
            sent: 0,
            counting: None,
        }
    }

    /// It is a call, with the path as the instance sees it. The client's own may hold a routing key, which is
    /// nobody's to read in a log.
    pub(super) fn resolved(&mut self, call: &Ingress<'_>) {
        if self.shared.config.access_log {
            call.path.clone_into(&mut self.path);
        }
        let directory = &self.shared.directory;
        let is_declared = || directory.read(|registry| registry.is_declared(call.service));
        let calls = self.shared.meter.calls();
        self.counting = Some(calls.begin(call.service, is_declared));
    }

    /// Who the call is given to.
    pub(super) fn instance(&mut self, key: Key) {
        if self.shared.config.access_log {
            let directory = &self.shared.directory;
            self.instance = directory.read(|registry| registry.id(key).cloned());
        }
    }

    pub(super) fn bytes(&mut self, received: u64, sent: u64) {
        (self.received, self.sent) = (received, sent);
    }

    pub(super) fn code(&mut self, code: u32) {
        self.outcome = Outcome::Code(code);
    }

    pub(super) fn gone(&mut self) {
        self.outcome = Outcome::Gone;
    }

    pub(super) fn status(&mut self, status: &GatewayStatus) {
        self.outcome = match self.shared.config.access_log {
            true => Outcome::Status(status.clone()),
            false => Outcome::Code(status.code as u32),
        };
    }

    pub(super) fn refused(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::Http(status, _) => self.outcome = Outcome::Http(status.as_u16()),
            Refusal::Grpc(status) => self.status(status),
        }
    }
}

impl Access {
    fn count(&mut self) {
        let calls = self.shared.meter.calls();
        let code = match &self.outcome {
            Outcome::Http(status) => return calls.refused(*status),
            Outcome::None | Outcome::Gone => Code::Cancelled as u32,
            Outcome::Code(code) => *code,
            Outcome::Status(status) => status.code as u32,
        };
        // A request that was no call for another reason than HTTP's is counted, but by no name.
        let counting = self.counting.take();
        counting
            .unwrap_or_else(|| calls.begin("", || false))
            .end(code);
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.count();
        if !self.shared.config.access_log {
            return;
        }
        let (path, received, sent) = (&self.path, self.received, self.sent);
        let instance = self.instance.as_ref().map_or("-", InstanceId::as_str);
        let took_us = (self.shared.clock.now() - self.started).as_micros();
        let (code, reason) = match &self.outcome {
            Outcome::None | Outcome::Gone => ("-".to_owned(), "client-gone"),
            Outcome::Http(status) => (format!("http-{status}"), "-"),
            Outcome::Code(code) => (code.to_string(), "-"),
            Outcome::Status(status) => ((status.code as u8).to_string(), status.reason.token()),
        };
        tracing::info!(
            target: "grpcrouter::access",
            path, instance, code, reason, took_us, received, sent
        );
    }
}
