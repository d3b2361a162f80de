//! The HTTP/2 windows of the load program and of tonic's server: stated, so that no path is measured with
//! whatever a library's default happens to be.

/// Window of a stream, in bytes: tonic's own default for servers.
pub const STREAM: u32 = 1024 * 1024;

/// Window of a connection, in bytes: 16 stalled streams of it do not stop their siblings. It also sets how many
/// small frames h2 lets wait, which is half of it in bytes.
pub const CONNECTION: u32 = 16 * 1024 * 1024;
