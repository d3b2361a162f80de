//! A client in a process of its own, for networks on which the suite itself is not: the suite says which calls it
//! makes, and it reports what its edge of each call sees.
//!
//! Both speak over one TCP connection, which the client dials. Each message is one line of JSON. The first is the
//! client's `hello`.
//!
//! - [`obey`] is the client's end, [`command`] the suite's.

pub mod command;
mod exchange;
pub mod obey;

use anyhow::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;

use crate::probe::side::Amount;

/// The longest line, in bytes: a script is the longest part of one, and those of cases are short.
const LINE_MAX: u64 = 1 << 16;

/// One end's lines, as the other reads them.
struct Lines {
    from: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
}

impl Lines {
    fn new(from: OwnedReadHalf) -> Self {
        Self {
            from: BufReader::new(from),
            line: Vec::new(),
        }
    }

    /// The next one; none at the end.
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.line.clear();
        let mut limited = (&mut self.from).take(LINE_MAX);
        match limited.read_until(b'\n', &mut self.line).await? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_slice(&self.line)?)),
        }
    }
}

/// From the suite to the client: a call to make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Its name.
    pub call: String,
    /// The probe's method.
    pub method: String,
    /// The handler's script, as its header has it.
    pub script: String,
    /// The instance; the gateway's choice without.
    pub instance: Option<String>,
    /// `grpc-timeout`. The client itself does not watch it: what ends the call is the gateway.
    pub timeout_ms: Option<u64>,
    /// How many messages it sends, numbered from 0, as fast as it gets window. The end of the request is behind them.
    pub messages: u32,
    /// Bytes of each.
    pub size: u32,
}

/// From the client to the suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Report {
    Hello,
    /// Bytes of DATA that had window, prefixes included.
    Sent {
        call: String,
        bytes: u64,
    },
    /// Whole messages so far, each numbered one more than the last, and none damaged.
    Received {
        call: String,
        amount: Amount,
    },
    /// Nothing more comes of this call.
    Ended {
        call: String,
        end: End,
        /// Since it was opened.
        after_ms: u64,
    },
}

/// How a call ended at the client's edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With this status.
    Status {
        /// `grpc-status`.
        code: u32,
        /// `grpcrouter-reason`; empty where the gateway did not make the status.
        reason: String,
    },
    /// The client gave its connection up, because nothing came back: gRPC libraries say UNAVAILABLE then.
    Lost(String),
    /// In no way that a call may end: what was wrong.
    Wrong(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let open = Open {
            call: "c".to_owned(),
            timeout_ms: Some(9),
            ..Open::default()
        };
        let line = serde_json::to_string(&open).unwrap();
        assert_eq!(serde_json::from_str::<Open>(&line).unwrap(), open);
        let ended = Report::Ended {
            call: "c".to_owned(),
            end: End::Lost("silence".to_owned()),
            after_ms: 1,
        };
        let line = serde_json::to_string(&ended).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), ended);
    }
}
