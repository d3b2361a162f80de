//! What is wrong with .proto files, or with writing what was made of them.

use std::fmt;
use std::path::Path;

/// Why nothing was generated: one line for each thing to mend, as
/// `carts.proto:12: pkg.Carts/Watch: what is wrong; what was expected`.
///
/// `Debug` prints the same, so that a build script whose `main` returns it reads well.
#[derive(thiserror::Error)]
#[error("{}", lines.join("\n"))]
pub struct Error {
    lines: Vec<String>,
}

impl Error {
    /// One thing that is wrong.
    pub(crate) fn new(line: impl fmt::Display) -> Self {
        Self {
            lines: vec![line.to_string()],
        }
    }

    pub(crate) fn io(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(format_args!("{doing} {}: {error}", path.display()))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Everything that is wrong, in the order in which it was found; nothing twice.
#[derive(Default)]
pub(crate) struct Faults {
    lines: Vec<String>,
}

impl Faults {
    pub(crate) fn add(&mut self, line: String) {
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(crate) fn into_result(self) -> Result<(), Error> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Error { lines: self.lines })
        }
    }
}
