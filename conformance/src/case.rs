//! A case as the suite runs it.

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;

use crate::pb::SubjectSettings;
use crate::rig::Rig;
use crate::role::Role;

/// What a case does; an error says what was seen, and what was due.
pub type Run = fn(Rig) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// An implementation of a case of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its id in the catalogue.
    pub id: &'static str,
    /// The roles in which it judges the subject.
    pub roles: &'static [Role],
    /// What it does.
    pub run: Run,
    /// What the subject must be set to; none where its defaults do.
    pub settings: fn() -> SubjectSettings,
    /// Whether it needs a gateway of its own, because it ends or starves it.
    pub alone: bool,
}

/// The roles of a case about calls: whatever carries them.
pub const CALLS: &[Role] = &[Role::Gateway, Role::Instance, Role::Both, Role::Direct];
/// The roles of a case about a path with a tunnel.
pub const ROUTED: &[Role] = &[Role::Gateway, Role::Instance, Role::Both];
/// The roles of a case about a gateway, whoever the instances are.
pub const AT_GATEWAY: &[Role] = &[Role::Gateway, Role::Both];
/// The role of a case in which the suite must be the instance.
pub const GATEWAY: &[Role] = &[Role::Gateway];
/// The role of a case in which the suite must be the gateway.
pub const INSTANCE: &[Role] = &[Role::Instance];
/// The roles of a case about an instance, whoever the gateway is.
pub const AT_INSTANCE: &[Role] = &[Role::Instance, Role::Both];

impl Case {
    /// A case that shares its gateway, with the subject's defaults.
    pub const fn new(id: &'static str, roles: &'static [Role], run: Run) -> Self {
        Self {
            id,
            roles,
            run,
            settings: SubjectSettings::default,
            alone: false,
        }
    }

    /// With a gateway of its own.
    #[must_use]
    pub const fn alone(self) -> Self {
        Self {
            alone: true,
            ..self
        }
    }

    /// With settings of its own.
    #[must_use]
    pub const fn with(self, settings: fn() -> SubjectSettings) -> Self {
        Self { settings, ..self }
    }
}

/// Makes a function of the case's own shape of an async one.
#[macro_export]
macro_rules! run {
    ($function:path) => {
        |rig| Box::pin($function(rig))
    };
}
