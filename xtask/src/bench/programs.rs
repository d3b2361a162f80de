//! The programs that are measured and that measure, built as they are shipped.

use std::path::PathBuf;

use anyhow::Result;

use crate::shell;
use crate::workspace::Workspace;

/// Where they are.
pub(crate) struct Programs {
    /// The command line, `grpcrouter`.
    pub(crate) router: PathBuf,
    pub(crate) load: PathBuf,
    pub(crate) server: PathBuf,
    /// Does one thing so many times, for counting instructions.
    pub(crate) count: PathBuf,
}

impl Programs {
    /// In the profile `release`, with protoc out of reach as in every build here.
    pub(crate) fn build(workspace: &Workspace) -> Result<Self> {
        println!("building with --release (the first time takes some minutes)");
        let mut cargo = shell::cargo(&workspace.root, &workspace.target)?;
        let build = ["build", "--release", "--locked", "--bins"];
        let packages = ["-p", "grpcrouter-cli", "-p", "grpcrouter-bench"];
        shell::run(cargo.args(build).args(packages))?;
        let built = |name: &str| workspace.target.join("release").join(name);
        Ok(Self {
            router: built("grpcrouter"),
            load: built("grpcrouter-bench-load"),
            server: built("grpcrouter-bench-server"),
            count: built("grpcrouter-bench-count"),
        })
    }
}
