//! core

pub mod registry;
