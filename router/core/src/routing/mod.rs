//! Where a call's routing key stands, and what is done with it.
//!
//! - [`Route`]: how the calls of a method are routed. [`ServiceRoutes`]: those of a service.
//! - [`Routes`]: of all services; resolves the path of a request to a method and its route.
//! - [`field`]: a key out of the first bytes of a request.
//!
//! No generated code is needed to make these; generated routers are a typed way to write them. The
//! registry knows nothing of them: what comes out here is a [`Choice`](crate::registry::Choice).

pub mod field;
mod key;
mod path;
mod route;
mod service;
mod table;

pub use field::{Field, FieldKind};
pub use key::{KEY_MAX, RoutingKey};
pub use path::PathError;
pub use route::{Balance, InvalidRoute, KeySource, MessageKey, MissingKey, Route};
pub use service::{MethodRoute, ServiceRoutes};
pub use table::{Destination, Routes};
