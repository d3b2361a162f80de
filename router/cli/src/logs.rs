//! Logs: to stderr, through tracing.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Where and how to log.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// What to log: off, error, warn, info, debug, trace, or a tracing filter such as
    /// `info,grpcrouter=debug`.
    #[arg(long, global = true, value_name = "FILTER", default_value = "info")]
    log: String,
    /// How to log.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; fails with a line for people.
pub(crate) fn init(args: &LogArgs) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(&args.log).map_err(|error| format!("--log `{}`: {error}", args.log))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
