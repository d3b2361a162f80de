//! Random sequences of what can happen to a registry, against a model that is obviously right.
//!
//! The model is a plain list searched from end to end. It does not know whose turn it is; evenness
//! is checked from the log of picks alone.

use std::collections::BTreeMap;

use grpcrouter_proto::v1::HealthStatus;
use proptest::prelude::*;

use super::testing::info;
use super::*;

const NAMES: [&str; 4] = ["*", "pkg.A", "pkg.B", "pkg.C"];
const HEALTHS: [HealthStatus; 5] = [
    HealthStatus::Unknown,
    HealthStatus::Healthy,
    HealthStatus::Unhealthy,
    HealthStatus::Starting,
    HealthStatus::Stopping,
];

/// Small numbers stand for ids, services and identities; `target` for the n-th key given out so
/// far, so that stale keys are used as often as live ones.
#[derive(Debug, Clone)]
enum Command {
    Register {
        id: u8,
        epoch: u64,
        stranger: bool,
        services: u8,
    },
    Remove {
        target: usize,
    },
    Drain {
        target: usize,
    },
    Health {
        target: usize,
        service: usize,
        health: usize,
    },
    Pick {
        service: usize,
        pinned: Option<u8>,
        excluded: Option<usize>,
    },
}

fn command() -> impl Strategy<Value = Command> {
    let target = || 0..24_usize;
    prop_oneof![
        3 => (0..6_u8, 0..12_u64, prop::bool::weighted(0.1), 1..16_u8).prop_map(
            |(id, epoch, stranger, services)| Command::Register { id, epoch, stranger, services }
        ),
        1 => target().prop_map(|target| Command::Remove { target }),
        1 => target().prop_map(|target| Command::Drain { target }),
        2 => (target(), 0..4_usize, 0..5_usize)
            .prop_map(|(target, service, health)| Command::Health { target, service, health }),
        8 => (
            0..4_usize,
            prop::option::weighted(0.1, 0..7_u8),
            prop::option::weighted(0.1, target()),
        )
            .prop_map(|(service, pinned, excluded)| Command::Pick { service, pinned, excluded }),
    ]
}

#[derive(Debug)]
struct Instance {
    id: String,
    epoch: u64,
    stranger: bool,
    services: BTreeMap<&'static str, HealthStatus>,
    draining: bool,
    /// Position in `World::keys`, which is also what the registry holds as the tunnel.
    tunnel: usize,
}

impl Instance {
    fn offers(&self, service: &str) -> Option<HealthStatus> {
        self.services
            .get(service)
            .or_else(|| self.services.get("*"))
            .copied()
    }

    fn takes(&self, service: &str) -> bool {
        !self.draining && self.offers(service).is_some_and(is_serving)
    }

    fn takes_by_name(&self, service: &str) -> bool {
        self.takes(service) && self.services.contains_key(service)
    }
}

struct World {
    registry: Registry<usize>,
    instances: Vec<Instance>,
    /// Every key ever given out.
    keys: Vec<Key>,
    /// For each service, since when (as a position in its turns) who has been taking calls by name.
    present: BTreeMap<&'static str, BTreeMap<usize, usize>>,
    /// For each service, who had which turn. Retries pass somebody over, so they start it afresh.
    turns: BTreeMap<&'static str, Vec<usize>>,
    revision: u64,
}

const MAX_INSTANCES: usize = 5;

impl World {
    fn new() -> Self {
        let limits = RegistryLimits {
            max_instances: MAX_INSTANCES,
            ..Default::default()
        };
        Self {
            registry: Registry::new(limits),
            instances: Vec::new(),
            keys: Vec::new(),
            present: BTreeMap::new(),
            turns: BTreeMap::new(),
            revision: 0,
        }
    }

    fn apply(&mut self, command: &Command) {
        let revisions = match *command {
            Command::Register {
                id,
                epoch,
                stranger,
                services,
            } => self.register(id, epoch, stranger, services),
            Command::Remove { target } => self.remove(target),
            Command::Drain { target } => self.drain(target),
            Command::Health {
                target,
                service,
                health,
            } => self.set_health(target, NAMES[service], HEALTHS[health]),
            Command::Pick {
                service,
                pinned,
                excluded,
            } => {
                self.pick(NAMES[service], pinned, excluded);
                0
            }
        };
        self.note_who_is_present();
        self.check(revisions);
    }

    fn register(&mut self, id: u8, epoch: u64, stranger: bool, services: u8) -> u64 {
        let id = format!("i{id}");
        let names: Vec<_> = (0..4)
            .filter(|n| services & (1 << n) != 0)
            .map(|n| NAMES[n])
            .collect();
        let identity = if stranger {
            Identity::named("stranger")
        } else {
            Identity::anonymous()
        };
        let limits = RegistryLimits::default();
        let parsed = Registration::parse(&info(&id, epoch, &names), identity, &limits).unwrap();
        let tunnel = self.keys.len();
        let result = self.registry.register(parsed, tunnel);

        let owner = self.instances.iter().position(|i| i.id == id);
        let replaced = match owner {
            Some(at) if self.instances[at].stranger != stranger => {
                assert!(matches!(
                    result,
                    Err(RegisterError::PermissionDenied { .. })
                ));
                return 0;
            }
            Some(at) if self.instances[at].epoch >= epoch => {
                assert!(matches!(result, Err(RegisterError::AlreadyExists { .. })));
                return 0;
            }
            None if self.instances.len() == MAX_INSTANCES => {
                assert!(matches!(
                    result,
                    Err(RegisterError::ResourceExhausted { .. })
                ));
                return 0;
            }
            owner => owner.map(|at| self.instances.remove(at).tunnel),
        };
        let registered = result.expect("nothing speaks against it");
        assert_eq!(registered.replaced, replaced);
        assert!(
            !self.keys.contains(&registered.key),
            "a key names one registration for ever"
        );
        self.keys.push(registered.key);
        let services = names
            .into_iter()
            .map(|name| (name, HealthStatus::Unknown))
            .collect();
        self.instances.push(Instance {
            id,
            epoch,
            stranger,
            services,
            draining: false,
            tunnel,
        });
        1 + u64::from(replaced.is_some())
    }

    fn remove(&mut self, target: usize) -> u64 {
        let Some(&key) = self.keys.get(target) else {
            return 0;
        };
        let at = self.instances.iter().position(|i| i.tunnel == target);
        assert_eq!(self.registry.remove(key), at.is_some());
        at.map_or(0, |at| {
            self.instances.remove(at);
            1
        })
    }

    fn drain(&mut self, target: usize) -> u64 {
        let Some(&key) = self.keys.get(target) else {
            return 0;
        };
        let live = self
            .instances
            .iter_mut()
            .find(|i| i.tunnel == target && !i.draining);
        assert_eq!(self.registry.set_draining(key), live.is_some());
        live.map_or(0, |instance| {
            instance.draining = true;
            1
        })
    }

    fn set_health(&mut self, target: usize, service: &str, health: HealthStatus) -> u64 {
        let Some(&key) = self.keys.get(target) else {
            return 0;
        };
        let live = self.instances.iter_mut().find(|i| i.tunnel == target);
        let declared = live.and_then(|instance| instance.services.get_mut(service));
        let changes = declared
            .filter(|old| **old != health)
            .map(|old| *old = health)
            .is_some();
        assert_eq!(self.registry.set_health(key, service, health), changes);
        u64::from(changes)
    }

    fn pick(&mut self, service: &'static str, pinned: Option<u8>, excluded: Option<usize>) {
        let pinned = pinned.map(|id| format!("i{id}"));
        let excluded_key = excluded.and_then(|target| self.keys.get(target).copied());
        let result = match excluded_key {
            Some(key) => self.registry.pick_other(service, pinned.as_deref(), key),
            None => self.registry.pick_one(service, pinned.as_deref()),
        };
        let is_asked = |i: &&Instance| {
            pinned.as_ref().is_none_or(|id| *id == i.id)
                && excluded_key.is_none_or(|key| key != self.keys[i.tunnel])
        };
        let able: Vec<_> = self
            .instances
            .iter()
            .filter(is_asked)
            .filter(|i| i.takes(service))
            .collect();
        match result {
            Ok((key, tunnel)) => {
                assert_eq!(self.keys[tunnel], key);
                let picked = able
                    .iter()
                    .find(|i| i.tunnel == tunnel)
                    .expect("one that takes it");
                let by_name = able.iter().any(|i| i.takes_by_name(service));
                let is_fallback = !picked.takes_by_name(service);
                assert!(
                    pinned.is_some() || !(by_name && is_fallback),
                    "names before `*`"
                );
                match (&pinned, excluded_key) {
                    (Some(_), _) => {}
                    (None, Some(_)) => self.forget_turns(service),
                    // What falls back to `*` shares turns with other services: not logged here.
                    (None, None) if is_fallback => self.forget_turns("*"),
                    (None, None) => self.note_turn(service, tunnel),
                }
            }
            Err(error) => {
                assert!(able.is_empty(), "{} could take it", able[0].id);
                let offered = self.instances.iter().any(|i| i.offers(service).is_some());
                let declares = |i: &Instance| i.services.keys().any(|name| *name != "*");
                let expected = match pinned {
                    None if !offered && self.instances.iter().any(declares) => {
                        PickError::UnknownService
                    }
                    _ => PickError::NoInstance,
                };
                assert_eq!(error, expected);
            }
        }
    }

    /// R18: between two turns of one instance, and between its coming and its first turn, whoever
    /// else was there all the time has exactly one turn.
    fn note_turn(&mut self, service: &'static str, tunnel: usize) {
        let turns = self.turns.entry(service).or_default();
        let present = &self.present[service];
        let came = present[&tunnel];
        let own_last = turns
            .iter()
            .rposition(|t| *t == tunnel)
            .filter(|at| *at >= came);
        let since = own_last.map_or(came, |at| at + 1);
        for (other, _) in present
            .iter()
            .filter(|(t, came)| **t != tunnel && **came < since)
        {
            let had = turns[since..].iter().filter(|t| *t == other).count();
            assert_eq!(
                had, 1,
                "turns of {other} before the next of {tunnel}: {turns:?}"
            );
        }
        turns.push(tunnel);
    }

    fn forget_turns(&mut self, service: &'static str) {
        for service in [service, "*"] {
            self.turns.remove(service);
            for came in self.present.entry(service).or_default().values_mut() {
                *came = 0;
            }
        }
    }

    fn note_who_is_present(&mut self) {
        for service in NAMES {
            let now = self.turns.get(service).map_or(0, Vec::len);
            let present = self.present.entry(service).or_default();
            let takers: Vec<_> = self
                .instances
                .iter()
                .filter(|i| i.takes_by_name(service))
                .map(|i| i.tunnel)
                .collect();
            present.retain(|tunnel, _| takers.contains(tunnel));
            for tunnel in takers {
                present.entry(tunnel).or_insert(now);
            }
        }
    }

    fn check(&mut self, revisions: u64) {
        for expected in self.revision + 1..=self.revision + revisions {
            let change = self.registry.poll_change().expect("every change is told");
            assert_eq!(change.revision, expected, "no gap");
        }
        assert_eq!(self.registry.poll_change(), None);
        self.revision += revisions;
        assert_eq!(self.registry.revision(), self.revision);

        let mut ids: Vec<_> = self.instances.iter().map(|i| i.id.clone()).collect();
        ids.sort();
        let listed: Vec<_> = self
            .registry
            .list("")
            .into_iter()
            .map(|i| i.instance_id)
            .collect();
        assert_eq!(listed, ids, "one owner for each id");
        for service in NAMES {
            let offered = self.instances.iter().any(|i| i.offers(service).is_some());
            let served = self.instances.iter().any(|i| i.takes(service));
            let expected = match (offered, served) {
                (false, _) => None,
                (true, true) => Some(HealthStatus::Healthy),
                (true, false) => Some(HealthStatus::Unhealthy),
            };
            let declared = self
                .instances
                .iter()
                .any(|i| i.services.contains_key(service));
            assert_eq!(
                self.registry.offerings.contains_key(service),
                declared,
                "no leak"
            );
            assert_eq!(self.registry.service_health(service), expected, "{service}");
        }
    }
}

proptest! {
    /// Proves: T2, T3, R18
    #[test]
    fn a_registry_does_what_the_model_does(commands in prop::collection::vec(command(), 1..200)) {
        let mut world = World::new();
        for command in &commands {
            world.apply(command);
        }
        for key in world.keys.clone() {
            world.registry.remove(key);
        }
        prop_assert!(world.registry.is_empty() && world.registry.offerings.is_empty());
        prop_assert_eq!(world.registry.with_named_services, 0);
    }
}
