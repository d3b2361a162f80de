//! Subjects: the implementations under test, as `proto/subject.proto` specifies them.
//!
//! [`Subject`] is what the command line said of one; starting it gives a [`Running`] process, or the addresses of
//! one that runs already.

mod process;
mod start;
pub mod wire;

pub use process::Running;
pub use start::{StartError, Subject};
