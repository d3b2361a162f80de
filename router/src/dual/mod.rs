//! One implementation, served directly, through gateways, or both at once.

mod direct;
mod error;
mod mode;
mod service;
mod serving;

pub use error::ServeError;
pub use mode::{Mode, ModeError};
pub use service::ServiceInstance;
pub use serving::Serving;
