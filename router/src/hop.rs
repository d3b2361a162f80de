//! What each hop of a path may hold: the terms of the in-flight bound that no setting moves, and how
//! HTTP/2 is set up.
//!
//! `GatewayConfig::bound` adds the first up; gateway, instance and agent keep to all of them.

/// What HTTP/2 may hold of one call on its way to a peer, in bytes: the send buffer of each hop.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;
/// What is kept of a request to send it elsewhere when an instance declines it, in bytes.
pub(crate) const REPLAY_MAX: usize = 16 * 1024;
/// The agent's HTTP/2 stream window towards its server, in bytes.
pub(crate) const UPSTREAM_WINDOW: u32 = 64 * 1024;
/// What an instance takes of a response at a time, in bytes.
pub(crate) const PIECE: usize = 32 * 1024;

/// Stream and connection window of a tunnel, in bytes: wide, because calls have credit of their own.
pub(crate) const TUNNEL_WINDOW: u32 = 8 * 1024 * 1024;
/// Unread small DATA frames that HTTP/2 bears on a connection, in its own measure (256 less the length
/// of each). They are read eagerly, so this only guards against a flood.
pub(crate) const DATA_FRAME_BUDGET: usize = 16 * 1024 * 1024;
/// The longest list of headers that HTTP/2 takes, in bytes. Above `max_metadata`, so that a call whose
/// list is a little too long gets a status rather than a reset, and big status details pass.
pub(crate) const HEADER_LIST_MAX: u32 = 64 * 1024;
