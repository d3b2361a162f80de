//! tonic's server without a tunnel: what routed calls are compared with.

use std::time::Duration;

use grpcrouter_conformance::pb::{SubjectReply, SubjectRequest};
use tokio::sync::watch;

use crate::life::{CUT_OFF, End};
use crate::{ProbeArgs, Refused, serving};

/// How long running calls may take to finish, where nothing is asked for: as the gateway's.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs it until it is to end, then lets its calls finish: the exit code.
pub(crate) async fn run(
    request: SubjectRequest,
    end: End,
    args: ProbeArgs,
) -> Result<i32, Refused> {
    let asked = request.instance.unwrap_or_default();
    let (probe, channel) = serving::probe(&asked, args).await?;
    let asked_ms = request.settings.unwrap_or_default().drain_timeout_ms;
    let limit = match asked_ms {
        0 => DRAIN_TIMEOUT,
        ms => Duration::from_millis(ms.into()),
    };
    let drain = watch::Sender::new(false);
    let (addr, server) = serving::serve(probe, raised(drain.subscribe()))?;
    let drained_for = raised(drain.subscribe());
    let work = async {
        tokio::select! {
            biased;
            served = server => match served {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("error: {error}");
                    1
                }
            },
            () = async {
                drained_for.await;
                tokio::time::sleep(limit).await;
            } => CUT_OFF,
        }
    };
    let ready = SubjectReply {
        client_addr: addr.to_string(),
        honoured: ["id", "side", "drain_timeout_ms"].map(str::to_owned).into(),
        ..serving::of_instance("tonic server", serving::HELD_BY_TONIC)
    };
    Ok(serving::until_drained(
        ready,
        work,
        || {
            let _ = drain.send(true);
        },
        channel,
        end,
    )
    .await)
}

/// Waits for the drain to begin.
async fn raised(mut drain: watch::Receiver<bool>) {
    let _ = drain.wait_for(|drain| *drain).await;
}
