//! A TCP hop that a test can stop, heal and break.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to one address. It ends with the test's runtime.
///
/// A stopped direction reads nothing more, so that what is sent waits in the kernel's buffers, and goes
/// on after [`Proxy::heal`] without a loss, as on a link that was down for a while.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    link: watch::Sender<Link>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From who dialled to the target.
    There,
    /// From the target to who dialled.
    Back,
    /// Either.
    Both,
}

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    there_stopped: bool,
    back_stopped: bool,
    /// Counts breaks: a connection ends at the first one after it came.
    breaks: u64,
    /// Whether the last break was a reset.
    reset: bool,
}

impl Proxy {
    pub(crate) async fn before(target: SocketAddr) -> Self {
        let any = (Ipv4Addr::LOCALHOST, 0);
        let listener = TcpListener::bind(any).await.expect("binds");
        let addr = listener.local_addr().expect("is bound");
        let link = watch::Sender::new(Link::default());
        let links = link.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(forward(near, target, links.subscribe()));
            }
        });
        Self { addr, link }
    }

    /// Forwards nothing more in this direction, on connections old and new, and says nothing of it.
    pub(crate) fn stop(&self, way: Way) {
        self.link.send_modify(|link| {
            link.there_stopped |= way != Way::Back;
            link.back_stopped |= way != Way::There;
        });
    }

    /// Forwards again, beginning with what was held back.
    pub(crate) fn heal(&self) {
        self.link.send_modify(|link| {
            (link.there_stopped, link.back_stopped) = (false, false);
        });
    }

    /// Closes every present connection on both sides: a FIN.
    pub(crate) fn close(&self) {
        self.end(false);
    }

    /// Resets every present connection on both sides: a RST.
    pub(crate) fn reset(&self) {
        self.end(true);
    }

    fn end(&self, reset: bool) {
        self.link.send_modify(|link| {
            link.breaks += 1;
            link.reset = reset;
        });
    }
}

async fn forward(mut near: TcpStream, target: SocketAddr, mut link: watch::Receiver<Link>) {
    let breaks = link.borrow().breaks;
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    for socket in [&near, &far] {
        socket.set_nodelay(true).expect("a socket");
    }
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let there = pump(near_read, far_write, link.clone(), |l| l.there_stopped);
    let back = pump(far_read, near_write, link.clone(), |l| l.back_stopped);
    let reset = tokio::select! {
        biased;
        broken = link.wait_for(|link| link.breaks > breaks) => broken.is_ok_and(|link| link.reset),
        _ = async { tokio::join!(there, back) } => false,
    };
    if reset {
        for socket in [&near, &far] {
            let socket = socket2::SockRef::from(socket);
            socket.set_linger(Some(Duration::ZERO)).expect("a socket");
        }
    }
}

/// Forwards one direction to its end. An error ends it as an end of stream does: the other direction
/// learns of it by itself.
async fn pump(
    mut read: ReadHalf<'_>,
    mut write: WriteHalf<'_>,
    mut link: watch::Receiver<Link>,
    stopped: impl Fn(&Link) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if link.wait_for(|link| !stopped(link)).await.is_err() {
            return;
        }
        let read = tokio::select! {
            biased;
            _ = link.wait_for(|link| stopped(link)) => continue,
            read = read.read(&mut buffer) => read,
        };
        match read {
            Ok(n) if n > 0 && write.write_all(&buffer[..n]).await.is_ok() => {}
            _ => break,
        }
    }
    let _ = write.shutdown().await;
}
