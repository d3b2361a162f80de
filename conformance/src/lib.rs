//! Checks gateways and instances of the tunnel protocol, whoever wrote them.
//!
//! A map of the code:
//!
//! - [`catalogue`] is every case by id, [`known`] what an implementation is known to fail.
//! - [`link`] is the suite's own TCP hop: every fault of a network on loopback.
//!
//! It shares no code with the implementations that it judges but the messages of the `.proto` files.

pub mod catalogue;
pub mod glob;
pub mod known;
pub mod link;
