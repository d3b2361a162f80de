//! A gRPC server that has what its test gives it: health, reflection, and a name to answer with.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use grpcrouter::Target;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::super::support::framed;

/// A running server; dropping it ends it with all its connections.
pub(crate) struct Local {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

/// What a server has.
#[derive(Clone, Default)]
pub(crate) struct Has {
    /// What it answers calls of `test.Probe` with.
    pub(crate) name: &'static str,
    /// `grpc.health.v1`, and what it says.
    pub(crate) serving: Option<Arc<AtomicBool>>,
    /// `v1` or `v1alpha`.
    pub(crate) reflection: Option<&'static str>,
}

impl Local {
    pub(crate) async fn start(has: Has) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), has).await
    }

    pub(crate) async fn start_at(addr: SocketAddr, has: Has) -> Self {
        let listener = TcpListener::bind(addr).await.expect("binds");
        let addr = listener.local_addr().expect("is bound");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let has = has.clone();
                connections.spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(socket).await else {
                        return;
                    };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(has.clone().answer(request, respond));
                    }
                });
            }
        });
        Self { addr, task }
    }

    /// An address where nobody listens, yet.
    pub(crate) async fn nowhere() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        listener.expect("binds").local_addr().expect("is bound")
    }

    pub(crate) fn target(&self) -> Target {
        target(self.addr)
    }

    /// Ends it where it stands.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn target(addr: SocketAddr) -> Target {
    format!("http://{addr}").parse().expect("a target")
}

impl Has {
    async fn answer(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(
            "content-type",
            "application/grpc".parse().expect("a header"),
        );
        let message = self.message(request.uri().path());
        let mut trailers = HeaderMap::new();
        let status = if message.is_some() { "0" } else { "12" };
        trailers.insert("grpc-status", status.parse().expect("a header"));
        // A peer that has gone needs no answer.
        let Some(message) = message else {
            response.headers_mut().extend(trailers);
            let _ = respond.send_response(response, true);
            return;
        };
        let Ok(mut send) = respond.send_response(response, false) else {
            return;
        };
        let _ = send.send_data(framed(&message), false);
        let _ = send.send_trailers(trailers);
    }

    fn message(&self, path: &str) -> Option<Vec<u8>> {
        if path.starts_with("/test.Probe/") {
            return Some(self.name.into());
        }
        if path == "/grpc.health.v1.Health/Check" {
            let serving = self.serving.as_ref()?.load(Ordering::Relaxed);
            return Some(vec![0x08, if serving { 1 } else { 2 }]);
        }
        let reflection = self.reflection?;
        let own = format!("grpc.reflection.{reflection}.ServerReflection");
        if path == format!("/{own}/ServerReflectionInfo") {
            let listed = ["test.Probe", "test.Other", &own, "grpc.health.v1.Health"];
            let services = listed.map(|name| field(1, &field(1, name.as_bytes())));
            return Some(field(6, &services.concat()));
        }
        None
    }
}

/// A field of bytes, as protobuf has it.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u8;
    let mut field = vec![number << 3 | 2];
    // A length of two bytes, whether or not it needs them.
    field.extend([length & 0x7f | 0x80, length >> 7]);
    field.extend_from_slice(content);
    field
}
