//! The suite's own roles against each other, and against the product's: a role that is wrong would make every
//! verdict worthless.

mod echo;
mod flow;
mod kinds;
mod lives;
mod scripted;
mod worlds;
