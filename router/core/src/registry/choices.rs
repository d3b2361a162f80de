//! How the registry chooses by key, by hash and by load.

use grpcrouter_proto::v1::HealthStatus;

use super::testing::{info, instance};
use super::*;

const S: &str = "pkg.S";

/// Instances `i0`, `i1`, ... of `pkg.S`, with these weights and the key `k0`, `k1`, ... each.
fn registry(weights: &[u32]) -> (Registry<usize>, Vec<Key>) {
    let mut registry = Registry::new(RegistryLimits::default());
    let keys = weights.iter().enumerate();
    let keys = keys.map(|(n, weight)| join(&mut registry, n, 1, *weight));
    let keys = keys.collect();
    (registry, keys)
}

fn join(registry: &mut Registry<usize>, n: usize, epoch: u64, weight: u32) -> Key {
    let mut info = info(&format!("i{n}"), epoch, &[S]);
    info.weight = weight;
    info.keys = vec![format!("k{n}"), "shared".to_owned()];
    let limits = RegistryLimits::default();
    let parsed = Registration::parse(&info, Identity::anonymous(), &limits).expect("well formed");
    registry.register(parsed, n).expect("registers").key
}

fn pick(registry: &mut Registry<usize>, choice: Choice<'_>) -> Result<Picked<usize>, PickError> {
    registry.pick(Wanted {
        service: S,
        choice,
        excluded: None,
    })
}

fn picked(registry: &mut Registry<usize>, choice: Choice<'_>) -> usize {
    pick(registry, choice).expect("someone takes it").tunnel
}

/// Random numbers, the same in every run.
fn randoms() -> impl Iterator<Item = u64> {
    (1..).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[test]
fn a_key_names_an_instance_or_what_an_instance_registered() {
    let (mut registry, keys) = registry(&[1, 1, 1]);
    assert_eq!(picked(&mut registry, Choice::Key(b"i1")), 1);
    assert_eq!(picked(&mut registry, Choice::Key(b"k2")), 2);
    let unknown = pick(&mut registry, Choice::Key(b"k9"));
    assert_eq!(unknown, Err(PickError::NoInstance));
    let no_text = pick(&mut registry, Choice::Key(b"\xff"));
    assert_eq!(no_text, Err(PickError::NoInstance));
    registry.set_health(keys[2], S, HealthStatus::Unhealthy);
    let ill = pick(&mut registry, Choice::Key(b"k2"));
    assert_eq!(ill, Err(PickError::NoInstance), "no other one is meant");
}

/// Proves: R19
#[test]
fn of_several_that_registered_a_key_the_first_has_it_until_it_is_gone() {
    let (mut registry, keys) = registry(&[1, 1, 1]);
    for (owner, key) in keys.into_iter().enumerate() {
        for _ in 0..3 {
            assert_eq!(picked(&mut registry, Choice::Key(b"shared")), owner);
        }
        registry.remove(key);
    }
    assert!(pick(&mut registry, Choice::Key(b"shared")).is_err());
}

/// Proves: R19
#[test]
fn a_hashed_key_stays_with_its_instance_and_has_one_other_after_its_loss() {
    let (mut registry, mut keys) = registry(&[1; 8]);
    for n in 0..100 {
        let key = format!("key-{n}");
        let key = Choice::Hash(key.as_bytes());
        let first = pick(&mut registry, key).expect("someone takes it");
        for _ in 0..3 {
            let again = pick(&mut registry, key).expect("someone takes it");
            assert_eq!(again.tunnel, first.tunnel);
            registry.release(again.load);
        }
        registry.release(first.load);
        if n % 10 != 0 {
            continue;
        }
        registry.remove(first.key);
        let next = pick(&mut registry, key).expect("someone takes it");
        assert_ne!(next.tunnel, first.tunnel);
        registry.release(next.load);
        let owner = first.tunnel;
        keys[owner] = join(&mut registry, owner, n + 2, 1);
        let back = pick(&mut registry, key).expect("someone takes it");
        assert_eq!(back.tunnel, owner, "it comes back, and so does the key");
        registry.release(back.load);
    }
}

#[test]
fn one_hot_key_loads_no_instance_beyond_32_calls_or_five_quarters_of_its_share() {
    let (mut registry, _) = registry(&[1, 1, 2]);
    let mut loads = [0_u64; 3];
    for total in 1..=1_000_u64 {
        let n = picked(&mut registry, Choice::Hash(b"hot"));
        loads[n] += 1;
        let share = [1, 1, 2][n];
        let most = (5 * total * share).div_ceil(4 * 4).max(32);
        assert!(loads[n] <= most, "{loads:?} of {total}, at most {most}");
    }
}

#[test]
fn where_all_that_a_hot_key_looks_at_are_full_the_least_loaded_takes_it() {
    let (mut registry, _) = registry(&[1; 200]);
    let mut loads = [0_u32; 200];
    for _ in 0..10_000 {
        loads[picked(&mut registry, Choice::Hash(b"hot"))] += 1;
    }
    let had: Vec<_> = loads.into_iter().filter(|load| *load > 0).collect();
    assert_eq!(had.len(), 64);
    assert!(
        had.iter().all(|load| load.abs_diff(10_000 / 64) <= 1),
        "{had:?}"
    );
}

/// Proves: R18
#[test]
fn of_two_instances_the_less_loaded_takes_the_call_whatever_is_drawn() {
    let (mut registry, _) = registry(&[1, 1]);
    let mut loads = [0_i32; 2];
    for (random, _) in randoms().zip(0..1_000) {
        let n = picked(&mut registry, Choice::LeastLoaded(random));
        loads[n] += 1;
        assert!((loads[0] - loads[1]).abs() <= 1, "{loads:?}");
    }
}

/// Proves: R18
#[test]
fn of_many_two_distinct_ones_are_drawn_and_the_idle_one_is_preferred() {
    let (mut registry, _) = registry(&[1; 4]);
    // Three of them are busy: whoever is drawn beside the idle one never takes the call.
    for id in ["i0", "i1", "i2"] {
        picked(&mut registry, Choice::Instance(id));
    }
    let mut idle = 0;
    for random in randoms().take(10_000) {
        let picked = pick(&mut registry, Choice::LeastLoaded(random)).expect("someone");
        idle += u32::from(picked.tunnel == 3);
        registry.release(picked.load);
    }
    // One of two distinct picks of four is the idle one in half of the draws.
    assert!(idle.abs_diff(5_000) < 200, "{idle} of 10,000");
}

/// Proves: R18
#[test]
fn calls_one_after_the_other_are_shared_by_weight_within_two_percent() {
    for weights in [&[100, 101][..], &[1, 2, 7], &[1_000, 1], &[5; 8]] {
        let (mut registry, _) = registry(weights);
        let mut taken = vec![0_u32; weights.len()];
        for random in randoms().take(10_000) {
            let picked = pick(&mut registry, Choice::LeastLoaded(random)).expect("someone");
            taken[picked.tunnel] += 1;
            registry.release(picked.load);
        }
        let total: u32 = weights.iter().sum();
        for (taken, weight) in taken.iter().zip(weights) {
            let due = 10_000 * weight / total;
            assert!(taken.abs_diff(due) <= 200, "{taken} of {due} due");
        }
    }
}

#[test]
fn a_retry_finds_the_light_one_beside_one_that_has_all_the_weight() {
    let (mut registry, keys) = registry(&[1_000, 1]);
    for random in randoms().take(1_000) {
        let wanted = Wanted {
            service: S,
            choice: Choice::LeastLoaded(random),
            excluded: Some(keys[0]),
        };
        assert_eq!(registry.pick(wanted).expect("another").tunnel, 1);
    }
}

#[test]
fn twice_the_weight_carries_twice_the_load() {
    let (mut registry, _) = registry(&[1, 2]);
    let mut loads = [0; 2];
    for random in randoms().take(3_000) {
        loads[picked(&mut registry, Choice::LeastLoaded(random))] += 1;
    }
    assert_eq!(loads, [1_000, 2_000]);
}

/// Proves: R18
#[test]
fn replicas_that_share_a_count_find_the_same_instance_less_loaded() {
    let mut replicas = [0, 1].map(|_| Registry::new(RegistryLimits::default()));
    for id in ["a", "b"] {
        let running = Running::default();
        for replica in &mut replicas {
            let registered = replica.register_with(instance(id, 1, &[S]), id, running.clone());
            registered.expect("registers");
        }
    }
    let [one, other] = &mut replicas;
    let wanted = |choice| Wanted {
        service: S,
        choice,
        excluded: None,
    };
    let busy = one.pick(wanted(Choice::Instance("a"))).expect("there");
    for random in randoms().take(100) {
        let idle = other.pick(wanted(Choice::LeastLoaded(random)));
        let idle = idle.expect("someone");
        assert_eq!(idle.tunnel, "b");
        other.release(idle.load);
    }
    one.release(busy.load);
    let both = randoms().take(100).map(|random| {
        let idle = other.pick(wanted(Choice::LeastLoaded(random)));
        let idle = idle.expect("someone");
        other.release(idle.load);
        idle.tunnel
    });
    let both: std::collections::BTreeSet<_> = both.collect();
    assert_eq!(both.len(), 2, "its end is seen: {both:?}");
}

#[test]
fn a_retry_goes_to_another_instance_by_every_choice() {
    let (mut registry, keys) = registry(&[1; 3]);
    for random in randoms().take(100) {
        let key = format!("key-{random}");
        for choice in [
            Choice::Turn,
            Choice::LeastLoaded(random),
            Choice::Hash(key.as_bytes()),
        ] {
            let wanted = Wanted {
                service: S,
                choice,
                excluded: Some(keys[1]),
            };
            assert_ne!(registry.pick(wanted).expect("another").tunnel, 1);
        }
    }
    for choice in [Choice::Instance("i1"), Choice::Key(b"k1")] {
        let wanted = Wanted {
            service: S,
            choice,
            excluded: Some(keys[1]),
        };
        assert!(registry.pick(wanted).is_err(), "nobody else is meant");
    }
}

/// Proves: R18
#[test]
fn an_instance_that_is_busy_with_other_services_is_not_idle() {
    let mut registry = Registry::new(RegistryLimits::default());
    for (n, id) in ["busy", "idle"].into_iter().enumerate() {
        let parsed = instance(id, 1, &[S, "pkg.Other"]);
        registry.register(parsed, n).expect("registers");
    }
    for service in ["pkg.Other", "grpc.health.v1.Health"] {
        let wanted = Wanted {
            service,
            choice: Choice::Instance("busy"),
            excluded: None,
        };
        let held = registry.pick(wanted).expect("is there");
        for random in randoms().take(100) {
            let picked = pick(&mut registry, Choice::LeastLoaded(random)).expect("someone");
            assert_eq!(picked.tunnel, 1, "beside a call of {service}");
            registry.release(picked.load);
        }
        registry.release(held.load);
    }
}

#[test]
fn a_retry_by_a_key_goes_to_the_next_that_registered_it() {
    let (mut registry, keys) = registry(&[1, 1, 1]);
    registry.set_draining(keys[1]);
    let wanted = Wanted {
        service: S,
        choice: Choice::Key(b"shared"),
        excluded: Some(keys[0]),
    };
    assert_eq!(registry.pick(wanted).expect("another").tunnel, 2);
    registry.remove(keys[2]);
    assert_eq!(registry.pick(wanted), Err(PickError::NoInstance));
    assert_eq!(picked(&mut registry, Choice::Key(b"shared")), 0);
    for key in keys {
        registry.remove(key);
    }
    assert!(registry.by_key.is_empty(), "nothing is left of them");
}

#[test]
fn load_goes_with_its_call_and_with_its_instance() {
    let (mut registry, keys) = registry(&[1, 1]);
    let held: Vec<_> = (0..10)
        .map(|_| pick(&mut registry, Choice::Instance("i0")).expect("is there"))
        .collect();
    for random in randoms().take(5) {
        assert_eq!(picked(&mut registry, Choice::LeastLoaded(random)), 1);
    }
    registry.remove(keys[0]);
    join(&mut registry, 0, 2, 1);
    // The ends of calls that went with their instance take nothing from the new one.
    for call in held {
        registry.release(call.load);
    }
    assert_eq!(picked(&mut registry, Choice::LeastLoaded(7)), 0);
}
