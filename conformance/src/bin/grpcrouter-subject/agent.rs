//! The agent, in front of tonic's server on the loopback.

use std::sync::Arc;

use grpcrouter::{Agent, AgentConfig, AgentError, Clock, TcpDialer};
use grpcrouter_conformance::pb::SubjectRequest;

use crate::life::End;
use crate::{ProbeArgs, Refused, serving, settings};

/// What the agent's HTTP/2 keeps of a request until the server has window for it, in bytes.
const SEND_BUFFER: u64 = 64 * 1024;

/// Runs both until they are to end, then drains the agent: the exit code.
pub(crate) async fn run(
    request: SubjectRequest,
    end: End,
    args: ProbeArgs,
) -> Result<i32, Refused> {
    let asked = request.instance.unwrap_or_default();
    let instance = settings::instance(&asked, &request.settings.unwrap_or_default())?;
    let (probe, channel) = serving::probe(&asked, args).await?;
    let (addr, server) = serving::serve(probe, std::future::pending())?;
    tokio::spawn(server);
    let mut config = AgentConfig::new(&asked.id, settings::target(&addr.to_string())?);
    config.instance = instance;
    let agent = Agent::discover(config, Arc::new(TcpDialer), Clock::start()).await;
    let handle = agent.handle();
    let work = async {
        match agent.run().await {
            Ok(()) => 0,
            Err(AgentError::Instance(error)) => {
                eprintln!("error: {error}");
                settings::exit_code(&error)
            }
        }
    };
    let held = serving::HELD_BY_TONIC + SEND_BUFFER;
    let ready = serving::of_instance("grpcrouter agent, tonic server", held);
    Ok(serving::until_drained(ready, work, || handle.drain(), channel, end).await)
}
