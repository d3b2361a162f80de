//! How an implementation is served: by code, by flag or by environment.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use grpcrouter_core::registry::InstanceId;

use crate::net::Target;

/// How an implementation is served.
///
/// ```
/// use grpcrouter::Mode;
///
/// let mode = Mode::parse("direct", Some("127.0.0.1:50061"), &[], None)?;
/// assert_eq!(mode.to_string(), "direct");
/// # Ok::<(), grpcrouter::ModeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// On a listening socket of its own, as any gRPC server.
    Direct {
        /// Where to listen; port 0 takes any free port.
        listen: SocketAddr,
    },
    /// Through gateways. No listening socket is opened.
    Routed {
        /// The gateways to dial: a tunnel to each.
        gateways: Vec<Target>,
        /// Who the instance is: unique among live instances.
        id: String,
    },
    /// Both at once.
    Both {
        /// Where to listen; port 0 takes any free port.
        listen: SocketAddr,
        /// The gateways to dial: a tunnel to each.
        gateways: Vec<Target>,
        /// Who the instance is: unique among live instances.
        id: String,
    },
}

/// What a mode cannot be made of: one line that says what is wrong, where, and how to mend it.
///
/// `Debug` prints the same, so that a `main` that returns it reads well.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModeError {
    /// No mode, or another word.
    #[error("{place} is {}: expected direct, routed or both", Given(.value.as_deref()))]
    Mode {
        /// The flag or variable.
        place: &'static str,
        /// What it holds.
        value: Option<String>,
    },
    /// The mode needs this and does not have it.
    #[error("{place} is missing: mode {mode} needs {expected}")]
    Missing {
        /// The flag or variable.
        place: &'static str,
        /// The mode.
        mode: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// The mode has no use for this.
    #[error("{place} is given, but mode {mode} {why}: leave it out, or use mode both")]
    Unused {
        /// The flag or variable.
        place: &'static str,
        /// The mode.
        mode: &'static str,
        /// Why it has none.
        why: &'static str,
    },
    /// No address, target or id.
    #[error("{place}: `{value}` is not {expected}")]
    Invalid {
        /// The flag or variable.
        place: &'static str,
        /// What it holds.
        value: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// The second tunnel to a gateway would take over from the first.
    #[error("{place}: {gateway} is given twice: give every gateway once")]
    Twice {
        /// The flag or variable.
        place: &'static str,
        /// The gateway.
        gateway: Target,
    },
}

impl fmt::Debug for ModeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A word in an error, or that there is none.
struct Given<'a>(Option<&'a str>);

impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "`{}`", value.escape_debug()),
            None => f.write_str("missing"),
        }
    }
}

const LISTEN: &str = "an IP address and a port, such as 127.0.0.1:50061";
const GATEWAY: &str = "the tunnel port of a gateway, http://HOST:PORT or unix:PATH";
const ID: &str = "an id: 1 to 128 of A-Z a-z 0-9 . _ : -";

/// Where the parts of a mode are given.
struct Places {
    mode: &'static str,
    listen: &'static str,
    gateway: &'static str,
    id: &'static str,
}

const FLAGS: Places = Places {
    mode: "--mode",
    listen: "--listen",
    gateway: "--gateway",
    id: "--id",
};

const VARIABLES: Places = Places {
    mode: "GRPCROUTER_MODE",
    listen: "GRPCROUTER_LISTEN",
    gateway: "GRPCROUTER_GATEWAY",
    id: "GRPCROUTER_ID",
};

impl Mode {
    /// The mode that flags give: `--mode direct|routed|both`, `--listen IP:PORT`, `--gateway URI` as often
    /// as there are gateways, `--id ID`.
    ///
    /// # Errors
    /// Where something is missing, malformed, or of no use in that mode. An id is never too much: it may
    /// have another use.
    pub fn parse(
        mode: &str,
        listen: Option<&str>,
        gateways: &[String],
        id: Option<&str>,
    ) -> Result<Self, ModeError> {
        let gateways = gateways.iter().map(String::as_str).collect();
        FLAGS.mode(Some(mode), listen, gateways, id)
    }

    /// The mode that the environment gives: `GRPCROUTER_MODE`, `GRPCROUTER_LISTEN`, `GRPCROUTER_GATEWAY`
    /// with a comma between gateways, `GRPCROUTER_ID`. An empty variable is as good as none.
    ///
    /// # Errors
    /// As [`Mode::parse`]; text that is not UTF-8 is malformed.
    pub fn from_env() -> Result<Self, ModeError> {
        Self::from_variables(|name| {
            let value = std::env::var_os(name)?;
            Some(value.to_string_lossy().into_owned())
        })
    }

    /// As [`Mode::from_env`], with variables from elsewhere.
    ///
    /// # Errors
    /// As [`Mode::parse`].
    pub fn from_variables(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, ModeError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let gateways = set(VARIABLES.gateway).unwrap_or_default();
        let gateways = match gateways.is_empty() {
            true => Vec::new(),
            false => gateways.split(',').map(str::trim).collect(),
        };
        let [mode, listen, id] = [VARIABLES.mode, VARIABLES.listen, VARIABLES.id].map(set);
        VARIABLES.mode(mode.as_deref(), listen.as_deref(), gateways, id.as_deref())
    }

    /// Where it is to listen, if anywhere.
    pub fn listen(&self) -> Option<SocketAddr> {
        match self {
            Self::Direct { listen } | Self::Both { listen, .. } => Some(*listen),
            Self::Routed { .. } => None,
        }
    }

    /// The gateways to dial and the id to register there, if any.
    pub fn registration(&self) -> Option<(&[Target], &str)> {
        match self {
            Self::Routed { gateways, id } | Self::Both { gateways, id, .. } => Some((gateways, id)),
            Self::Direct { .. } => None,
        }
    }
}

/// `direct`, `routed` or `both`.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct { .. } => "direct",
            Self::Routed { .. } => "routed",
            Self::Both { .. } => "both",
        })
    }
}

impl Places {
    fn mode(
        &self,
        mode: Option<&str>,
        listen: Option<&str>,
        gateways: Vec<&str>,
        id: Option<&str>,
    ) -> Result<Mode, ModeError> {
        match mode {
            Some("direct") if !gateways.is_empty() => Err(ModeError::Unused {
                place: self.gateway,
                mode: "direct",
                why: "dials no gateway",
            }),
            Some("direct") => {
                let listen = self.listen("direct", listen)?;
                Ok(Mode::Direct { listen })
            }
            Some("routed") if listen.is_some() => Err(ModeError::Unused {
                place: self.listen,
                mode: "routed",
                why: "opens no socket",
            }),
            Some("routed") => {
                let gateways = self.gateways("routed", gateways)?;
                let id = self.id("routed", id)?;
                Ok(Mode::Routed { gateways, id })
            }
            Some("both") => {
                let listen = self.listen("both", listen)?;
                let gateways = self.gateways("both", gateways)?;
                let id = self.id("both", id)?;
                Ok(Mode::Both {
                    listen,
                    gateways,
                    id,
                })
            }
            other => Err(ModeError::Mode {
                place: self.mode,
                value: other.map(str::to_owned),
            }),
        }
    }

    fn listen(&self, mode: &'static str, listen: Option<&str>) -> Result<SocketAddr, ModeError> {
        let place = self.listen;
        parsed(place, needed(place, mode, LISTEN, listen)?, LISTEN)
    }

    fn gateways(&self, mode: &'static str, given: Vec<&str>) -> Result<Vec<Target>, ModeError> {
        let place = self.gateway;
        needed(place, mode, GATEWAY, given.first().copied())?;
        let mut gateways = Vec::with_capacity(given.len());
        for gateway in given {
            let gateway: Target = parsed(place, gateway, GATEWAY)?;
            if gateways.contains(&gateway) {
                return Err(ModeError::Twice { place, gateway });
            }
            gateways.push(gateway);
        }
        Ok(gateways)
    }

    fn id(&self, mode: &'static str, id: Option<&str>) -> Result<String, ModeError> {
        let id = needed(self.id, mode, ID, id)?;
        match InstanceId::is_valid(id) {
            true => Ok(id.to_owned()),
            false => Err(invalid(self.id, id, ID)),
        }
    }
}

fn needed<'a>(
    place: &'static str,
    mode: &'static str,
    expected: &'static str,
    value: Option<&'a str>,
) -> Result<&'a str, ModeError> {
    value.ok_or(ModeError::Missing {
        place,
        mode,
        expected,
    })
}

fn parsed<T: FromStr>(
    place: &'static str,
    value: &str,
    expected: &'static str,
) -> Result<T, ModeError> {
    value.parse().map_err(|_| invalid(place, value, expected))
}

fn invalid(place: &'static str, value: &str, expected: &'static str) -> ModeError {
    let value = value.escape_debug().to_string();
    ModeError::Invalid {
        place,
        value,
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_returns_the_error_prints_its_line() {
        let main = || -> Result<(), Box<dyn std::error::Error>> {
            Mode::from_variables(|_| None)?;
            Ok(())
        };
        let printed = format!("Error: {:?}", main().expect_err("nothing is set"));
        assert_eq!(
            printed,
            "Error: GRPCROUTER_MODE is missing: expected direct, routed or both"
        );
    }
}
