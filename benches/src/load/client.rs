//! Connections to the path that is measured.

use std::time::Duration;

use anyhow::{Context, Result};
use tonic::Request;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::pb::bench_client::BenchClient;

/// How long a path may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The same for every path but for the address and, where a path needs one to find its server, a header.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to call, as `IP:PORT`.
    pub address: String,
    /// HTTP/2 window of a stream, in bytes.
    pub stream_window: u32,
    /// HTTP/2 window of a connection, in bytes.
    pub connection_window: u32,
    /// Sent with every call.
    pub header: Option<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// The stub.
    pub stub: BenchClient<Channel>,
    header: Option<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
}

impl Settings {
    /// So many connections, all of them made.
    ///
    /// # Errors
    /// One line that names the address, where it does not answer within 5 s.
    pub async fn connect(&self, connections: usize) -> Result<Vec<Client>> {
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.address))
                .with_context(|| format!("`{}` is no IP:PORT", self.address))?
                .tcp_nodelay(true)
                .initial_stream_window_size(self.stream_window)
                .initial_connection_window_size(self.connection_window)
                .connect_timeout(CONNECT);
            let channel = endpoint.connect().await;
            let channel = channel.with_context(|| format!("cannot connect to {}", self.address))?;
            clients.push(Client {
                stub: BenchClient::new(channel),
                header: self.header.clone(),
            });
        }
        Ok(clients)
    }
}

impl Client {
    /// A request with what this path wants in its head.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some((key, value)) = &self.header {
            request.metadata_mut().insert(key.clone(), value.clone());
        }
        request
    }
}
