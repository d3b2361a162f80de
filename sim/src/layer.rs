//! The layers, by name.

use std::fmt;
use std::str::FromStr;

use crate::plan::{FaultKind, Options, Plan};
use crate::report::{Report, Watch};
use crate::{frame, net};

/// A layer: what runs a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The core alone, on frames.
    Frame,
    /// The real libraries, on turmoil.
    Net,
    /// As `Net`, on a network that loses packets and sends them again.
    Lossy,
}

/// Packets of a hundred that the lossy network loses.
const LOSS: u8 = 5;

impl Layer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Frame, Self::Net, Self::Lossy];

    /// Its name, as it is given on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Net => "net",
            Self::Lossy => "lossy",
        }
    }

    /// Draws a seed's plan and runs it; `only` leaves no other faults on.
    pub fn run(self, seed: u64, only: Option<&[FaultKind]>, watch: Watch) -> Report {
        match self {
            Self::Frame => frame::run(&Plan::draw(seed, Options::frame, only), watch),
            Self::Net => net::run(&Plan::draw(seed, Options::net, only), watch),
            Self::Lossy => net::run_lossy(&Plan::draw(seed, Options::net, only), watch, LOSS),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|layer| layer.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no layer `{text}`; layers are {names}")
        })
    }
}
