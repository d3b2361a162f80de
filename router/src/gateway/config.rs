//! What a gateway may use: every limit with its default and its reason.

use std::time::Duration;

use grpcrouter_core::Config;
use grpcrouter_core::descriptors::DescriptorLimits;
use grpcrouter_core::registry::RegistryLimits;
use grpcrouter_core::routing::Routes;

use crate::hop::{PIECE, REPLAY_MAX, SEND_BUFFER, UPSTREAM_WINDOW};

/// The least that [`GatewayConfig::client_window`] may be, in bytes: where HTTP/2 begins.
///
/// Before a client knows of another window it may send so much, so with a smaller one [`Bound`] would not
/// hold for the first calls of a connection. Nor would those calls always end: h2 looks for credit that is due
/// when bytes are released, not when its settings are acknowledged, and a window that becomes less than
/// nothing by them, of a call all of whose bytes have moved on by then, stays so.
pub const CLIENT_WINDOW_MIN: u32 = 65_535;

/// The settings of a gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// How the gateway names itself to its instances.
    pub gateway_id: String,
    /// What each tunnel may use.
    pub tunnel: Config,
    /// How the calls of each service are routed. A service without routes takes turns.
    pub routes: Routes,
    /// What the registry may hold.
    pub registry: RegistryLimits,
    /// What it holds of its instances' descriptors, for server reflection.
    pub descriptors: DescriptorLimits,
    /// HTTP/2 stream window towards clients, in bytes: what a client may send ahead of the tunnel.
    /// 80 KiB, as a call's window on the tunnel. At least [`CLIENT_WINDOW_MIN`].
    pub client_window: u32,
    /// Calls at once on one client connection: MAX_CONCURRENT_STREAMS. 1,024. The connection's window is
    /// this many stream windows, so that a stalled call never stops its siblings.
    pub max_streams: u32,
    /// Connections at once, on all ports of a kind together. 16,384.
    pub max_connections: usize,
    /// Connections at once from one address, on all ports of tunnels together. 1,024: a site behind one NAT.
    pub max_connections_per_ip: usize,
    /// How long a new connection may take to speak HTTP/2. 5 s.
    pub preface_timeout: Duration,
    /// How long a client may be silent before it is pinged, and how long it may take to answer. 30 s.
    pub client_keepalive: Duration,
    /// How long running calls may take to finish once the gateway drains. 30 s.
    pub drain_timeout: Duration,
    /// Calls that may wait for an instance at once, each because its client asked with
    /// [`WAIT_FOR_READY`](crate::WAIT_FOR_READY). 1,024; 0: none. Each holds its metadata and what its client window lets come.
    pub max_waiting: usize,
    /// How long one may wait, whatever its deadline: that is the client's to choose, and so no limit. 5 min.
    pub wait_timeout: Duration,
    /// Other gateways that instances may dial too; told to each in its acknowledgement.
    pub gateways: Vec<String>,
    /// One line a call, through tracing's target `grpcrouter::access`.
    pub access_log: bool,
    /// Where the random numbers of balancing begin. Random.
    pub seed: u64,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            gateway_id: "gateway".to_owned(),
            tunnel: Config::default(),
            routes: Routes::new(),
            registry: RegistryLimits::default(),
            descriptors: DescriptorLimits::default(),
            client_window: 80 * 1024,
            max_streams: 1_024,
            max_connections: 16_384,
            max_connections_per_ip: 1_024,
            preface_timeout: Duration::from_secs(5),
            client_keepalive: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            max_waiting: 1_024,
            wait_timeout: Duration::from_secs(300),
            gateways: Vec::new(),
            access_log: false,
            seed: fastrand::u64(..),
        }
    }
}

/// The in-flight bound B of a path through a gateway, per call and direction, in bytes.
///
/// What a sender can have handed over that its receiver has not taken is at most this, beyond the
/// receiver's own window: it does not depend on the length of the call, of its messages, or of a stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// With windows at their first size.
    pub fixed: usize,
    /// With windows grown as far as they may.
    pub grown: usize,
}

impl GatewayConfig {
    /// Whether a gateway can run with these settings; if not, which one is wrong and what is expected.
    ///
    /// [`Gateway::new`](super::Gateway::new) panics where this fails.
    ///
    /// # Errors
    /// One line for the first setting out of its range.
    pub fn check(&self) -> Result<(), String> {
        self.tunnel.check()?;
        let windows = CLIENT_WINDOW_MIN..=i32::MAX as u32;
        if !windows.contains(&self.client_window) {
            return Err(format!(
                "client_window: {CLIENT_WINDOW_MIN}, which HTTP/2 lets any client send, to {} bytes",
                i32::MAX
            ));
        }
        let entries = [
            ("max_streams", self.max_streams as usize),
            ("max_connections", self.max_connections),
            ("max_connections_per_ip", self.max_connections_per_ip),
        ];
        match entries.into_iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(format!("{name}: at least 1, or nobody can call")),
            None => Ok(()),
        }
    }

    /// The bound of the path client, gateway, tunnel, agent.
    ///
    /// Requests: client window, what is kept for a second try, call window, the agent's send buffer.
    /// Responses: the agent's window, a piece, call window, the gateway's send buffer.
    pub fn bound(&self) -> Bound {
        let with = |call_window: u32| {
            let call_window = call_window as usize;
            let request = self.client_window as usize + REPLAY_MAX + call_window + SEND_BUFFER;
            let response = UPSTREAM_WINDOW as usize + PIECE + call_window + SEND_BUFFER;
            request.max(response)
        };
        let tunnel = &self.tunnel;
        Bound {
            fixed: with(tunnel.call_window),
            grown: with(tunnel.call_window.max(tunnel.call_window_max)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_the_promised_bound() {
        let bound = GatewayConfig::default().bound();
        assert_eq!(bound.fixed, 240 * 1024);
        assert!(bound.fixed <= 256 * 1024);
        assert_eq!(bound.grown, 240 * 1024 + 1024 * 1024 - 80 * 1024);
    }

    /// Proves: Z11
    #[test]
    fn the_readme_declares_the_bound_that_is_computed() {
        let readme = include_str!("../../../README.md");
        let bound = GatewayConfig::default().bound();
        // As people write them: commas at thousands.
        let said = |bytes: usize| format!("{},{:03}", bytes / 1_000, bytes % 1_000);
        let (fixed, grown) = (
            said(bound.fixed),
            format!("1,{}", said(bound.grown - 1_000_000)),
        );
        let line =
            format!("B is the larger sum: {fixed} bytes, or {grown} with call windows grown");
        assert!(readme.contains(&line), "README.md does not say: {line}");
    }

    #[test]
    fn a_client_window_that_clients_need_not_keep_to_is_refused() {
        let with = |client_window| GatewayConfig {
            client_window,
            ..GatewayConfig::default()
        };
        assert_eq!(GatewayConfig::default().check(), Ok(()));
        assert_eq!(with(CLIENT_WINDOW_MIN).check(), Ok(()));
        for window in [0, 2 * 1024, CLIENT_WINDOW_MIN - 1, 1 << 31] {
            let refusal = with(window).check().expect_err("out of range");
            assert!(refusal.starts_with("client_window: 65535"), "{refusal}");
        }
    }

    #[test]
    fn limits_that_let_nobody_in_are_refused() {
        let refusal = |shut: fn(&mut GatewayConfig)| {
            let mut config = GatewayConfig::default();
            shut(&mut config);
            config.check().expect_err("nobody gets in")
        };
        let refusals = [
            refusal(|config| config.tunnel.tunnel_queue = 0),
            refusal(|config| config.max_streams = 0),
            refusal(|config| config.max_connections = 0),
            refusal(|config| config.max_connections_per_ip = 0),
        ];
        for refusal in refusals {
            assert!(refusal.contains(": at least 1"), "{refusal}");
        }
    }
}
