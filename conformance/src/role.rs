//! What a subject is, and what the suite plays around it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is under test.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Deserialize,
    Serialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A gateway. The suite is the clients and the instances.
    Gateway,
    /// An instance. The suite is the clients and the gateway.
    Instance,
    /// Both together. The suite is the clients and the links.
    Both,
    /// A server without a tunnel: what a routed call must be equal to.
    Direct,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Instance, Self::Both, Self::Direct];

    /// Its name, as it is given on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Instance => "instance",
            Self::Both => "both",
            Self::Direct => "direct",
        }
    }

    /// Whether the gateway is the subject's.
    pub const fn has_gateway(self) -> bool {
        matches!(self, Self::Gateway | Self::Both)
    }

    /// Whether the instance is the subject's.
    pub const fn has_instance(self) -> bool {
        matches!(self, Self::Instance | Self::Both)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
