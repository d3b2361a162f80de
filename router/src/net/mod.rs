//! The network as a parameter: listening and dialling, on real sockets or on a simulated network.

mod gathered;
mod tcp;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use gathered::{Gathered, drive, gathered};
pub use tcp::{TcpDialer, TcpListener};

/// A connection's bytes.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A connection, whatever it runs over.
pub type BoxIo = Box<dyn Io>;

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Takes connections in.
pub trait Listener: Send + 'static {
    /// The next connection, and who it is from.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>>;

    /// Where connections come in.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Makes connections. Names are resolved anew for every one.
pub trait Dialer: Send + Sync + 'static {
    /// Connects to a target.
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<BoxIo>>;
}

/// What can be dialled: `http://host:port` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A host, by name or address, and a port.
    Tcp {
        /// Name or address; IPv6 addresses without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(std::path::PathBuf),
}

impl Target {
    /// What stands in `:authority` when the target is called.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => write!(f, "http://{}", self.authority()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Text that is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address to dial: expected http://HOST:PORT or unix:PATH")]
pub struct InvalidTarget(String);

impl std::str::FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let invalid = || InvalidTarget(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(invalid())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let uri: http::Uri = text.parse().map_err(|_| invalid())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if uri.scheme() != Some(&http::uri::Scheme::HTTP) || path != "/" {
            return Err(invalid());
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        match uri.port_u16() {
            Some(port) if !host.is_empty() => Ok(Self::Tcp {
                host: host.to_owned(),
                port,
            }),
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_back_as_they_are_written() {
        for text in [
            "http://127.0.0.1:50051",
            "http://[::1]:80",
            "http://gw.example:1",
            "unix:/run/s",
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
        assert_eq!(
            "unix:///run/s".parse::<Target>().unwrap().to_string(),
            "unix:/run/s"
        );
    }

    #[test]
    fn what_is_no_target_is_said_in_one_line() {
        for text in [
            "",
            "127.0.0.1:5",
            "https://a:1",
            "http://a",
            "http://a:1/x",
            "unix:",
            "http://:1",
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(
                error.contains("http://HOST:PORT") && !error.contains('\n'),
                "{text}: {error}"
            );
        }
    }
}
