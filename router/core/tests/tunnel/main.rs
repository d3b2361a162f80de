//! Both ends of a tunnel, joined by a network in memory, in virtual time.
//!
//! `pair` is the harness; each other module tells conversations about one subject. `model` plays random
//! ones and compares them with what a few counters say must be true.

mod credit;
mod descriptors;
mod drain;
mod ends;
mod fuzz;
mod heartbeat;
mod hostile;
mod lanes;
mod late;
mod limits;
mod meters;
mod model;
mod pair;
mod tables;
mod turns;
