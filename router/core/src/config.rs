//! What a tunnel may use: every limit with its default and its reason.

use std::time::Duration;

/// The settings of one end of a tunnel.
#[derive(Debug, Clone)]
pub struct Config {
    /// Credit that the peer starts each call with, in bytes of `data`. 80 KiB: one message of 64 KiB
    /// with its prefix, plus a chunk.
    pub call_window: u32,
    /// What that credit may grow to while the reader keeps up over a long round trip, in bytes. 1 MiB;
    /// equal to `call_window` it turns growth off.
    pub call_window_max: u32,
    /// What all calls of the tunnel together may have queued for the transport, in bytes. Beyond it no
    /// credit is spent and no call is opened. 8 MiB: the tunnel's HTTP/2 window.
    pub tunnel_queue: usize,
    /// Calls that may be open at once. 10,000. An instance holds the keys of twice as many, so that calls
    /// which are over but not released yet do not count.
    pub max_calls: u32,
    /// The longest frame accepted, in bytes. 64 KiB: a chunk, a list of metadata and room.
    pub max_frame: u32,
    /// The longest list of metadata sent, or accepted, in a frame, in bytes as HTTP/2 counts them. 16 KiB:
    /// what HTTP/2 libraries accept by default. From [`METADATA_MIN`] to [`METADATA_MAX`]. The peer is told,
    /// and of both sides' limits the smaller one holds for what is sent.
    pub max_metadata: usize,
    /// The longest message accepted in either direction, in bytes. None: no message is ever held whole.
    pub message_max: Option<u32>,
    /// How often heartbeats are sent: by the gateway, and by an instance that does not hear them. The gateway
    /// decides; 5 s. Silence of twice this length ends the tunnel.
    pub heartbeat_interval: Duration,
    /// How long the handshake may take. 10 s.
    pub handshake_timeout: Duration,
    /// How long an instance may take to hand over the descriptors that its gateway asked for. 60 s: 4 MiB
    /// over a slow line.
    pub descriptors_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            call_window: 80 * 1024,
            call_window_max: 1024 * 1024,
            tunnel_queue: 8 * 1024 * 1024,
            max_calls: 10_000,
            max_frame: 64 * 1024,
            max_metadata: 16 * 1024,
            message_max: None,
            heartbeat_interval: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            descriptors_timeout: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Whether a tunnel can run with these settings; if not, which one is wrong and what is expected.
    ///
    /// [`Tunnel::new`](crate::Tunnel) panics where this fails: zeros would be announced as defaults.
    ///
    /// # Errors
    /// One line for the first setting out of its range.
    pub fn check(&self) -> Result<(), String> {
        let windows = 1..=i32::MAX as u32;
        let metadata = METADATA_MIN..=METADATA_MAX;
        if !windows.contains(&self.call_window) {
            return Err(format!("call_window: 1 to {} bytes", i32::MAX));
        }
        if self.call_window_max > i32::MAX as u32 {
            return Err(format!("call_window_max: at most {} bytes", i32::MAX));
        }
        if self.max_calls == 0 {
            return Err("max_calls: at least 1".to_owned());
        }
        if self.tunnel_queue == 0 {
            return Err("tunnel_queue: at least 1 byte, or no call can be opened".to_owned());
        }
        if self.max_frame < MAX_FRAME_MIN {
            return Err(format!("max_frame: at least {MAX_FRAME_MIN} bytes"));
        }
        if !metadata.contains(&self.max_metadata) {
            return Err(format!(
                "max_metadata: {METADATA_MIN} to {METADATA_MAX} bytes"
            ));
        }
        if self.heartbeat_interval.as_millis() == 0 {
            return Err("heartbeat_interval: at least 1 ms".to_owned());
        }
        Ok(())
    }
}

/// The least that [`Config::max_frame`] may be, here and at a peer, in bytes.
pub const MAX_FRAME_MIN: u32 = 64 * 1024;

/// The least that [`Config::max_metadata`] may be, in bytes: what ordinary clients send.
pub const METADATA_MIN: usize = 1024;

/// The most that [`Config::max_metadata`] may be, in bytes: the shortest frame that a peer may insist on
/// has room for such a list, a method and a chunk.
pub const METADATA_MAX: usize = 32 * 1024;

/// The protocol revisions that this implementation speaks, oldest and newest.
pub const REVISIONS: (u32, u32) = (1, 1);

/// The highest revision that both sides speak, of ranges with both ends included.
pub fn common_revision(ours: (u32, u32), theirs: (u32, u32)) -> Option<u32> {
    let highest = ours.1.min(theirs.1);
    (highest >= ours.0 && highest >= theirs.0).then_some(highest)
}

/// The most `data` bytes in one frame: an HTTP/2 frame of the default size, so that calls take turns often.
pub const CHUNK: usize = 16 * 1024;

/// Frames whose `data` is no longer than this travel in the first lane.
pub const SMALL: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_ranges_of_revisions_the_highest_common_one_is_spoken() {
        assert_eq!(common_revision((1, 1), (1, 1)), Some(1));
        assert_eq!(common_revision((1, 3), (2, 5)), Some(3));
        assert_eq!(common_revision((2, 5), (1, 3)), Some(3));
        assert_eq!(common_revision((1, 2), (3, 4)), None);
        assert_eq!(common_revision((3, 4), (1, 2)), None);
    }

    #[test]
    fn settings_that_no_peer_could_keep_to_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        let refusal = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().expect_err("out of range")
        };
        assert!(refusal(|c| c.call_window = 0).starts_with("call_window"));
        assert!(refusal(|c| c.call_window = 1 << 31).starts_with("call_window"));
        assert!(refusal(|c| c.call_window_max = 1 << 31).starts_with("call_window_max"));
        assert!(refusal(|c| c.max_calls = 0).starts_with("max_calls"));
        assert!(refusal(|c| c.max_frame = MAX_FRAME_MIN - 1).starts_with("max_frame"));
        assert!(refusal(|c| c.max_metadata = METADATA_MIN - 1).starts_with("max_metadata"));
        assert!(refusal(|c| c.max_metadata = METADATA_MAX + 1).starts_with("max_metadata"));
        assert!(refusal(|c| c.heartbeat_interval = Duration::ZERO).starts_with("heartbeat"));
    }
}
