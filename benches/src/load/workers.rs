//! What calls: one worker for each call or stream at once, until the gate says that it is over.

use std::sync::Arc;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::pb::{Payload, StreamRequest};
use crate::service::payload;

use super::workload::{BULK, MESSAGES, SMALL};
use super::{Client, Gate, Tally, now};

/// Echoes of `size` bytes, one after the other.
pub(super) async fn unary(mut client: Client, gate: Arc<Gate>, size: usize) -> Result<Tally> {
    let mut tally = Tally::new()?;
    let sent = payload(size);
    while tally.goes_on(&gate) {
        let start = now();
        let request = client.request(sent.clone());
        match client.stub.unary(request).await {
            Ok(answer) if answer.get_ref().data.len() == size => {
                tally.ended(&gate, start, 1, 2 * size as u64);
            }
            Ok(answer) => tally.failed(length(answer.get_ref(), size)),
            Err(status) => tally.failed(status),
        }
    }
    Ok(tally)
}

/// Streams of 1,000 small messages from the server, one stream after the other.
pub(super) async fn server_stream(mut client: Client, gate: Arc<Gate>) -> Result<Tally> {
    let mut tally = Tally::new()?;
    while tally.goes_on(&gate) {
        let start = now();
        let request = client.request(StreamRequest {
            messages: MESSAGES,
            size: SMALL as u32,
        });
        let read = match client.stub.server_stream(request).await {
            Ok(answer) => read(answer.into_inner(), SMALL, &gate, &mut tally).await,
            Err(status) => Err(status.to_string()),
        };
        match read {
            Ok(count) if count == u64::from(MESSAGES) => tally.ended(&gate, start, 0, 0),
            // It was cut short because time was up.
            Ok(_) if gate.is_over() => {}
            Ok(count) => tally.failed(format!("{count} messages of {MESSAGES}")),
            Err(_) if gate.is_over() => {}
            Err(why) => tally.failed(why),
        }
    }
    Ok(tally)
}

/// A stream of bulk messages without end, read as fast as it comes.
pub(super) async fn bulk(mut client: Client, gate: Arc<Gate>) -> Result<Tally> {
    let mut tally = Tally::new()?;
    let request = client.request(StreamRequest {
        messages: 0,
        size: BULK,
    });
    match client.stub.server_stream(request).await {
        Ok(answer) => {
            let read = read(answer.into_inner(), BULK as usize, &gate, &mut tally).await;
            match read {
                Ok(_) if gate.is_over() => {}
                Ok(count) => tally.failed(format!("the bulk stream ended after {count}")),
                Err(why) => tally.failed(why),
            }
        }
        Err(status) => tally.failed(status),
    }
    Ok(tally)
}

/// Reads to the end, or until it is over: how many messages there were.
async fn read(
    mut stream: Streaming<Payload>,
    size: usize,
    gate: &Gate,
    tally: &mut Tally,
) -> Result<u64, String> {
    let mut count = 0;
    loop {
        match stream.message().await {
            Ok(Some(message)) if message.data.len() == size => {
                count += 1;
                tally.moved(gate, 1, size as u64);
            }
            Ok(Some(message)) => return Err(length(&message, size)),
            Ok(None) => return Ok(count),
            Err(status) => return Err(status.to_string()),
        }
        if gate.is_over() {
            return Ok(count);
        }
    }
}

/// Streams of 1,000 small messages to the server, one stream after the other.
pub(super) async fn client_stream(mut client: Client, gate: Arc<Gate>) -> Result<Tally> {
    let mut tally = Tally::new()?;
    let message = payload(SMALL);
    let bytes = u64::from(MESSAGES) * SMALL as u64;
    while tally.goes_on(&gate) {
        let start = now();
        let messages = std::iter::repeat_n(message.clone(), MESSAGES as usize);
        let request = client.request(tokio_stream::iter(messages));
        match client.stub.client_stream(request).await {
            Ok(answer) => {
                let count = answer.into_inner();
                if count.messages == u64::from(MESSAGES) && count.bytes == bytes {
                    tally.ended(&gate, start, count.messages, bytes);
                } else {
                    tally.failed(format!("the server counted {count:?}"));
                }
            }
            Err(status) => tally.failed(status),
        }
    }
    Ok(tally)
}

/// One stream on which a small message goes to and fro.
pub(super) async fn bidi(mut client: Client, gate: Arc<Gate>) -> Result<Tally> {
    let mut tally = Tally::new()?;
    let message = payload(SMALL);
    let (send, receive) = mpsc::channel(1);
    let request = client.request(ReceiverStream::new(receive));
    // The first message goes before the head comes: some proxies wait for it.
    let first = send.send(message.clone()).await;
    let mut answers = match client.stub.bidi(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            tally.failed(status);
            return Ok(tally);
        }
    };
    let mut start = now();
    let mut sent = first.is_ok();
    while sent && tally.goes_on(&gate) {
        match answers.message().await {
            Ok(Some(answer)) if answer.data.len() == SMALL => {
                tally.ended(&gate, start, 1, 2 * SMALL as u64);
            }
            Ok(Some(answer)) => tally.failed(length(&answer, SMALL)),
            Ok(None) => {
                tally.failed("the stream ended");
                return Ok(tally);
            }
            Err(status) => {
                tally.failed(status);
                return Ok(tally);
            }
        }
        start = now();
        sent = send.send(message.clone()).await.is_ok();
    }
    // Half close, and the rest is the last answer and the end.
    drop(send);
    let mut left = 0;
    loop {
        match answers.message().await {
            Ok(Some(_)) => left += 1,
            Ok(None) if left == 1 => return Ok(tally),
            Ok(None) => tally.failed(format!("{left} answers to the last message")),
            Err(status) => tally.failed(status),
        }
        if tally.errors > 0 {
            return Ok(tally);
        }
    }
}

fn length(answer: &Payload, expected: usize) -> String {
    let len = answer.data.len();
    format!("an answer of {len} bytes instead of {expected}")
}
