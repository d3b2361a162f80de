//! The image of all containers: this project's binaries with the libraries that they load, and nothing else.
//!
//! It is built from files of this machine. Nothing is pulled.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};

use anyhow::{Context, Result, ensure};
use testcontainers::bollard::query_parameters::RemoveImageOptions;
use testcontainers::runners::AsyncBuilder;
use testcontainers::{GenericBuildableImage, GenericImage};
use tokio::sync::Mutex;

use crate::daemon::{LABEL, docker, run_name, undo, unique};

const TAG: &str = "latest";
/// Only what no container uses.
const FORCE: Option<RemoveImageOptions> = None;

/// The image. It is gone with its last user.
pub(crate) struct BuiltImage {
    name: String,
}

/// The image, built by the first test that needs it.
pub(crate) async fn shared() -> Result<Arc<BuiltImage>> {
    static SHARED: Mutex<Weak<BuiltImage>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(image) = shared.upgrade() {
        return Ok(image);
    }
    let image = Arc::new(BuiltImage::build().await?);
    *shared = Arc::downgrade(&image);
    Ok(image)
}

impl BuiltImage {
    async fn build() -> Result<Self> {
        let subject = PathBuf::from(env!("CARGO_BIN_EXE_grpcrouter-subject"));
        // It belongs to another package, of which cargo says nothing here.
        let router = subject.with_file_name("grpcrouter");
        ensure!(
            router.exists(),
            "no {}: cargo build -p grpcrouter-cli",
            router.display()
        );
        let image = Self {
            name: unique("image"),
        };
        let label = format!("LABEL {LABEL}={}", run_name());
        let dockerfile = format!("FROM scratch\nCOPY root /\n{label}\n");
        let mut build =
            GenericBuildableImage::new(&image.name, TAG).with_dockerfile_string(dockerfile);
        let mut libraries = libraries(&subject)?;
        libraries.extend(libraries_of_both(&libraries, &router)?);
        for library in libraries {
            let file = library.canonicalize()?;
            build = build.with_file(file, format!("root{}", library.display()));
        }
        for binary in [subject, router] {
            let name = binary.file_name().context("a binary's name")?;
            let target = format!("root/{}", name.to_string_lossy());
            build = build.with_file(binary, target);
        }
        let built = build.build_image().await;
        built.context("the image").map(drop)?;
        Ok(image)
    }

    /// For a container.
    pub(crate) fn container(&self) -> GenericImage {
        GenericImage::new(self.name.as_str(), TAG)
    }
}

impl Drop for BuiltImage {
    fn drop(&mut self) {
        let image = format!("{}:{TAG}", self.name);
        undo(&image, async {
            let docker = docker().await?;
            docker.remove_image(&image, FORCE, None).await?;
            Ok(())
        });
    }
}

fn libraries_of_both(known: &[PathBuf], binary: &Path) -> Result<Vec<PathBuf>> {
    let own = libraries(binary)?;
    Ok(own.into_iter().filter(|it| !known.contains(it)).collect())
}

/// What a binary loads, the loader itself among it; nothing where it is static.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(binary).output().context("ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `name => /path (0x..)`, and `/path (0x..)` for the loader. What the kernel maps has no path.
    let paths = text.lines().filter_map(|line| {
        let word = line.split_whitespace().find(|word| word.starts_with('/'))?;
        Some(PathBuf::from(word))
    });
    Ok(paths.filter(|path| path != binary).collect())
}
