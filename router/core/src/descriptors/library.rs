//! The sets of live instances: each held once, however many announced it, and for as long as one of them
//! lives.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::registry::CATCH_ALL;
use crate::table::Key;

use super::queue::{Fit, Queue, Ticket};
use super::set::{Kind, Set};
use super::{Announced, Hash};

/// What a gateway holds of descriptors at most. Every limit has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescriptorLimits {
    /// The longest set that is asked for, in bytes. 4 MiB: what gRPC libraries take in one message.
    pub max_set: usize,
    /// Sets held at once. 256.
    pub max_sets: usize,
    /// What all sets take together with the index of their names, in bytes; one under way counts with the
    /// most that it could take, 8 times its length and 64 KiB. 64 MiB. What does not fit waits until others
    /// have gone. Beside others under way, one is asked for only if it could take no more than half of what
    /// is left: those that do not hand over what they announced leave room for others.
    pub max_total: usize,
}

impl Default for DescriptorLimits {
    fn default() -> Self {
        Self {
            max_set: 4 * 1024 * 1024,
            max_sets: 256,
            max_total: 64 * 1024 * 1024,
        }
    }
}

/// The sets of a gateway's instances. `T` is the caller's handle of a tunnel.
///
/// Something happened: [`announce`](Self::announce) when an instance registered,
/// [`arrived`](Self::arrived), [`failed`](Self::failed) or [`refuse`](Self::refuse) when what was asked for
/// came or did not, [`leave`](Self::leave) when its tunnel ended. After any of these the caller asks whom
/// [`poll_request`](Self::poll_request) names, until it names nobody.
///
/// Questions: [`file`](Self::file), [`symbol`](Self::symbol), [`extension`](Self::extension),
/// [`extension_numbers`](Self::extension_numbers), [`services`](Self::services).
///
/// Sets may describe the same name differently. The gateway's own answer first, then the set that the
/// caller prefers, then those whose instances declare a service of the package that the answer is of, then
/// all; each time the one that came first. So for what is in no package of a service, such as shared types,
/// the set that came first answers, whoever brought it: who asks for the service first and then prefers
/// that set gets what belongs to it.
#[derive(Debug)]
pub struct Library<T> {
    limits: DescriptorLimits,
    /// The gateway's own, which answer first and never go.
    own: Vec<(Hash, Arc<Set>)>,
    offers: BTreeMap<Hash, Offer<T>>,
    by_key: BTreeMap<Key, Hash>,
    /// Offers of which somebody is to be asked.
    waiting: Queue,
    /// Offers that are held, in the order in which they came.
    held: BTreeMap<u64, Hash>,
    next_place: u64,
    /// What the sets take that are held.
    kept: Taken,
    /// What those may take that are under way.
    coming: Taken,
}

/// How many sets, and what they take in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Taken {
    sets: usize,
    bytes: usize,
}

impl Taken {
    fn add(&mut self, bytes: usize) {
        self.sets += 1;
        self.bytes += bytes;
    }

    fn sub(&mut self, bytes: usize) {
        self.sets -= 1;
        self.bytes -= bytes;
    }
}

/// A set that at least one live instance announced.
#[derive(Debug)]
struct Offer<T> {
    state: State,
    by: BTreeMap<Key, Announcer<T>>,
    /// What those declare, and how many of them.
    services: BTreeMap<String, usize>,
}

#[derive(Debug)]
enum State {
    /// All who announced it were asked, in vain.
    Exhausted,
    Waiting(Ticket),
    Asked(Key),
    /// Its place among those that are held.
    Held(u64, Arc<Set>),
    /// It came, and is of no use.
    Refused,
}

#[derive(Debug)]
struct Announcer<T> {
    tunnel: T,
    size: usize,
    services: Vec<String>,
    asked: bool,
}

/// A file that answers a question.
#[derive(Debug, Clone)]
pub struct Found {
    set: Arc<Set>,
    file: u32,
    /// The set that it is from: where to look first for what belongs to it.
    pub hash: Hash,
}

impl Found {
    /// The encoded file and, after it, what it imports, as far as that comes to at most `max` bytes.
    #[must_use]
    pub fn with_imports(&self, max: usize) -> Vec<Bytes> {
        self.set.with_imports(self.file, max)
    }
}

impl<T: Clone> Library<T> {
    /// A library with the gateway's own sets.
    #[must_use]
    pub fn new(limits: DescriptorLimits, own: Vec<(Hash, Set)>) -> Self {
        Self {
            limits,
            own: own.into_iter().map(|(h, set)| (h, Arc::new(set))).collect(),
            offers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            waiting: Queue::default(),
            held: BTreeMap::new(),
            next_place: 0,
            kept: Taken::default(),
            coming: Taken::default(),
        }
    }

    /// An instance registered, with this set to hand over. Whether it may ever be asked for it: `false`
    /// for a set past the limits, of which nothing is kept.
    pub fn announce(
        &mut self,
        key: Key,
        announced: Announced,
        services: Vec<String>,
        tunnel: T,
    ) -> bool {
        let size = announced.size as usize;
        if size > self.limits.max_set || Set::cost_max(size) > self.limits.max_total {
            return false;
        }
        let offer = self.offers.entry(announced.hash).or_insert_with(|| Offer {
            state: State::Exhausted,
            by: BTreeMap::new(),
            services: BTreeMap::new(),
        });
        for service in &services {
            *offer.services.entry(service.clone()).or_default() += 1;
        }
        let asked = false;
        let announcer = Announcer {
            tunnel,
            size,
            services,
            asked,
        };
        offer.by.insert(key, announcer);
        self.by_key.insert(key, announced.hash);
        self.enqueue(announced.hash);
        true
    }

    /// Whom to ask next. Nobody while there is no room.
    ///
    /// One whose set does not fit holds up no other whose set does. But who waits only for what is under
    /// way is passed over 64 times at most; then nobody is asked before it.
    pub fn poll_request(&mut self) -> Option<(Key, T)> {
        loop {
            let (kept, coming, limits) = (self.kept, self.coming, &self.limits);
            let (ticket, next) = self.waiting.next(|cost| fit(kept, coming, limits, cost))?;
            let offer = self.offers.get_mut(&next.hash)?;
            let (&key, announcer) = offer.by.iter_mut().find(|(_, by)| !by.asked)?;
            let cost = Set::cost_max(announcer.size);
            if cost != next.cost {
                // Others announced it with another size when it began to wait. One of them lies.
                offer.state = State::Waiting(self.waiting.push(ticket.place, next.hash, cost));
                continue;
            }
            self.coming.add(cost);
            announcer.asked = true;
            offer.state = State::Asked(key);
            return Some((key, announcer.tunnel.clone()));
        }
    }

    /// The set that this instance was asked for came.
    pub fn arrived(&mut self, key: Key, set: Set) {
        let Some(hash) = self.end_request(key) else {
            return;
        };
        self.kept.add(set.cost());
        let place = self.place();
        self.held.insert(place, hash);
        if let Some(offer) = self.offers.get_mut(&hash) {
            offer.state = State::Held(place, Arc::new(set));
        }
    }

    /// The set that this instance was asked for did not come: another is asked, if there is one.
    pub fn failed(&mut self, key: Key) {
        if let Some(hash) = self.end_request(key) {
            self.enqueue(hash);
        }
    }

    /// The set that this instance was asked for came as announced, and is of no use: nobody is asked for
    /// it again while somebody announces it.
    pub fn refuse(&mut self, key: Key) {
        if let Some(hash) = self.end_request(key)
            && let Some(offer) = self.offers.get_mut(&hash)
        {
            offer.state = State::Refused;
        }
    }

    /// The instance's tunnel ended. What it alone brought goes with it.
    pub fn leave(&mut self, key: Key) {
        self.failed(key);
        let Some(hash) = self.by_key.remove(&key) else {
            return;
        };
        let Some(offer) = self.offers.get_mut(&hash) else {
            return;
        };
        let services = offer.by.remove(&key).map(|by| by.services);
        for service in services.unwrap_or_default() {
            if let Some(count) = offer.services.get_mut(&service) {
                *count -= 1;
                if *count == 0 {
                    offer.services.remove(&service);
                }
            }
        }
        let (is_last, all_asked) = (offer.by.is_empty(), offer.by.values().all(|by| by.asked));
        match &offer.state {
            State::Waiting(ticket) if all_asked => {
                self.waiting.remove(*ticket);
                offer.state = State::Exhausted;
            }
            State::Held(place, set) if is_last => {
                self.held.remove(place);
                self.kept.sub(set.cost());
            }
            _ => {}
        }
        if is_last {
            self.offers.remove(&hash);
        }
    }

    /// The services that sets describe and that those who announced them offer: the gateway's own, and of
    /// an instance that offers `*`, all. Names may come more than once.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let own = self.own.iter().flat_map(|(_, set)| set.services());
        let open = self.held_offers().filter(|(_, _, offer)| offer.is_open());
        own.chain(open.flat_map(|(_, set, _)| set.services()))
    }

    /// The file of this name, in the set `first` if it is there.
    #[must_use]
    pub fn file(&self, name: &str, first: Option<Hash>) -> Option<Found> {
        self.search(first, |set, _| set.file(name))
    }

    /// The file that describes a symbol, in the set `first` if it is there. Of services and their methods
    /// only those count that an instance offers which announced the set.
    #[must_use]
    pub fn symbol(&self, name: &str, first: Option<Hash>) -> Option<Found> {
        self.search(first, |set, offer| {
            let symbol = set.symbol(name)?;
            let service = match symbol.kind {
                Kind::Service => Some(name),
                Kind::Method => name.rsplit_once('.').map(|(service, _)| service),
                Kind::Other => None,
            };
            let offers = |service| offer.is_none_or(|offer| offer.offers(service));
            service.is_none_or(offers).then_some(symbol.file)
        })
    }

    /// The file that extends a message by this field number, in the set `first` if it is there.
    #[must_use]
    pub fn extension(&self, extended: &str, number: i32, first: Option<Hash>) -> Option<Found> {
        self.search(first, |set, _| set.extension(extended, number))
    }

    /// The numbers by which a message is extended; none where no set knows the message. Of several sets
    /// that know it, those of the first.
    #[must_use]
    pub fn extension_numbers(&self, extended: &str, first: Option<Hash>) -> Option<Vec<i32>> {
        let found = self.search(first, |set, _| set.symbol(extended).map(|s| s.file))?;
        let mut numbers: Vec<_> = found.set.extensions(extended).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Some(numbers)
    }

    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        let empty = self.offers.is_empty() && self.by_key.is_empty();
        let taken = (self.kept, self.coming) != Default::default();
        empty && self.waiting.is_empty() && self.held.is_empty() && !taken
    }

    /// Whether what is counted is what there is, no less than what came, and within the limits.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let holds_more = |(_, set, offer): (Hash, &Arc<Set>, &Offer<T>)| {
            offer.by.values().any(|by| set.cost() < by.size)
        };
        if self.held_offers().any(holds_more) {
            return false;
        }
        let asked = self.offers.values().filter_map(|offer| match offer.state {
            State::Asked(key) => offer.by.get(&key).map(|by| Set::cost_max(by.size)),
            _ => None,
        });
        let costs: Vec<usize> = self
            .held_offers()
            .map(|(_, set, _)| set.cost())
            .chain(asked)
            .collect();
        let announcers: usize = self.offers.values().map(|offer| offer.by.len()).sum();
        let sets = self.kept.sets + self.coming.sets;
        let taken = self.kept.bytes + self.coming.bytes;
        (sets, taken) == (costs.len(), costs.iter().sum())
            && sets <= self.limits.max_sets
            && taken <= self.limits.max_total
            && announcers == self.by_key.len()
            && self.offers.values().all(|offer| !offer.by.is_empty())
    }

    /// The first set that has an answer, in the order that the library's comment gives.
    fn search(
        &self,
        first: Option<Hash>,
        look: impl Fn(&Set, Option<&Offer<T>>) -> Option<u32>,
    ) -> Option<Found> {
        let own = self.own.iter().map(|(hash, set)| (*hash, set, None));
        let held = || self.held_offers().map(|(h, set, o)| (h, set, Some(o)));
        let preferred = held().filter(|(hash, ..)| Some(*hash) == first);
        let answer = |(hash, set, offer): (Hash, &Arc<Set>, Option<&Offer<T>>)| {
            let file = look(set, offer)?;
            let at_home = offer.is_some_and(|offer| offer.is_of(set.package(file)));
            let set = set.clone();
            Some((Found { set, file, hash }, at_home))
        };
        let found = own.chain(preferred).find_map(answer);
        let found = found.or_else(|| held().filter_map(answer).find(|(_, at_home)| *at_home));
        let found = found.or_else(|| held().find_map(answer));
        found.map(|(found, _)| found)
    }

    fn held_offers(&self) -> impl Iterator<Item = (Hash, &Arc<Set>, &Offer<T>)> {
        self.held.values().filter_map(|hash| {
            let offer = self.offers.get(hash)?;
            match &offer.state {
                State::Held(_, set) => Some((*hash, set, offer)),
                _ => None,
            }
        })
    }

    /// Puts an offer that nobody asked for in line, if there is somebody to ask.
    fn enqueue(&mut self, hash: Hash) {
        let place = self.place();
        if let Some(offer) = self.offers.get_mut(&hash)
            && matches!(offer.state, State::Exhausted)
            && let Some(next) = offer.by.values().find(|by| !by.asked)
        {
            let cost = Set::cost_max(next.size);
            offer.state = State::Waiting(self.waiting.push(place, hash, cost));
        }
    }

    /// Takes back what was set aside for what this instance was asked for.
    fn end_request(&mut self, key: Key) -> Option<Hash> {
        let hash = *self.by_key.get(&key)?;
        let offer = self.offers.get_mut(&hash)?;
        if !matches!(offer.state, State::Asked(asked) if asked == key) {
            return None;
        }
        offer.state = State::Exhausted;
        self.coming.sub(Set::cost_max(offer.by.get(&key)?.size));
        Some(hash)
    }

    fn place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }
}

/// Whether there is room for a set that could take this much.
fn fit(kept: Taken, coming: Taken, limits: &DescriptorLimits, cost: usize) -> Fit {
    if kept.sets >= limits.max_sets || kept.bytes + cost > limits.max_total {
        return Fit::Never;
    }
    let left = limits.max_total.saturating_sub(kept.bytes + coming.bytes);
    let share = if coming.sets == 0 { left } else { left / 2 };
    if kept.sets + coming.sets < limits.max_sets && cost <= share {
        Fit::Now
    } else {
        Fit::Later
    }
}

impl<T> Offer<T> {
    fn is_open(&self) -> bool {
        self.services.contains_key(CATCH_ALL)
    }

    /// Whether they declare a service of this package by name.
    fn is_of(&self, package: &str) -> bool {
        let dot = if package.is_empty() { "" } else { "." };
        let prefix = format!("{package}{dot}");
        let inside = self.services.range(prefix.clone()..);
        let mut names = inside.map_while(|(name, _)| name.strip_prefix(&prefix));
        names.any(|name| !name.contains('.') && name != CATCH_ALL)
    }

    fn offers(&self, service: &str) -> bool {
        self.is_open() || self.services.contains_key(service)
    }
}
