//! An implementation on a listening socket of its own: tonic's server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::flag::raised;

use super::ServeError;

/// What a client may send of a call that its handler has not read, in bytes: as towards a gateway.
const STREAM_WINDOW: u32 = 80 * 1024;

/// Calls at once on a connection: as towards a gateway.
const MAX_STREAMS: u32 = 1_024;

/// How long a client may be silent before it is pinged, and how long it may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The largest list of headers, in bytes: as towards a gateway.
const HEADERS_MAX: u32 = 64 * 1024;

/// Listens, and says where.
pub(super) async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let cannot = |error| ServeError::Listen { addr, error };
    let listener = TcpListener::bind(addr).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    Ok((listener, bound))
}

/// Serves until drained, and then at most for `limit`.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Routes,
    drain: watch::Receiver<bool>,
    limit: Duration,
) -> Result<(), ServeError> {
    let mut overdue = drain.clone();
    let overdue = async {
        raised(&mut overdue).await;
        tokio::time::sleep(limit).await;
    };
    let mut drain = drain;
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        // For every stream at once, so that a stalled call never stops its siblings.
        .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(HEADERS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move { raised(&mut drain).await },
        );
    tokio::select! {
        biased;
        served = served => Ok(served?),
        () = overdue => Err(ServeError::DrainTimeout(limit)),
    }
}
