//! What every case needs: a gateway, an instance with a scripted handler, a client that sees frames.

pub(crate) mod arms;
pub(crate) mod client;
pub(crate) mod endpoint;
pub(crate) mod far;
pub(crate) mod fault;
pub(crate) mod frames;
pub(crate) mod handler;
pub(crate) mod keyed;
pub(crate) mod log;
pub(crate) mod mortal;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod reports;
pub(crate) mod scripted;
pub(crate) mod server;
pub(crate) mod source;
pub(crate) mod wire;
pub(crate) mod world;

use std::future::Future;
use std::time::Duration;

/// The most that any single event may take. Generous: it is only ever used up by a failure.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Waits for an event, and fails with its name when it does not come.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} in vain: {what}"),
    }
}

/// Looks again and again until something holds, such as a gauge's return to zero.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while !holds() {
            looks.tick().await;
        }
    })
    .await;
}

/// A message as it stands on the wire: flag, length, bytes.
pub(crate) fn framed(message: &[u8]) -> bytes::Bytes {
    let mut framed = Vec::with_capacity(message.len() + 5);
    framed.push(0);
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    framed.into()
}

/// Cuts a byte stream into messages again.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    bytes: bytes::BytesMut,
}

impl Messages {
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// The next whole message: its flag and its bytes.
    pub(crate) fn next(&mut self) -> Option<(u8, bytes::Bytes)> {
        let length = self.bytes.get(1..5)?;
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        if self.bytes.len() < 5 + length {
            return None;
        }
        let mut message = self.bytes.split_to(5 + length).freeze();
        let flag = message[0];
        Some((flag, message.split_off(5)))
    }

    /// Bytes of a message that is not whole.
    pub(crate) fn rest(&self) -> usize {
        self.bytes.len()
    }
}
