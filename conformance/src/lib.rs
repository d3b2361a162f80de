//! Checks gateways and instances of the tunnel protocol, whoever wrote them.
//!
//! A map of the code:
//!
//! - [`catalogue`] is every case by id, [`known`] what an implementation is known to fail.
//! - [`client`] plays clients, well-formed or hostile; [`framing`] and [`wait`] are what all roles share.
//! - [`tunnel`] plays instances and gateways.
//! - [`link`] is the suite's own TCP hop: every fault of a network on loopback.
//!
//! It shares no code with the implementations that it judges but the messages of the `.proto` files.

pub mod catalogue;
pub mod client;
pub mod framing;
pub mod glob;
pub mod known;
pub mod link;
pub mod tunnel;
pub mod wait;
