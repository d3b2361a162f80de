//! Checks gateways and instances of the tunnel protocol, whoever wrote them.
//!
//! A map of the code:
//!
//! - [`catalogue`] is every case by id, [`known`] what an implementation is known to fail.
//! - [`client`] plays clients, well-formed or hostile; [`framing`] and [`wait`] are what all roles share.
//! - [`tunnel`] plays instances and gateways.
//! - [`remote`] is a client in a process of its own, for networks on which the suite is not.
//! - [`link`] is the suite's own TCP hop: every fault of a network on loopback.
//! - [`probe`] is the measuring device, and the suite's end of its side channel.
//! - [`subject`] starts what is judged, [`rig`] and [`stage`] are what a case is given of it, [`case`](mod@case) and
//!   [`cases`] what it does, [`runner`] and [`report`] what comes of all.
//! - [`mutant`] breaks this project's own implementations, for the suite's own test.
//!
//! It shares no code with the implementations that it judges but the messages of the `.proto` files.

pub mod case;
pub mod cases;
pub mod catalogue;
pub mod client;
pub mod clock;
pub mod framing;
pub mod glob;
pub mod known;
pub mod link;
pub mod mutant;
pub mod probe;
pub mod remote;
pub mod report;
pub mod rig;
pub mod role;
pub mod runner;
pub mod stage;
pub mod subject;
pub mod tunnel;
pub mod verdict;
pub mod wait;

/// The messages of `proto/probe.proto` and `proto/subject.proto`, whose comments are their specification.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/grpcrouter.conformance.v1.rs"));
}
