//! A link that can be slow, go silent, or break.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Takes connections at `addr` and carries each to where it was told to, under the test's control.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    control: watch::Sender<Control>,
    dialled: Arc<AtomicUsize>,
}

#[derive(Debug, Clone, Default)]
struct Control {
    /// Nothing passes from the dialling side.
    up_silent: bool,
    /// Nothing passes to the dialling side.
    down_silent: bool,
    /// How long each piece of at most 4 KiB takes, either way: a latency, and a rate.
    per_piece: Duration,
    /// Connections made before this changed are broken.
    cuts: usize,
    /// As `cuts`, but the far end is not told.
    half_cuts: usize,
}

/// What the proxy reads at a time, in bytes.
const PIECE: usize = 4 * 1024;

impl Proxy {
    pub(crate) async fn to(far: SocketAddr) -> Self {
        let any = (Ipv4Addr::LOCALHOST, 0);
        let listener = TcpListener::bind(any).await.expect("binds");
        let addr = listener.local_addr().expect("is bound");
        let control = watch::Sender::new(Control::default());
        let dialled = Arc::new(AtomicUsize::new(0));
        let (seen, count) = (control.subscribe(), dialled.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(near, far, seen.clone()));
            }
        });
        Self {
            addr,
            control,
            dialled,
        }
    }

    pub(crate) fn target(&self) -> grpcrouter::Target {
        format!("http://{}", self.addr).parse().expect("an address")
    }

    /// Holds what either direction carries, or lets it go on. Nothing is lost, as on a link that drops
    /// packets for a while.
    pub(crate) fn silence(&self, up: bool, down: bool) {
        self.control.send_modify(|control| {
            (control.up_silent, control.down_silent) = (up, down);
        });
    }

    /// Lets each piece of at most 4 KiB take this long: a latency, and a rate.
    pub(crate) fn slow(&self, per_piece: Duration) {
        self.control
            .send_modify(|control| control.per_piece = per_piece);
    }

    /// Breaks every connection there is.
    pub(crate) fn cut(&self) {
        self.control.send_modify(|control| control.cuts += 1);
    }

    /// Breaks every connection there is, and tells the dialling side alone.
    pub(crate) fn half_cut(&self) {
        self.control.send_modify(|control| control.half_cuts += 1);
    }

    /// How often it was dialled.
    pub(crate) fn dialled(&self) -> usize {
        self.dialled.load(Ordering::Relaxed)
    }
}

async fn carry(near: TcpStream, far: SocketAddr, mut control: watch::Receiver<Control>) {
    let (cuts, half_cuts) = {
        let now = control.borrow();
        (now.cuts, now.half_cuts)
    };
    let Ok(far) = TcpStream::connect(far).await else {
        return;
    };
    for socket in [&near, &far] {
        socket.set_nodelay(true).expect("a socket");
    }
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let gates = control.clone();
    let half = tokio::select! {
        biased;
        broken = control.wait_for(|now| now.cuts != cuts || now.half_cuts != half_cuts) => {
            broken.is_ok_and(|now| now.cuts == cuts)
        }
        () = pump(&mut near_read, &mut far_write, gates.clone(), |now| now.up_silent) => false,
        () = pump(&mut far_read, &mut near_write, gates.clone(), |now| now.down_silent) => false,
    };
    if half {
        drop((near_read, near_write));
        // The far socket stays open, with nobody at its other end.
        let _ = control.wait_for(|_| false).await;
    }
}

/// Moves bytes one way until either end closes.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut control: watch::Receiver<Control>,
    silent: impl Fn(&Control) -> bool,
) {
    let mut piece = [0; PIECE];
    loop {
        let Ok(n @ 1..) = from.read(&mut piece).await else {
            return;
        };
        let per_piece = control.borrow().per_piece;
        if !per_piece.is_zero() {
            tokio::time::sleep(per_piece).await;
        }
        if control.wait_for(|now| !silent(now)).await.is_err() {
            return;
        }
        if to.write_all(&piece[..n]).await.is_err() {
            return;
        }
    }
}
