//! Which instance takes a call.

use super::draw::Drawn;
use super::registration::CATCH_ALL;
use super::ring::{Ring, mix};
use super::{Entry, Key, Offering, Registry};
use crate::sabotage::{self, Sabotage};
use crate::table::Table;

/// What a call wants of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// `pkg.Service`.
    pub service: &'a str,
    /// How its instance is chosen.
    pub choice: Choice<'a>,
    /// Not this one: for the one retry of a call.
    pub excluded: Option<Key>,
}

/// How the instance of a call is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// The instance of this id. It does not use up its turn.
    Instance(&'a str),
    /// Whose turn it is, by weight.
    Turn,
    /// The instance of this id, else the one that registered this key first and is still there.
    Key(&'a [u8]),
    /// By consistent hashing: the first from the key's place on the ring that has fewer than 32 calls of
    /// the service, or less than 5/4 of its share of them; of 64 that have more, the least loaded. Of several
    /// replicas each counts the calls that it picked.
    Hash(&'a [u8]),
    /// The less loaded, for its weight, of two distinct instances that this random number picks by their
    /// weights; of equally loaded ones the first. Replicas count their calls together ([`Running`](super::Running)).
    LeastLoaded(u64),
}

/// An instance that takes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked<T> {
    /// Its registration.
    pub key: Key,
    /// Its tunnel.
    pub tunnel: T,
    /// The call as load, to be given to [`Registry::release`] at its end.
    pub load: Load,
}

/// A call that counts as load of an instance.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Load {
    key: Key,
    /// Which of the instance's services; none for one that it did not declare.
    position: Option<usize>,
}

/// Why no instance takes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// Nobody takes calls of this service now: the client may try again (UNAVAILABLE,
    /// `no-instance`).
    #[error("no instance takes calls of this service")]
    NoInstance,
    /// Instances have said what they offer, and this is not among it (UNIMPLEMENTED,
    /// `unknown-service`).
    #[error("no instance offers this service")]
    UnknownService,
}

/// Services by which any server tells of itself. Nothing else that an instance did not declare can be
/// reached through it.
const ABOUT_THE_SERVER: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Calls of a service at one instance that move no hashed key away from it. With few calls in all,
/// a share is less than one call, and a bound of 5/4 of it would scatter every key.
const LOAD_FLOOR: u64 = 32;

/// Members without room that a hashed key looks at, and points on the way; then it goes to the least loaded
/// of those members.
const WALK_MEMBERS: usize = 64;
const WALK_POINTS: usize = 512;

/// Draws before the members are gone through one by one. It takes that many where most do not accept, as
/// at `*`, or where a retry excludes one that has nearly all the weight.
const DRAWS: usize = 8;

impl<T: Clone> Registry<T> {
    /// The instance that takes a call.
    ///
    /// Of the instances that offer its service by name and serve it; where there is none, of those that
    /// offer `*`. A draining instance and one that is not serving take no call, asked for or not. Health
    /// and reflection are of every server, and not declared: who names an instance can ask it of itself.
    ///
    /// O(log n) in instances, with no allocation, but for these. The first call of a service that is hashed
    /// makes its ring, O(n log n); a hashed key whose own instance does not take it looks at up to 64 others,
    /// 512 points of the ring. Members of `*` that name the service and do not serve it are stepped over one
    /// by one, and so are those that registered a key earlier and do not serve the service.
    ///
    /// # Errors
    /// [`PickError::UnknownService`] once any instance declares services by name and none offers
    /// this one; else, and always for a named instance, [`PickError::NoInstance`].
    pub fn pick(&mut self, wanted: Wanted<'_>) -> Result<Picked<T>, PickError> {
        let service = wanted.service;
        let accept = |key| Some(key) != wanted.excluded;
        let choice = match wanted.choice {
            Choice::Instance(_) if sabotage::is(Sabotage::PinIgnored) => Choice::Turn,
            choice => choice,
        };
        let key = match choice {
            Choice::Instance(id) => {
                let key = self.named(service, id).ok_or(PickError::NoInstance)?;
                accept(key).then_some(key)
            }
            Choice::Key(key) => self.keyed(service, key, accept),
            Choice::Turn => self.balanced(service, accept, |offering, _, accept| {
                offering.rotation.take(accept)
            }),
            Choice::Hash(key) => self.balanced(service, accept, |offering, entries, accept| {
                offering.hashed(entries, key, accept)
            }),
            Choice::LeastLoaded(random) => {
                self.balanced(service, accept, |offering, entries, accept| {
                    offering.less_loaded(entries, random, accept)
                })
            }
        };
        let key = key.ok_or_else(|| self.why_none(service))?;
        let load = self.count(key, service);
        let tunnel = self.entry(key).tunnel.clone();
        Ok(Picked { key, tunnel, load })
    }

    /// The instance of an id, if it takes calls of this service.
    fn named(&self, service: &str, id: &str) -> Option<Key> {
        let key = *self.by_id.get(id)?;
        self.takes(key, service).then_some(key)
    }

    fn keyed(&self, service: &str, key: &[u8], accept: impl Fn(Key) -> bool) -> Option<Key> {
        let key = std::str::from_utf8(key).ok()?;
        let named = self.named(service, key).filter(|named| accept(*named));
        named.or_else(|| {
            let mut owners = self.by_key.get(key)?.iter().copied();
            owners.find(|owner| accept(*owner) && self.takes(*owner, service))
        })
    }

    fn takes(&self, key: Key, service: &str) -> bool {
        let entry = self.entry(key);
        let offer = entry.registration.offer(service);
        let takes =
            ABOUT_THE_SERVER.contains(&service) || offer.is_some_and(super::Service::is_serving);
        takes && !entry.draining
    }

    fn balanced(
        &mut self,
        service: &str,
        accept: impl Fn(Key) -> bool,
        balance: impl Fn(&mut Offering, &Table<Entry<T>>, &dyn Fn(Key) -> bool) -> Option<Key>,
    ) -> Option<Key> {
        let entries = &self.entries;
        let by_name = self.offerings.get_mut(service);
        if let Some(key) = by_name.and_then(|offering| balance(offering, entries, &accept)) {
            return Some(key);
        }
        let by_any = self.offerings.get_mut(CATCH_ALL)?;
        balance(by_any, entries, &|key| {
            accept(key) && leaves_to_any(entries, key, service)
        })
    }

    fn why_none(&self, service: &str) -> PickError {
        let offered =
            self.offerings.contains_key(service) || self.offerings.contains_key(CATCH_ALL);
        if offered || self.with_named_services == 0 {
            PickError::NoInstance
        } else {
            PickError::UnknownService
        }
    }

    /// Counts a call as load. Health and reflection, which nobody declares, are no service's.
    fn count(&mut self, key: Key, service: &str) -> Load {
        let entry = self.entries.get_mut(key).expect("just picked");
        let registration = &entry.registration;
        let position = registration
            .position(service)
            .or_else(|| registration.position(CATCH_ALL));
        entry.running.start();
        if let Some(position) = position {
            let name = &registration.services[position].name;
            self.offerings.get_mut(name).expect("declared").load += 1;
            entry.loads[position] += 1;
        }
        Load { key, position }
    }

    /// A call has ended.
    pub fn release(&mut self, Load { key, position }: Load) {
        if sabotage::is(Sabotage::LoadLeaked) {
            return;
        }
        // Of an instance that is gone its calls went with it.
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.running.end();
        if let Some(position) = position {
            let name = &entry.registration.services[position].name;
            self.offerings.get_mut(name).expect("declared").load -= 1;
            entry.loads[position] -= 1;
        }
    }
}

impl Offering {
    fn hashed<T>(
        &mut self,
        entries: &Table<Entry<T>>,
        key: &[u8],
        accept: &dyn Fn(Key) -> bool,
    ) -> Option<Key> {
        let rotation = &self.rotation;
        let ring = self.ring.get_or_insert_with(|| {
            Ring::of((0..rotation.len()).map(|index| {
                let member = rotation.member(index);
                let entry = entries.get(member).expect("members are registered");
                let registration = &entry.registration;
                (member, registration.id.as_str(), registration.weight)
            }))
        });
        let (load, weights) = (self.load + 1, self.draw.total().max(1));
        let of = |member: Key| {
            let entry = entries.get(member).expect("members are registered");
            let position = entry.registration.position(&self.name);
            let own = position.map_or(0, |position| u64::from(entry.loads[position]));
            (own, u64::from(entry.registration.weight))
        };
        let has_room = |member: Key| {
            let (own, weight) = of(member);
            // 5/4 of load * weight / weights, in whole numbers.
            own < (5 * load * weight).div_ceil(4 * weights).max(LOAD_FLOOR)
        };
        let owner = ring.owner(key)?;
        if accept(owner) && has_room(owner) {
            return Some(owner);
        }
        let mut full: Vec<Key> = Vec::new();
        for member in ring
            .walk(key)
            .filter(|member| accept(*member))
            .take(WALK_POINTS)
        {
            if full.contains(&member) {
                continue;
            }
            if has_room(member) {
                return Some(member);
            }
            full.push(member);
            if full.len() == WALK_MEMBERS.min(rotation.len()) {
                break;
            }
        }
        full.into_iter().min_by(|a, b| {
            let ((load_a, weight_a), (load_b, weight_b)) = (of(*a), of(*b));
            (load_a * weight_b).cmp(&(load_b * weight_a))
        })
    }

    fn less_loaded<T>(
        &self,
        entries: &Table<Entry<T>>,
        random: u64,
        accept: &dyn Fn(Key) -> bool,
    ) -> Option<Key> {
        let accepts = |it: &Drawn| accept(self.rotation.seated(it.slot));
        let first = self.drawn(random, |random| self.draw.first(random), accepts)?;
        let of_others = |random| self.draw.other(first, random);
        let apart = |it: &Drawn| *it != first && accepts(it);
        let second = self.drawn(mix(random), of_others, apart).unwrap_or(first);
        let (first, second) = [first, second]
            .map(|it| self.rotation.seated(it.slot))
            .into();
        let of = |key| {
            let entry = entries.get(key).expect("members are registered");
            (entry.running.count(), u64::from(entry.registration.weight))
        };
        let ((load_a, weight_a), (load_b, weight_b)) = (of(first), of(second));
        // Where they are equal it is the first, which was drawn by its weight alone: so calls that come
        // one after the other are shared by weight.
        let second_is_less = load_b * weight_a < load_a * weight_b;
        Some(if second_is_less { second } else { first })
    }

    /// Draws until one is acceptable; after a few in vain, the first that is, from a random place on.
    fn drawn(
        &self,
        random: u64,
        draw: impl Fn(u64) -> Option<Drawn>,
        accept: impl Fn(&Drawn) -> bool,
    ) -> Option<Drawn> {
        let draws = std::iter::successors(Some(random), |random| Some(mix(random.wrapping_add(1))));
        let mut few = draws.take(DRAWS).filter_map(draw);
        few.find(&accept).or_else(|| {
            let count = self.rotation.len();
            let from = (random % (count.max(1) as u64)) as usize;
            let mut around = (from..count).chain(0..from);
            around.find_map(|index| {
                Some(self.draw.at_slot(self.rotation.slot(index))).filter(&accept)
            })
        })
    }
}

/// Whether `*` decides about this instance's calls of `service`.
///
/// One that offers `*` and also names the service is missing from the rotation of that name only if
/// it said that it does not serve it, and `*` must not overrule that.
pub(super) fn leaves_to_any<T>(entries: &Table<Entry<T>>, key: Key, service: &str) -> bool {
    entries
        .get(key)
        .is_some_and(|entry| entry.registration.service(service).is_none())
}
