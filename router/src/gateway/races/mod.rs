//! The directory under threads that a scheduler of its own interleaves: shuttle stands in for the system's locks
//! and threads, and every run can be repeated from the schedule that a failure prints.

mod history;

// As in the gateway, but for whose locks it has.
#[allow(
    clippy::duplicate_mod,
    dead_code,
    reason = "the same source with other locks"
)]
#[path = "../directory.rs"]
mod directory;

use std::sync::atomic::{AtomicU64, Ordering};

use grpcrouter_core::Tunnel;
use grpcrouter_core::registry::{
    ChangeKind, Choice, Filter, Identity, PickError, Registry, RegistryLimits, Wanted,
};
use grpcrouter_proto::v1::{Epoch, Instance, InstanceInfo, ServiceInfo};
use shuttle::sync::{self, Arc, Mutex};
use shuttle::thread;

use super::backlog;
use crate::Clock;
use crate::tunnel::Link;

use directory::{Directory, TunnelLink};
use history::{Operation, Seen, is_linearizable};

const SERVICE: &str = "pkg.A";
/// Instances that are registered, each by two threads with epochs 1 and 2.
const IDS: usize = 2;
const REGISTRARS: usize = 2 * IDS;
const LOOKUPS: usize = 4;
/// Schedules: half at random, half that change threads seldom and at the worst places.
const SCHEDULES: usize = 2_000;
/// Changes of thread that are not forced, in the second half.
const SWITCHES: usize = 4;

/// Proves: T20
#[test]
fn threads_that_register_unregister_and_look_up_agree_on_an_order() {
    shuttle::check_random(race, SCHEDULES / 2);
    shuttle::check_pct(race, SCHEDULES / 2, SWITCHES);
}

/// Proves: R18
#[test]
fn the_less_loaded_is_found_by_the_calls_of_all_shards() {
    let find = || {
        let World {
            directories: [one, other],
            tunnels,
            ..
        } = World::new();
        for (id, link) in tunnels.iter().enumerate().take(2) {
            let registered = one.register(&info(id, 1), Identity::anonymous(), link, |_, _| {});
            registered.expect("registers");
        }
        let pick = |directory: &Directory, choice: Choice<'_>| {
            let wanted = Wanted {
                service: SERVICE,
                choice,
                excluded: None,
            };
            directory.pick(wanted).expect("someone takes it")
        };
        let busy = pick(&one, Choice::Instance(&name(0)));
        for _ in 0..10 {
            let idle = pick(&other, Choice::LeastLoaded(0));
            assert!(std::sync::Arc::ptr_eq(&idle.tunnel, &tunnels[1]));
            other.release(idle.load);
        }
        one.release(busy.load);
        let held = pick(&one, Choice::Instance(&name(1)));
        let idle = pick(&other, Choice::LeastLoaded(0));
        assert!(std::sync::Arc::ptr_eq(&idle.tunnel, &tunnels[0]));
        one.release(held.load);
    };
    shuttle::check_random(find, 1);
}

/// Eight threads on one directory, and what must hold of what they saw.
fn race() {
    let world = Arc::new(World::new());
    let (before, _, mut watcher) = world.directories[1].watch(&Filter::default());
    assert!(before.is_empty());
    let registrars = (0..REGISTRARS).map(|number| {
        let world = world.clone();
        thread::spawn(move || world.come_and_go(number))
    });
    let registrars: Vec<_> = registrars.collect();
    let lookups = (0..LOOKUPS).map(|number| {
        let world = world.clone();
        thread::spawn(move || world.look_up(number))
    });
    for thread in registrars.into_iter().chain(lookups.collect::<Vec<_>>()) {
        thread.join().expect("a thread's own checks hold");
    }
    let history = world.history.lock().expect("no thread failed");
    assert!(is_linearizable(&history), "{history:#?}");

    // Whoever watched from the start has seen the same come and go, and what is left is what is there.
    let mut watched: Vec<Instance> = Vec::new();
    let left = world.directories[1].read(|it| it.find(&Filter::default()));
    for expected in 1..=world.directories[0].read(Registry::revision) {
        let change = tokio_test::task::spawn(watcher.next()).poll();
        let std::task::Poll::Ready(Ok(change)) = change else {
            panic!("no change {expected}: {change:?}");
        };
        assert_eq!(change.revision, expected);
        let at = watched
            .iter()
            .position(|it| it.instance_id == change.instance.instance_id);
        match (change.kind, at) {
            (ChangeKind::Added, None) => watched.push((*change.instance).clone()),
            (ChangeKind::Updated, Some(at)) => watched[at] = (*change.instance).clone(),
            (ChangeKind::Removed, Some(at)) => drop(watched.remove(at)),
            (kind, at) => panic!("{kind:?} of {at:?}"),
        }
    }
    watched.sort_by(|a, b| a.instance_id.cmp(&b.instance_id));
    assert_eq!(watched, left);
}

/// A directory, and what its threads saw of it.
struct World {
    /// The same one, as its two shards see it.
    directories: [Directory; 2],
    tunnels: Vec<TunnelLink>,
    /// Ticks whenever an operation begins or ends.
    clock: AtomicU64,
    history: Mutex<Vec<Operation>>,
}

impl World {
    fn new() -> Self {
        let tunnel = |_| {
            let clock = Clock::start();
            let tunnel = Tunnel::<grpcrouter_core::Gateway>::new(clock.now(), Default::default());
            std::sync::Arc::new(Link::new(tunnel, clock))
        };
        let shards = Directory::shards(&RegistryLimits::default(), 1, 2);
        Self {
            directories: shards.try_into().expect("two of them"),
            tunnels: (0..REGISTRARS).map(tunnel).collect(),
            clock: AtomicU64::new(0),
            history: Mutex::default(),
        }
    }

    /// Registers an instance, which may be taken already; then drains, removes, or replaces nothing.
    fn come_and_go(&self, number: usize) {
        let directory = &self.directories[number / IDS];
        let id = number % IDS;
        let epoch = (number / IDS) as u64 + 1;
        let mut key = None;
        self.note(|| {
            let (info, link) = (info(id, epoch), &self.tunnels[number]);
            let identity = Identity::anonymous();
            match directory.register(&info, identity, link, |_, _| {}) {
                Ok(registered) => {
                    key = Some(registered);
                    let tunnel = number;
                    Seen::Registered { id, epoch, tunnel }
                }
                Err(refused) => {
                    assert_eq!(refused.reason, "stale-epoch");
                    Seen::Refused { id, epoch }
                }
            }
        });
        let Some(key) = key else { return };
        let tunnel = number;
        if id == 0 {
            self.note(|| {
                directory.set_draining(key);
                Seen::Drained { tunnel }
            });
        }
        self.note(|| {
            directory.remove(key);
            Seen::Removed { tunnel }
        });
    }

    /// Calls whoever is named, and whose turn it is.
    fn look_up(&self, number: usize) {
        let shard = number / 2;
        let id = number % IDS;
        let name = name(id);
        for _ in 0..2 {
            self.note(|| {
                let tunnel = self.pick(shard, Choice::Instance(&name));
                Seen::Named { id, tunnel }
            });
            self.note(|| {
                let tunnel = self.pick(shard, Choice::Turn);
                Seen::Turn { tunnel }
            });
        }
    }

    fn pick(&self, shard: usize, choice: Choice<'_>) -> Option<usize> {
        let wanted = Wanted {
            service: SERVICE,
            choice,
            excluded: None,
        };
        let directory = &self.directories[shard];
        match directory.pick(wanted) {
            Ok(picked) => {
                directory.release(picked.load);
                let same = |link: &TunnelLink| std::sync::Arc::ptr_eq(link, &picked.tunnel);
                Some(self.tunnels.iter().position(same).expect("one of ours"))
            }
            Err(PickError::NoInstance | PickError::UnknownService) => None,
        }
    }

    /// Runs an operation and notes when, and what it saw.
    fn note(&self, operation: impl FnOnce() -> Seen) {
        let began = self.clock.fetch_add(1, Ordering::Relaxed);
        let seen = operation();
        let ended = self.clock.fetch_add(1, Ordering::Relaxed);
        let operation = Operation { began, ended, seen };
        self.history
            .lock()
            .expect("no thread failed")
            .push(operation);
    }
}

fn name(id: usize) -> String {
    format!("i{id}")
}

fn info(id: usize, started_us: u64) -> InstanceInfo {
    InstanceInfo {
        instance_id: name(id),
        epoch: Some(Epoch {
            started_us,
            attempt: 0,
        }),
        services: vec![ServiceInfo {
            name: SERVICE.to_owned(),
            ..ServiceInfo::default()
        }],
        ..InstanceInfo::default()
    }
}
