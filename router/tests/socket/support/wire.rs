//! A TCP connection that the test can stop: both ends stay open, and nothing moves.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy in front of an address.
pub(crate) struct Wire {
    pub(crate) addr: SocketAddr,
    held: watch::Sender<bool>,
    down: Arc<AtomicUsize>,
}

impl Wire {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("binds");
        let addr = listener.local_addr().expect("is bound");
        let held = watch::Sender::new(false);
        let hold = held.subscribe();
        let (up, down) = (Arc::default(), Arc::<AtomicUsize>::default());
        let counted = down.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(target).await else {
                    continue;
                };
                for socket in [&near, &far] {
                    socket.set_nodelay(true).expect("a socket");
                }
                let (near, far) = (near.into_split(), far.into_split());
                tokio::spawn(copy(near.0, far.1, hold.clone(), Arc::clone(&up)));
                tokio::spawn(copy(far.0, near.1, hold.clone(), counted.clone()));
            }
        });
        Self { addr, held, down }
    }

    /// Bytes that came from the target so far.
    pub(crate) fn down(&self) -> usize {
        self.down.load(Ordering::Relaxed)
    }

    /// Nothing is read any more, in either direction.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut hold: watch::Receiver<bool>,
    count: Arc<AtomicUsize>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        // Both waits end when the wire itself is gone.
        if hold.wait_for(|held| !*held).await.is_err() {
            return;
        }
        let read = tokio::select! {
            biased;
            changed = hold.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = from.read(&mut buffer) => read,
        };
        match read {
            Ok(n) if n > 0 && to.write_all(&buffer[..n]).await.is_ok() => {
                count.fetch_add(n, Ordering::Relaxed);
            }
            _ => return,
        }
    }
}
