//! One call of the client's: what it sends, what it reads, and how it ends.

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::mpsc;

use super::{End, Open, Report};
use crate::client::{Call, Client, Reading, Sending, text};
use crate::probe;
use crate::probe::payload::{framed_message, message};
use crate::probe::side::Amount;

/// Where reports go.
pub(super) type Reports = mpsc::Sender<Report>;

/// Makes the call, and reports all of it but its end.
///
/// # Errors
/// Where it ends in no way that a call may, or its connection is lost.
pub(super) async fn run(client: &Client, open: &Open, reports: &Reports) -> Result<End> {
    let mut call = Call::new(probe::path(&open.method))
        .header(probe::CALL, &open.call)
        .header(probe::SCRIPT, &open.script);
    if let Some(instance) = &open.instance {
        call = call.instance(instance);
    }
    if let Some(ms) = open.timeout_ms {
        call = call.timeout(std::time::Duration::from_millis(ms));
    }
    let exchange = client.open(call.build()?, false).await?;
    let (mut sending, mut reading) = (exchange.sending, exchange.reading);
    // Its end is what the reader sees; a sender that is stuck then is dropped.
    tokio::select! {
        biased;
        end = read(&mut reading, open, reports) => end,
        never = send(&mut sending, open, reports) => match never {},
    }
}

/// Sends as it gets window, for as long as it may.
async fn send(sending: &mut Sending, open: &Open, reports: &Reports) -> std::convert::Infallible {
    // A stream that is over says why to its reader.
    if all(sending, open, reports).await.is_ok() {
        sending.half_close();
    }
    std::future::pending().await
}

async fn all(sending: &mut Sending, open: &Open, reports: &Reports) -> Result<()> {
    for n in 0..open.messages {
        let mut data = framed_message(n, open.size as usize);
        while !data.is_empty() {
            sending.room(data.len()).await?;
            let sent = sending.send_now(&data).await?;
            let _ = data.split_to(sent);
            let bytes = sending.sent();
            let call = open.call.clone();
            reports.send(Report::Sent { call, bytes }).await?;
        }
    }
    Ok(())
}

/// Reads to the end.
async fn read(reading: &mut Reading, open: &Open, reports: &Reports) -> Result<End> {
    let head = reading.head().await?;
    let http = head.status;
    ensure!(http == 200, "HTTP status {http}");
    if head.ended {
        return status(&head.headers);
    }
    let mut amount = Amount::default();
    while let Some(received) = reading.message().await? {
        let bytes = received.bytes;
        let n = amount.messages as u32;
        if bytes != message(n, bytes.len()) {
            bail!("message {n} is not the one that was sent");
        }
        amount = Amount::new(amount.messages + 1, amount.bytes + bytes.len() as u64);
        let call = open.call.clone();
        reports.send(Report::Received { call, amount }).await?;
    }
    status(&reading.trailers().await?)
}

fn status(trailers: &http::HeaderMap) -> Result<End> {
    let code = text(trailers, "grpc-status");
    let code = code
        .parse()
        .with_context(|| format!("grpc-status {code:?}"))?;
    let reason = text(trailers, "grpcrouter-reason").to_owned();
    Ok(End::Status { code, reason })
}
