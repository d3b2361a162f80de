//! Streams that are open and idle: what they cost is read off the processes that hold them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::service::payload;

use super::Settings;
use super::workload::SMALL;

/// How long one stream may take to answer its first message.
const FIRST: Duration = Duration::from_secs(10);

/// Opens so many streams over so many connections, and has one message go to and fro on each; what is given keeps
/// them open.
///
/// # Errors
/// One of them did not come to be, and why.
pub async fn hold(
    settings: &Settings,
    streams: usize,
    connections: usize,
) -> Result<impl Sized + use<>> {
    let clients = settings.connect(connections).await?;
    let mut held = Vec::with_capacity(streams);
    for client in clients.iter().cycle().take(streams) {
        let mut client = client.clone();
        let (send, receive) = mpsc::channel(1);
        send.send(payload(SMALL)).await?;
        let request = client.request(ReceiverStream::new(receive));
        let opened = async {
            let mut answers = client.stub.bidi(request).await?.into_inner();
            let answer = answers.message().await?;
            Ok::<_, tonic::Status>((answers, answer))
        };
        let opened = timeout(FIRST, opened).await;
        let number = held.len() + 1;
        let opened = opened.with_context(|| format!("stream {number} does not answer"))?;
        let (answers, answer) = opened.with_context(|| format!("stream {number}"))?;
        let len = answer.map(|answer| answer.data.len());
        ensure!(
            len == Some(SMALL),
            "stream {number} answered with {len:?} bytes"
        );
        held.push((send, answers));
    }
    Ok(held)
}
