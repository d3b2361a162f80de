//! What each hop of a path may hold of one call: the terms of the in-flight bound that no setting moves.
//!
//! `GatewayConfig::bound` adds them up; gateway, instance and agent keep to them.

/// What HTTP/2 may hold of one call on its way to a peer, in bytes: the send buffer of each hop.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;
/// What is kept of a request to send it elsewhere when an instance declines it, in bytes.
pub(crate) const REPLAY_MAX: usize = 16 * 1024;
/// The agent's HTTP/2 stream window towards its server, in bytes.
pub(crate) const UPSTREAM_WINDOW: u32 = 64 * 1024;
/// What an instance takes of a response at a time, in bytes.
pub(crate) const PIECE: usize = 32 * 1024;
