//! What the naive gateway uses, and what a path through it may hold.

use crate::tunnel::limits;

/// The settings of a naive gateway.
#[derive(Debug, Clone)]
pub struct Settings {
    /// HTTP/2 stream window towards clients, in bytes.
    pub client_window: u32,
    /// What h2 keeps of one response until its socket takes it, in bytes.
    pub send_buffer: usize,
    /// Credit with which each response begins on the tunnel, in bytes.
    pub call_window: u32,
    /// Between two heartbeats, in milliseconds.
    pub heartbeat_ms: u32,
    /// Takes and says what no gateway may: a control for cases about clients.
    pub careless: bool,
}

/// The most that a path through the gateway holds of one call, in bytes, beyond the receiver's own window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// From client to instance: the client's window, which is given back when a byte has spent credit, and the
    /// instance's call window, which is given back when its handler took it.
    pub request: u64,
    /// From instance to client: the gateway's call window, which is given back when h2 has taken a byte towards the
    /// client, and what h2 then keeps.
    pub response: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Where HTTP/2 begins: a client that does not know the window yet has the same.
            client_window: 65_535,
            send_buffer: 16 * 1024,
            call_window: limits::CALL_WINDOW,
            heartbeat_ms: limits::HEARTBEAT_MS,
            careless: false,
        }
    }
}

impl Settings {
    /// The bound with instances of this call window.
    pub fn bound(&self, instance_window: u32) -> Bound {
        Bound {
            request: u64::from(self.client_window) + u64::from(instance_window),
            response: u64::from(self.call_window) + self.send_buffer as u64,
        }
    }
}
