//! A network that loses packets: turmoil-net's sockets on turmoil's hosts, behind the same listener and
//! dialer. What is written fills buffers byte by byte, and what is lost is sent again, so that a link that
//! was parted heals by itself.
//!
//! turmoil-net sends data again, but no acknowledgement: its `handle_established` drops data that it has
//! already without a word, and nobody asks after a window that is shut (RFC 9293, 3.10.7.4 and 3.8.6.1). A lost
//! one would stop a connection for ever, unless its receiver happened to write; so the air says it again.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use grpcrouter_core::Time;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil_net::shim::tokio::net::{TcpListener, TcpStream};
use turmoil_net::{EnterGuard, HostId, KernelConfig, Net, Packet, TcpFlags, TcpSegment, Transport};

use crate::plan::Options;

use super::node::{Link, Node};
use super::world::TICK;

/// The air between hosts, as they and the faults see it.
pub(super) struct Air {
    hosts: BTreeMap<Node, HostId>,
    names: BTreeMap<IpAddr, Node>,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    /// Packets lost of a hundred.
    loss: u8,
    /// Who does not reach whom.
    parted: BTreeSet<(Node, Node)>,
    slow: BTreeSet<Link>,
    /// Where a host's port really is.
    ports: BTreeMap<(Node, u16), u16>,
    ways: BTreeMap<Way, Said>,
    /// Connections of processes that have ended, their own end first.
    gone: BTreeSet<Way>,
    flying: BTreeMap<(Time, u64), Packet>,
    flown: u64,
}

/// One way of a connection: who sends, and who receives.
type Way = (SocketAddr, SocketAddr);

/// What was said one way of a connection.
#[derive(Default)]
struct Said {
    /// The latest acknowledgement and window.
    last: Option<Packet>,
    /// When that is said again: it was lost.
    again: Option<Time>,
    /// When everything so far has arrived.
    due: Time,
}

impl Air {
    /// A network of these hosts, installed on this thread for as long as the guard lives.
    pub(super) fn enter(options: &Options, seed: u64, loss: u8) -> (Self, EnterGuard) {
        let config = KernelConfig::default()
            .send_buf_cap(options.link_bytes)
            .recv_buf_cap(options.link_bytes)
            // Its sender does not give up while a fault lasts.
            .retx_threshold(steps_lost(options))
            .retx_max(10_000);
        let mut net = Net::with_config(config);
        let (mut hosts, mut names) = (BTreeMap::new(), BTreeMap::new());
        for node in Node::all(options) {
            let name = node.to_string();
            names.insert(net.lookup(&name), node);
            hosts.insert(node, net.add_host(name.as_str()));
        }
        let state = Mutex::new(State {
            rng: Rng::with_seed(seed),
            loss,
            parted: BTreeSet::new(),
            slow: BTreeSet::new(),
            ports: BTreeMap::new(),
            ways: BTreeMap::new(),
            gone: BTreeSet::new(),
            flying: BTreeMap::new(),
            flown: 0,
        });
        let air = Self {
            hosts,
            names,
            state,
        };
        (air, net.enter())
    }

    /// A step of the simulation is over: what was sent flies, and what has flown long enough arrives.
    pub(super) fn tick(&self, guard: &EnterGuard, now: Time, options: &Options) {
        let mut state = self.state();
        let mut sent = Vec::new();
        guard.egress_all(&mut sent);
        for packet in sent {
            self.fly(&mut state, packet, now, options);
        }
        for packet in state.said_again(now) {
            self.fly(&mut state, packet, now, options);
        }
        let mut arrived = Vec::new();
        while let Some(next) = state.flying.first_entry()
            && next.key().0 <= now
        {
            arrived.push(next.remove());
        }
        drop(state);
        for packet in arrived {
            guard.deliver(packet);
        }
    }

    /// A packet sets out, and may be lost.
    fn fly(&self, state: &mut State, packet: Packet, now: Time, options: &Options) {
        let ends = (self.names.get(&packet.src), self.names.get(&packet.dst));
        let ((Some(from), Some(to)), Some(way)) = (ends, way(&packet)) else {
            return;
        };
        if state.is_gone(way) {
            return;
        }
        let lost = state.rng.u8(..100) < state.loss;
        let jitter_us = options.jitter.as_micros() as u64;
        let jitter = Duration::from_micros(state.rng.u64(..=jitter_us));
        let said = state.ways.entry(way).or_default();
        said.hears(&packet);
        if lost || state.parted.contains(&(*from, *to)) {
            let patience = TICK * steps_lost(options);
            said.again = said.again.or(Some(now + patience));
            return;
        }
        said.again = None;
        let delay = match state.slow.contains(&Link::new(*from, *to)) {
            true => super::spike(options),
            false => options.latency + jitter,
        };
        // None overtakes another: the later window is taken for the newer one.
        said.due = said.due.max(now + delay);
        state.flown += 1;
        state.flying.insert((said.due, state.flown), packet);
    }

    /// A process is about to end. Its machine says nothing more on its connections: tokio drops their sockets
    /// in an order that follows from what the whole program did before, turmoil-net says goodbye for each
    /// in that order, and which of these packets is lost would follow from it.
    pub(super) fn end(&self, node: Node) {
        let sockets = turmoil_net::netstat(node.to_string()).entries.into_iter();
        let connections = sockets.filter_map(|socket| Some((socket.local, socket.peer?)));
        self.state().gone.extend(connections);
    }

    /// Says whether one host reaches the other.
    pub(super) fn part(&self, from: Node, to: Node, parted: bool) {
        let mut state = self.state();
        match parted {
            true => state.parted.insert((from, to)),
            false => state.parted.remove(&(from, to)),
        };
    }

    /// Says whether a link is slow.
    pub(super) fn slow(&self, link: Link, slow: bool) {
        let mut state = self.state();
        match slow {
            true => state.slow.insert(link),
            false => state.slow.remove(&link),
        };
    }

    /// Who has this address.
    pub(super) fn node_at(&self, ip: IpAddr) -> Option<Node> {
        self.names.get(&ip).copied()
    }

    /// Listens on a host.
    pub(super) async fn bind(&self, node: Node, port: u16) -> io::Result<On<TcpListener>> {
        let host = self.hosts[&node];
        let mut real = port;
        loop {
            turmoil_net::set_current(host);
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, real));
            match TcpListener::bind(any).await {
                // An earlier process's connections are still being closed, and there is no SO_REUSEADDR.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => real += 2,
                listener => {
                    self.state().ports.insert((node, port), real);
                    return listener.map(|inner| On { host, inner });
                }
            }
        }
    }

    /// Dials from a host.
    pub(super) async fn connect(
        &self,
        local: Node,
        remote: Node,
        port: u16,
    ) -> io::Result<On<TcpStream>> {
        let host = self.hosts[&local];
        let real = self.state().ports.get(&(remote, port)).copied();
        let real = real.ok_or(io::ErrorKind::ConnectionRefused)?;
        let connect = Box::pin(TcpStream::connect((remote.to_string(), real)));
        let inner = On {
            host,
            inner: connect,
        };
        let inner = inner.await?;
        Ok(On { host, inner })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether one of a connection's processes has ended.
    fn is_gone(&self, (from, to): Way) -> bool {
        self.gone.contains(&(from, to)) || self.gone.contains(&(to, from))
    }

    /// What was lost long enough ago, and not followed by anything since.
    fn said_again(&mut self, now: Time) -> Vec<Packet> {
        let due = self.ways.values_mut();
        let due = due.filter_map(|said| {
            said.again.take_if(|at| *at <= now)?;
            said.last.clone()
        });
        due.collect()
    }
}

impl Said {
    /// Keeps what a packet acknowledges, without its data.
    fn hears(&mut self, packet: &Packet) {
        let Transport::Tcp(segment) = &packet.payload else {
            return;
        };
        let TcpFlags {
            syn, ack, fin, rst, ..
        } = segment.flags;
        if rst {
            self.last = None;
        } else if ack && !syn {
            let len = segment.payload.len() as u32 + u32::from(fin);
            let segment = TcpSegment {
                seq: segment.seq.wrapping_add(len),
                flags: TcpFlags {
                    ack,
                    ..TcpFlags::default()
                },
                payload: Bytes::new(),
                ..*segment
            };
            self.last = Some(Packet {
                payload: Transport::Tcp(segment),
                ..*packet
            });
        }
    }
}

fn way(packet: &Packet) -> Option<Way> {
    let Transport::Tcp(segment) = &packet.payload else {
        return None;
    };
    let from = SocketAddr::new(packet.src, segment.src_port);
    Some((from, SocketAddr::new(packet.dst, segment.dst_port)))
}

/// Steps after which a packet is lost: no answer came in two round trips.
fn steps_lost(options: &Options) -> u32 {
    let round_trip = (super::hop(options) * 2).as_micros() / TICK.as_micros();
    2 * round_trip as u32 + 2
}

/// A socket that knows its host: all hosts are on one thread, and each call must say whose it is.
pub(super) struct On<T> {
    host: HostId,
    inner: T,
}

impl<T> Drop for On<T> {
    fn drop(&mut self) {
        turmoil_net::set_current(self.host);
    }
}

impl On<TcpListener> {
    pub(super) async fn accept(&self) -> io::Result<(On<TcpStream>, SocketAddr)> {
        let accepted = poll_fn(|cx| {
            turmoil_net::set_current(self.host);
            self.inner.poll_accept(cx)
        });
        let (inner, peer) = accepted.await?;
        let host = self.host;
        Ok((On { host, inner }, peer))
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        turmoil_net::set_current(self.host);
        self.inner.local_addr()
    }
}

impl<F: Future + Unpin> Future for On<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        turmoil_net::set_current(self.host);
        pin!(&mut self.inner).poll(cx)
    }
}

impl AsyncRead for On<TcpStream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        turmoil_net::set_current(self.host);
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for On<TcpStream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        turmoil_net::set_current(self.host);
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        turmoil_net::set_current(self.host);
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        turmoil_net::set_current(self.host);
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
