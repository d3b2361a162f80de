//! The instance library, hosting the probe in its own process: no HTTP/2 between them.

use std::sync::Arc;

use grpcrouter::{Clock, Instance, TcpDialer};
use grpcrouter_conformance::pb::SubjectRequest;

use crate::life::End;
use crate::{ProbeArgs, Refused, serving, settings};

/// What the library gives to a handler at a time, in bytes: what it takes and has not asked for is in there.
const PIECE: u64 = 32 * 1024;

/// Before it dials again, for one that gives up: longer than any run.
const NEVER: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3_600);

/// Runs it until it is to end, then drains it: the exit code.
pub(crate) async fn run(
    request: SubjectRequest,
    end: End,
    args: ProbeArgs,
) -> Result<i32, Refused> {
    let asked = request.instance.unwrap_or_default();
    let mut config = settings::instance(&asked, &request.settings.unwrap_or_default())?;
    if args.gives_up {
        config.backoff.first = NEVER;
        config.backoff.cap = NEVER;
    }
    let (probe, channel) = serving::probe(&asked, args).await?;
    let (instance, handle) = Instance::new(config, probe, Arc::new(TcpDialer), Clock::start());
    let work = async {
        match instance.run().await {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("error: {error}");
                settings::exit_code(&error)
            }
        }
    };
    let ready = serving::of_instance("grpcrouter instance library", PIECE);
    Ok(serving::until_drained(ready, work, || handle.drain(), channel, end).await)
}
