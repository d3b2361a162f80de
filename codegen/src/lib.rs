#![doc = include_str!("../README.md")]

mod builder;
mod docs;
mod error;
mod field;
mod generate;
mod literal;
mod names;
mod options;
mod plan;
pub mod plugin;
mod refused;
mod render;
mod schema;

use std::path::Path;

pub use builder::Builder;
pub use error::Error;
pub use prost_build::Config;

/// Begins to say what is generated; [`Builder::compile_protos`] generates it.
pub fn configure() -> Builder {
    Builder::new()
}

/// Generates code for one file and what it imports from its own folder, into Cargo's `OUT_DIR`.
///
/// # Errors
/// Everything that is wrong with the file; see [`Error`].
pub fn compile_protos(proto: impl AsRef<Path>) -> Result<(), Error> {
    let proto = proto.as_ref();
    let folder = proto.parent().unwrap_or(Path::new(""));
    configure().compile_protos(&[proto], &[folder])
}
