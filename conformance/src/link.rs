//! A link: the suite's own TCP hop, which a case can stop, black-hole, slow, cut and break.
//!
//! Every connection between a subject and another role passes through one, so that partitions work on
//! loopback, without root, for any implementation.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes taken off a socket at a time.
const PIECE: usize = 64 * 1024;

/// Forwards connections to one address until it is dropped.
#[derive(Debug)]
pub struct Link {
    addr: SocketAddr,
    state: watch::Sender<State>,
    passed: Arc<[AtomicU64; 2]>,
    dials: watch::Sender<u64>,
    task: JoinHandle<()>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From who dialled to the target.
    There,
    /// From the target to who dialled.
    Back,
    /// Either.
    Both,
}

/// What a link does with the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Does {
    /// Passes them on at once.
    #[default]
    Pass,
    /// Reads nothing: they wait in the kernel's buffers, and go on afterwards without a loss.
    Hold,
    /// Reads them and forgets them.
    Swallow,
    /// Passes them on, each piece after so many milliseconds.
    Delay(u64),
    /// Passes them on, each piece after so many milliseconds at the most.
    Jitter(u64),
    /// Passes on one piece of so many bytes every so many milliseconds.
    Drip(usize, u64),
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    does: [Does; 2],
    /// Counts breaks: a connection ends at the first one after it came.
    breaks: u64,
    how: Break,
    /// Bytes that each direction of a connection passes before it is cut; none for all.
    cut_after: [Option<u64>; 2],
    /// No connection is made to the target.
    refuses: bool,
    /// Where new connections go.
    target: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Break {
    #[default]
    Close,
    Reset,
}

impl Link {
    /// A link to this address.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn to(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let state = watch::Sender::new(State::default());
        let passed: Arc<[AtomicU64; 2]> = Arc::default();
        let dials = watch::Sender::new(0);
        let (states, counts, dialled) = (state.clone(), passed.clone(), dials.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                dialled.send_modify(|dials| *dials += 1);
                let State {
                    refuses,
                    target: other,
                    ..
                } = *states.borrow();
                if !refuses {
                    let target = other.unwrap_or(target);
                    connections.spawn(forward(near, target, states.subscribe(), counts.clone()));
                }
            }
        });
        Ok(Self {
            addr,
            state,
            passed,
            dials,
            task,
        })
    }

    /// Where to dial it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on a direction does this, on connections old and new.
    pub fn set(&self, way: Way, does: Does) {
        self.state.send_modify(|state| {
            for (index, own) in [Way::There, Way::Back].into_iter().enumerate() {
                if way == own || way == Way::Both {
                    state.does[index] = does;
                }
            }
        });
    }

    /// Passes everything again, beginning with what was held.
    pub fn heal(&self) {
        self.state.send_modify(|state| {
            state.does = [Does::Pass; 2];
            state.cut_after = [None; 2];
            state.refuses = false;
        });
    }

    /// Takes no new connections until it is healed: they end at once.
    pub fn refuse(&self) {
        self.state.send_modify(|state| state.refuses = true);
    }

    /// New connections go there from now on.
    pub fn retarget(&self, target: SocketAddr) {
        self.state.send_modify(|state| state.target = Some(target));
    }

    /// Ends every present connection on both sides, with a FIN.
    pub fn close(&self) {
        self.end(Break::Close);
    }

    /// Ends every present connection on both sides, with a RST.
    pub fn reset(&self) {
        self.end(Break::Reset);
    }

    /// Every connection made from now on ends with a RST once so many bytes went this way.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        self.state.send_modify(|state| {
            for (index, own) in [Way::There, Way::Back].into_iter().enumerate() {
                if way == own || way == Way::Both {
                    state.cut_after[index] = Some(bytes);
                }
            }
        });
    }

    /// How often it was dialled, refused or not, as that goes on.
    pub fn dials(&self) -> watch::Receiver<u64> {
        self.dials.subscribe()
    }

    /// Bytes that went there and back since the link was made.
    pub fn passed(&self) -> [u64; 2] {
        [0, 1].map(|way| self.passed[way].load(Ordering::Relaxed))
    }

    fn end(&self, how: Break) {
        self.state.send_modify(|state| {
            state.breaks += 1;
            state.how = how;
        });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(
    mut near: TcpStream,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
    passed: Arc<[AtomicU64; 2]>,
) {
    let State {
        breaks, cut_after, ..
    } = *state.borrow();
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    for socket in [&near, &far] {
        let _ = socket.set_nodelay(true);
    }
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let pump = |read, write, way: usize| Pump {
        read,
        write,
        way,
        left: cut_after[way],
        state: state.clone(),
        passed: passed.clone(),
    };
    let there = pump(near_read, far_write, 0);
    let back = pump(far_read, near_write, 1);
    let both = async {
        // A cut ends the connection; an end of one direction leaves the other one.
        let (there, back) = (there.run(), back.run());
        tokio::pin!(there, back);
        tokio::select! {
            biased;
            cut = &mut there => cut || back.await,
            cut = &mut back => cut || there.await,
        }
    };
    let reset = tokio::select! {
        biased;
        broken = state.wait_for(|state| state.breaks > breaks) => {
            broken.is_ok_and(|state| state.how == Break::Reset)
        }
        cut = both => cut,
    };
    if reset {
        for socket in [&near, &far] {
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// One direction of one connection.
struct Pump<'a> {
    read: ReadHalf<'a>,
    write: WriteHalf<'a>,
    way: usize,
    left: Option<u64>,
    state: watch::Receiver<State>,
    passed: Arc<[AtomicU64; 2]>,
}

impl Pump<'_> {
    /// Forwards to the end. `true` where it was cut.
    async fn run(mut self) -> bool {
        let mut buffer = vec![0; PIECE];
        loop {
            let way = self.way;
            let moving = |state: &State| state.does[way] != Does::Hold;
            let does = match self.state.wait_for(moving).await {
                Ok(state) => state.does[way],
                Err(_) => return false,
            };
            let most = match does {
                Does::Drip(bytes, _) => bytes.clamp(1, PIECE),
                _ => PIECE,
            };
            let read = tokio::select! {
                biased;
                _ = self.state.wait_for(|state| state.does[way] != does) => continue,
                read = self.read.read(&mut buffer[..most]) => read,
            };
            let Ok(mut n @ 1..) = read else {
                break;
            };
            match does {
                Does::Swallow => continue,
                Does::Delay(ms) | Does::Drip(_, ms) => self.pace(ms).await,
                Does::Jitter(most) => self.pace(fastrand::u64(..=most)).await,
                Does::Pass | Does::Hold => {}
            }
            let cut = self.left.is_some_and(|left| left <= n as u64);
            if let Some(left) = &mut self.left {
                n = n.min(*left as usize);
                *left -= n as u64;
            }
            if self.write.write_all(&buffer[..n]).await.is_err() {
                break;
            }
            self.passed[way].fetch_add(n as u64, Ordering::Relaxed);
            if cut {
                return true;
            }
        }
        let _ = self.write.shutdown().await;
        false
    }

    /// The pace of a slow link is what it does, not a wait for something.
    async fn pace(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair(link: &Link, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(link.addr()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (near, far)
    }

    async fn start() -> (Link, TcpListener) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let link = Link::to(listener.local_addr().unwrap()).await.unwrap();
        (link, listener)
    }

    #[tokio::test]
    async fn what_is_held_goes_on_after_healing() {
        let (link, listener) = start().await;
        let (mut near, mut far) = pair(&link, &listener).await;
        link.set(Way::There, Does::Hold);
        near.write_all(b"held").await.unwrap();
        far.write_all(b"back").await.unwrap();
        let mut four = [0; 4];
        near.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"back", "the other direction goes on");
        assert_eq!(link.passed(), [0, 4]);
        link.heal();
        far.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"held");
    }

    #[tokio::test]
    async fn a_cut_comes_after_exactly_so_many_bytes() {
        let (link, listener) = start().await;
        link.cut_after(Way::There, 3);
        let (mut near, mut far) = pair(&link, &listener).await;
        near.write_all(b"five!").await.unwrap();
        let mut got = Vec::new();
        let end = far.read_to_end(&mut got).await;
        assert!(end.is_err(), "a reset, not an end");
        assert!(got.len() <= 3 && b"five!".starts_with(&got), "{got:?}");
        assert_eq!(link.passed()[0], 3);
    }

    #[tokio::test]
    async fn a_reset_ends_both_sides() {
        let (link, listener) = start().await;
        let (mut near, mut far) = pair(&link, &listener).await;
        link.reset();
        let mut byte = [0];
        assert!(near.read(&mut byte).await.is_err());
        assert!(far.read(&mut byte).await.is_err());
    }
}
