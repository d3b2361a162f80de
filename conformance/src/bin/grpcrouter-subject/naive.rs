//! The suite's own gateway, which has no limits: the control for cases about them.

use grpcrouter_conformance::pb::{SubjectReply, SubjectRequest};
use grpcrouter_conformance::tunnel::gateway::{NaiveGateway, Settings};
use grpcrouter_conformance::tunnel::limits;

use crate::life::End;
use crate::{NaiveArgs, Refused, reply};

/// Fields that it has, or says it has: it waits for slow peers however long, and must fail cases about them.
const HONOURED: [&str; 5] = [
    "call_window",
    "call_window_max",
    "heartbeat_ms",
    "preface_timeout_ms",
    "handshake_timeout_ms",
];

/// Runs it until it is to end: the exit code.
pub(crate) async fn run(
    request: SubjectRequest,
    mut end: End,
    args: NaiveArgs,
) -> Result<i32, Refused> {
    let asked = request.settings.unwrap_or_default();
    let mut settings = Settings {
        careless: args.careless,
        ..Settings::default()
    };
    let set = |own: &mut u32, asked: u32| {
        if asked > 0 {
            *own = asked;
        }
    };
    set(&mut settings.call_window, asked.call_window);
    set(&mut settings.heartbeat_ms, asked.heartbeat_ms);
    let bound = settings.bound(limits::CALL_WINDOW);
    let gateway = NaiveGateway::start(settings).await;
    let gateway = gateway.map_err(|error| format!("{error:#}"))?;
    reply(SubjectReply {
        client_addr: gateway.client_addr.to_string(),
        tunnel_addr: gateway.tunnel_addr.to_string(),
        bound_bytes: bound.request.max(bound.response),
        name: "the suite's own gateway".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        honoured: HONOURED.map(str::to_owned).to_vec(),
        ..SubjectReply::default()
    })
    .await;
    end.asked().await;
    Ok(0)
}
