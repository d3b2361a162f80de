//! The tunnel protocol of grpcrouter without I/O: no sockets, no clock, no tasks, no locks.
//!
//! Frames, the time and random numbers go in; encoded bytes, events and the next timeout come out. A map
//! of the code, in the order in which a call meets it:
//!
//! - [`routing`]: where a call's routing key stands. [`registry`]: who is registered, and which instance
//!   gets the next call.
//! - [`descriptors`]: what instances hand over for reflection.
//! - [`frame`]: the messages of a tunnel and their bytes; [`metadata`] says what of a header list travels.
//! - [`call`]: the two halves of one call. [`table`]: many of something, under keys that never come twice.
//! - [`window`]: credit. [`buffer`]: bytes that wait for it.
//! - [`tunnel`]: everything together, with the order in which to drive it.
//! - [`config`]: every limit. [`error`]: every fault, by who is to blame and what it ends.

pub mod buffer;
pub mod call;
pub mod config;
pub mod descriptors;
pub mod error;
pub mod frame;
pub mod message;
pub mod metadata;
pub mod percent;
pub mod registry;
pub mod routing;
#[doc(hidden)]
pub mod sabotage;
pub mod table;
pub mod time;
pub mod timeout;
pub mod tunnel;
pub mod window;

pub use call::Received;
pub use config::Config;
pub use error::{CallFault, OpenError, TunnelError};
pub use table::Key;
pub use time::Time;
pub use tunnel::{Gateway, Instance, Tunnel};
