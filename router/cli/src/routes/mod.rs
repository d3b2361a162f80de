//! How calls are routed by key, with no generated code: a file, and lines on the command line.
//!
//! Both become [`Spec`]s, which one place checks and turns into routes.

mod file;
mod line;
mod spec;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use grpcrouter::routing::{Routes, ServiceRoutes};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::{error, info};

use line::RouteLine;
use spec::Services;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Routing by a key")]
pub(crate) struct RouteArgs {
    /// Routes of services and methods, as TOML (see README, Routing by a key). Read again on SIGHUP; a
    /// file with a mistake, or with no route, is refused whole, and the routes stay as they are. Without a
    /// file SIGHUP does nothing.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A route: SERVICE[/METHOD]=WHAT,... where WHAT is one of metadata:NAME, header:NAME, path:/PREFIX,
    /// service, method, field:NUMBER[:TYPE], pinned, consistent-hash, round-robin, least-loaded, reject,
    /// idempotent. Stronger than the file's; repeatable.
    #[arg(long = "route", value_name = "ROUTE", value_parser = line::parse)]
    routes: Vec<RouteLine>,
}

impl RouteArgs {
    /// All routes, or one line that says what is wrong and where.
    pub(crate) fn load(&self) -> Result<Routes, String> {
        let file = self.config.as_deref().map(file::read).transpose()?;
        self.routes(file.unwrap_or_default())
    }

    /// All routes once more. That the file has none left is no wish but a file that is being written.
    fn load_again(&self, path: &Path) -> Result<Routes, String> {
        let services = file::read(path)?;
        if services.0.is_empty() {
            return Err(format!(
                "{}: names no service: write a new file beside it and rename that over it, or start without \
                 --config to have no routes",
                path.display()
            ));
        }
        self.routes(services)
    }

    /// Those of a file, with the lines over them.
    fn routes(&self, mut services: Services) -> Result<Routes, String> {
        for line in &self.routes {
            line.add_to(&mut services);
        }
        services.into_routes()
    }

    /// Hands out the routes anew at each SIGHUP, for as long as the gateway runs. Without a file there is
    /// nothing to read again.
    pub(crate) fn reload(self, set: impl Fn(Routes) + Send + 'static) -> std::io::Result<()> {
        let Some(path) = self.config.clone() else {
            return crate::nothing_to_reload();
        };
        let lines = Arc::new(self);
        let mut hangups: Signal = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                let (lines, file) = (lines.clone(), path.clone());
                // A slow disk holds up no call.
                let loaded = spawn_blocking(move || lines.load_again(&file)).await;
                match loaded.unwrap_or_else(|panic| Err(panic.to_string())) {
                    Ok(routes) => {
                        let (path, services) = (path.display(), names(&routes));
                        // Said once it is true.
                        set(routes);
                        info!(services, "routes reloaded from {path}");
                    }
                    Err(line) => error!("routes stay as they are: {line}"),
                }
            }
        });
        Ok(())
    }
}

/// The services that have routes, for the log.
pub(crate) fn names(routes: &Routes) -> String {
    let names: Vec<_> = routes.services().map(ServiceRoutes::name).collect();
    names.join(",")
}
