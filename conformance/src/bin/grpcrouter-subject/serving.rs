//! What all hosts of the probe share: the probe with its side channel, and how it ends.

use std::future::Future;
use std::net::SocketAddr;

use grpcrouter_conformance::pb::{SubjectInstance, SubjectReply};
use grpcrouter_conformance::probe::side::instance::{Channel, connect};
use grpcrouter_conformance::probe::{Lie, Probe};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::life::{CUT_OFF, End};
use crate::{ProbeArgs, Refused, reply, settings};

/// The stream window of tonic's server, in bytes: HTTP/2's default.
const WINDOW: u32 = 65_535;
/// What the server's application may hold beside it: a DATA frame that the probe has cut a message out of.
const FRAME: u32 = 16 * 1024;
/// Its connection window, wide enough for any number of stalled calls. It also sets how many small frames may wait.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// What tonic's server may hold of a request that the probe does not read, in bytes.
pub(crate) const HELD_BY_TONIC: u64 = (WINDOW + FRAME) as u64;

/// The probe of this instance, and its side channel.
pub(crate) async fn probe(
    asked: &SubjectInstance,
    args: ProbeArgs,
) -> Result<(Probe, Channel), Refused> {
    let side: SocketAddr = asked
        .side
        .parse()
        .map_err(|error| format!("the side channel's address {:?}: {error}", asked.side))?;
    let connected = connect(side, &asked.id).await;
    let (reporter, channel) =
        connected.map_err(|error| format!("cannot reach the side channel at {side}: {error}"))?;
    let probe = Probe::new(reporter);
    let probe = if args.lie {
        probe.lying(Lie::Unread)
    } else {
        probe
    };
    Ok((probe, channel))
}

/// A server of tonic's that hosts it, on a free port, until it is told to finish.
pub(crate) fn serve(
    probe: Probe,
    finish: impl Future<Output = ()> + Send + 'static,
) -> Result<
    (
        SocketAddr,
        impl Future<Output = Result<(), tonic::transport::Error>>,
    ),
    Refused,
> {
    let bound = TcpIncoming::bind(([127, 0, 0, 1], 0).into());
    let incoming = bound.map_err(|error| format!("cannot listen: {error}"))?;
    let addr = incoming.local_addr().map_err(|error| error.to_string())?;
    let serving = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(64 * 1024)
        .add_service(probe)
        .serve_with_incoming_shutdown(incoming.with_nodelay(Some(true)), finish);
    Ok((addr, serving))
}

/// What an instance says of itself.
pub(crate) fn of_instance(name: &str, bound_bytes: u64) -> SubjectReply {
    SubjectReply {
        bound_bytes,
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        honoured: settings::OF_INSTANCE
            .iter()
            .map(ToString::to_string)
            .collect(),
        ..SubjectReply::default()
    }
}

/// Runs until the work ends, which draining makes it do: the exit code, which the side channel is told.
pub(crate) async fn until_drained(
    ready: SubjectReply,
    work: impl Future<Output = i32>,
    drain: impl FnOnce(),
    mut channel: Channel,
    mut end: End,
) -> i32 {
    tokio::pin!(work);
    reply(ready).await;
    let done = tokio::select! {
        biased;
        code = &mut work => Some(code),
        () = end.asked() => None,
        asked = channel.asked_to_drain() => match asked {
            Ok(()) => None,
            Err(over) => return without_channel(&over),
        },
    };
    let code = match done {
        Some(code) => code,
        None => {
            channel.draining();
            drain();
            tokio::select! {
                biased;
                code = &mut work => code,
                () = end.forced() => CUT_OFF,
                over = channel.over() => return without_channel(&over),
            }
        }
    };
    channel.end(code).await;
    code
}

/// The end of the side channel is the end of the process.
fn without_channel(over: &str) -> i32 {
    eprintln!("error: the side channel ended: {over}");
    1
}
