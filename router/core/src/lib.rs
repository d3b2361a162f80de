//! core

pub mod frame;
pub mod metadata;
pub mod percent;
pub mod registry;
pub mod timeout;
