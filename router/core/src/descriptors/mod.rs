//! Descriptors that instances hand over, so that their gateway can answer server reflection.
//!
//! - `announced`: what an instance says of its set before it is asked for it
//! - [`Set`]: a set that came, and where in it what is described
//! - [`Library`]: the sets of live instances, each held once; `queue`: which is to be asked for next
//!
//! The hand-over itself is a tunnel's: [`Tunnel`](crate::Tunnel).

mod announced;
mod index;
mod library;
mod queue;
mod set;

pub use announced::{Announced, Hash};
pub use library::{DescriptorLimits, Found, Library};
pub use set::{BadSet, Set};

#[cfg(test)]
mod sharing;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
