//! Cases over networks that are really cut: gateway, instances and client each in a container of its own.
//!
//! A map of the code:
//!
//! - [`daemon`] is whether there is a Docker daemon, and what every test shares of it; [`image`] and [`network`] are
//!   what is made there, and gone with the last test that needs it.
//! - [`world`] is one test's gateway, instances and client, [`patience`] how much silence they bear, [`links`] what is cut
//!   between them, and [`calls`] what goes over it.
//! - [`heals`] and [`lasts`] are partitions shorter and longer than the limit, [`frozen`] processes that are
//!   paused, [`deadline`], [`restart`] and [`flaps`] what their names say, and [`control`] shows that the cases
//!   can fail.
//!
//! Where no daemon answers nothing is run, and the reason is printed; `cargo xtask containers`, which is a step of
//! `cargo xtask ci`, makes that a failure where `docker info` answers.

mod calls;
mod control;
mod daemon;
mod deadline;
mod flaps;
mod frozen;
mod heals;
mod image;
mod lasts;
mod links;
mod network;
mod patience;
mod restart;
mod world;
