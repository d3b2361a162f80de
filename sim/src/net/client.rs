//! A client's process: it calls gateways over HTTP/2 and knows nothing of the router.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::Time;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::call;
use super::hosts::DIAL;
use super::node::Node;
use super::wire::{CALLS, Dial};
use super::world::{TICK, World};

/// When the plan's time begins: every instance is registered by then.
pub(super) const START: Time = Time::from_micros(1_500_000);

/// A client's process.
pub(super) struct Client {
    pub(super) world: Arc<World>,
    number: usize,
    state: Mutex<State>,
}

struct State {
    live: Option<Live>,
    /// The gateway to dial next.
    next: usize,
}

/// A connection.
#[derive(Clone)]
struct Live {
    gateway: usize,
    requests: SendRequest<Bytes>,
    alive: Arc<AtomicBool>,
}

/// Runs a client: makes the calls of the plan that it has not made yet, and those that are asked for later.
pub(super) async fn run(
    world: Arc<World>,
    number: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let client = Arc::new(Client {
        number,
        state: Mutex::new(State {
            live: None,
            next: number % world.options.gateways,
        }),
        world,
    });
    for (call, start) in client.due() {
        let client = client.clone();
        tokio::spawn(async move {
            sleep(start - client.world.now()).await;
            call::run(&client, call).await;
        });
    }
    loop {
        let wanted: Vec<super::world::Wanted> = client.world.with(|state, _| {
            let mine = |wanted: &super::world::Wanted| wanted.client == number;
            let (mine, others) = state.wanted.drain(..).partition(mine);
            state.wanted = others;
            mine
        });
        for wanted in wanted {
            let client = client.clone();
            tokio::spawn(async move { call::run(&client, wanted.call).await });
        }
        sleep(TICK * 4).await;
    }
}

impl Client {
    /// The calls of the plan that are still to be made, and when.
    fn due(&self) -> Vec<(u32, Time)> {
        self.world.with(|state, _| {
            let all = state
                .ledger
                .records()
                .iter()
                .zip(0..)
                .take(self.world.planned);
            let own = all.filter(|(record, call)| {
                let begun = record.is_open() || record.outcome().is_some();
                !begun && state.ledger.plan(*call).client == self.number
            });
            own.map(|(_, call)| (call, START + state.ledger.plan(call).start))
                .collect()
        })
    }

    /// A connection that takes calls, of which this call is told where it goes. None: that gateway cannot be
    /// reached; the next attempt is at another one.
    pub(super) async fn requests(&self, call: u32) -> Option<SendRequest<Bytes>> {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(_) => {
                // Another call dials, wherever that is: what is in its way is in this one's too.
                self.world.with(|state, now| {
                    state.touches.goes_on(&mut state.ledger, now, call);
                });
                self.state.lock().await
            }
        };
        if let Some(live) = state.live.clone() {
            if live.alive.load(Ordering::Relaxed) {
                self.goes_to(call, live.gateway);
                if let Ok(Ok(requests)) = timeout(DIAL, live.requests.ready()).await {
                    return Some(requests);
                }
            }
            state.live = None;
            state.next = (live.gateway + 1) % self.world.options.gateways;
        }
        let gateway = state.next;
        self.goes_to(call, gateway);
        let connected = timeout(DIAL, self.connect(gateway)).await;
        let Ok(Ok(live)) = connected else {
            state.next = (gateway + 1) % self.world.options.gateways;
            return None;
        };
        state.live = Some(live.clone());
        Some(live.requests)
    }

    fn goes_to(&self, call: u32, gateway: usize) {
        self.world.with(|state, now| {
            state
                .touches
                .goes_to_gateway(&mut state.ledger, now, call, gateway);
        });
    }

    async fn connect(&self, gateway: usize) -> Result<Live, Box<dyn std::error::Error + Send>> {
        let dial = Dial {
            world: self.world.clone(),
            local: Node::Client(self.number),
        };
        let boxed = |error: h2::Error| Box::new(error) as Box<dyn std::error::Error + Send>;
        let io = dial.connect(Node::Gateway(gateway), CALLS).await;
        let window = self.world.options.reader_window;
        let (requests, mut connection) = Builder::new()
            .initial_window_size(window)
            // Wide: a reader that stalls must not stop its siblings.
            .initial_connection_window_size(window * 1_024)
            .enable_push(false)
            .handshake::<_, Bytes>(
                io.map_err(|error| Box::new(error) as Box<dyn std::error::Error + Send>)?,
            )
            .await
            .map_err(boxed)?;
        let pings = connection.ping_pong();
        let alive = Arc::new(AtomicBool::new(true));
        let (interval, flag) = (self.world.options.heartbeat, alive.clone());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = connection => {}
                () = silent(pings, interval) => {}
            }
            flag.store(false, Ordering::Relaxed);
        });
        Ok(Live {
            gateway,
            requests,
            alive,
        })
    }
}

/// Ends when the gateway does not answer a ping in time.
async fn silent(pings: Option<PingPong>, interval: Duration) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        sleep(interval).await;
        if !matches!(
            timeout(interval, pings.ping(Ping::opaque())).await,
            Ok(Ok(_))
        ) {
            return;
        }
    }
}
