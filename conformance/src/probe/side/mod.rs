//! The side channel, section 3 of `probe.proto`: its lines, and both of its ends.
//!
//! - A handler reports through a [`Reporter`]: of an instance's process, over TCP ([`instance`]), or of the suite's
//!   own, with nothing in between ([`Side::reporter`]).
//! - [`Side`] is the suite's end, [`Watched`] one call there.

mod delivery;
pub mod instance;
mod reporter;
mod suite;
mod watched;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

pub use reporter::{Reporter, Run, TooMany};
pub use suite::Side;
pub use watched::{Ended, Logged, Missed, RunState, Watched};

/// The longest line, in bytes. Metadata are the longest part of one, and HTTP/2 bears 64 KiB of them.
const LINE_MAX: usize = 1 << 20;

/// From an instance to the suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs, reason = "probe.proto says what each of them is")]
pub enum Event {
    Hello {
        instance: String,
    },
    Started(Started),
    Counts {
        call: String,
        run: u64,
        #[serde(flatten)]
        counts: Counts,
    },
    Waiting {
        call: String,
        run: u64,
        gate: String,
    },
    Cancelled {
        call: String,
        run: u64,
    },
    Finished {
        call: String,
        run: u64,
        code: u32,
    },
    Draining,
    Ended {
        code: i32,
    },
}

/// From the suite to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[allow(missing_docs, reason = "probe.proto says what each of them is")]
pub enum Do {
    Release { call: String, gate: String },
    Drain,
}

/// A handler began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The call's name.
    pub call: String,
    /// Which run of that name in its process, from 1.
    pub run: u64,
    /// The path.
    pub method: String,
    /// `:authority`.
    pub authority: String,
    /// Keys and values in the order of arrival; values are base64 of their bytes.
    pub metadata: Vec<(String, String)>,
    /// Whether values of `-bin` keys were decoded before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decoded: bool,
    /// What was left of the call's time, in microseconds.
    pub timeout_us: Option<u64>,
}

impl Started {
    /// The values of a key, in their order, those of a `-bin` key decoded: several that HTTP joined by commas are
    /// several again. A value that is no base64 is an error that says so.
    pub fn values(&self, key: &str) -> Result<Vec<Vec<u8>>, String> {
        let mut values = Vec::new();
        for (_, value) in self.metadata.iter().filter(|(name, _)| name == key) {
            let wrong = |error| format!("metadata {key}: {value:?}: {error}");
            let bytes = STANDARD.decode(value).map_err(wrong)?;
            if self.decoded || !key.ends_with("-bin") {
                values.push(bytes);
                continue;
            }
            for one in bytes.split(|byte| *byte == b',') {
                let decoded = super::metadata::BASE64.decode(one.trim_ascii());
                values.push(decoded.map_err(wrong)?);
            }
        }
        Ok(values)
    }

    /// The keys, each as often as it has values.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.iter().map(|(key, _)| key.as_str())
    }
}

/// Messages and their bytes, without prefixes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 2]", into = "[u64; 2]")]
pub struct Amount {
    /// Whole messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    /// So many messages with so many bytes.
    pub const fn new(messages: u64, bytes: u64) -> Self {
        Self { messages, bytes }
    }
}

impl From<[u64; 2]> for Amount {
    fn from([messages, bytes]: [u64; 2]) -> Self {
        Self { messages, bytes }
    }
}

impl From<Amount> for [u64; 2] {
    fn from(amount: Amount) -> Self {
        [amount.messages, amount.bytes]
    }
}

/// What a handler counts. None of it ever falls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// What the transport gave to the handler's process.
    pub handed: Amount,
    /// What the script's steps consumed.
    pub taken: Amount,
    /// What the handler's transport has accepted.
    pub sent: Amount,
    /// CRC-32 of all that was taken.
    pub crc: u32,
    /// Whether the end of the request was seen.
    pub half_closed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_the_specification_says() {
        let counts = Counts {
            handed: Amount::new(1, 2),
            ..Counts::default()
        };
        let event = Event::Counts {
            call: "c".into(),
            run: 1,
            counts,
        };
        let line = r#"{"event":"counts","call":"c","run":1,"handed":[1,2],"taken":[0,0],"sent":[0,0],"crc":0,"half_closed":false}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        let more = line.replace("\"crc\":0", "\"crc\": 0, \"new\": {}");
        assert_eq!(serde_json::from_str::<Event>(&more).unwrap(), event);
        let release = r#"{"do":"release","call":"c","gate":"g"}"#;
        let parsed: Do = serde_json::from_str(release).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), release);
        assert_eq!(
            serde_json::to_string(&Do::Drain).unwrap(),
            r#"{"do":"drain"}"#
        );
    }

    #[test]
    fn values_of_bin_keys_are_decoded_once() {
        let mut started = Started {
            call: "c".into(),
            run: 1,
            method: "/m".into(),
            authority: String::new(),
            metadata: vec![("k-bin".into(), STANDARD.encode("AP8"))],
            decoded: false,
            timeout_us: None,
        };
        assert_eq!(started.values("k-bin").unwrap(), [[0, 0xff]]);
        started.decoded = true;
        assert_eq!(started.values("k-bin").unwrap(), [b"AP8"]);
        assert!(started.values("other").unwrap().is_empty());
    }
}
