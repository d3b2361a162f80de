//! The registry's behaviour, case by case.

use grpcrouter_proto::v1::{HealthStatus, InstanceEvent, ServiceInfo, instance_event};

use super::testing::{info, instance};
use super::*;

type Tunnel = &'static str;

fn registry() -> Registry<Tunnel> {
    Registry::new(RegistryLimits::default())
}

fn with(instances: &[(Tunnel, &[&str])]) -> (Registry<Tunnel>, Vec<Key>) {
    let mut registry = registry();
    let keys = instances
        .iter()
        .map(|(id, services)| {
            registry
                .register(instance(id, 1, services), id)
                .unwrap()
                .key
        })
        .collect();
    (registry, keys)
}

fn picks(registry: &mut Registry<Tunnel>, service: &str, count: usize) -> Vec<Tunnel> {
    (0..count)
        .map(|_| registry.pick_one(service, None).expect("someone serves").1)
        .collect()
}

fn refused(registry: &mut Registry<Tunnel>, service: &str) -> PickError {
    registry
        .pick_one(service, None)
        .expect_err("nobody takes it")
}

/// Proves: T1
#[test]
fn an_instance_takes_calls_from_its_registration_on_and_not_before() {
    let mut registry = registry();
    assert_eq!(refused(&mut registry, "pkg.S"), PickError::NoInstance);
    registry
        .register(instance("a", 1, &["pkg.S"]), "a")
        .unwrap();
    assert_eq!(picks(&mut registry, "pkg.S", 1), ["a"]);
}

/// Proves: T2, T3
#[test]
fn a_higher_epoch_replaces_at_once_and_hands_out_the_old_tunnel() {
    let mut registry = registry();
    let old = registry
        .register(instance("a", 1, &["pkg.S"]), "old")
        .unwrap();
    assert_eq!(old.replaced, None);
    let new = registry
        .register(instance("a", 2, &["pkg.S"]), "new")
        .unwrap();
    assert_eq!(new.replaced, Some("old"), "to be told `superseded`");
    assert_eq!(picks(&mut registry, "pkg.S", 3), ["new", "new", "new"]);
    assert_eq!(registry.len(), 1, "never two owners");
}

/// Proves: T2
#[test]
fn a_lower_or_equal_epoch_is_refused_and_the_owner_untouched() {
    let mut registry = registry();
    registry
        .register(instance("a", 5, &["pkg.S"]), "owner")
        .unwrap();
    let revision = registry.revision();
    for epoch in [4, 5] {
        let error = registry
            .register(instance("a", epoch, &["pkg.S"]), "late")
            .unwrap_err();
        assert!(
            matches!(error, RegisterError::AlreadyExists { .. }),
            "{error}"
        );
    }
    assert_eq!(registry.revision(), revision);
    assert_eq!(picks(&mut registry, "pkg.S", 2), ["owner", "owner"]);
}

/// Proves: T2
#[test]
fn every_reconnect_is_higher_than_the_one_before_and_every_restart_than_any_reconnect() {
    let epoch = |started_us, attempt| Epoch {
        started_us,
        attempt,
    };
    assert!(epoch(7, 1) > epoch(7, 0));
    assert!(epoch(8, 0) > epoch(7, u64::MAX));
}

/// Proves: T3
#[test]
fn what_a_replaced_tunnel_still_says_does_nothing() {
    let mut registry = registry();
    let stale = registry
        .register(instance("a", 1, &["pkg.S"]), "old")
        .unwrap()
        .key;
    registry
        .register(instance("a", 2, &["pkg.S"]), "new")
        .unwrap();
    let revision = registry.revision();
    assert!(!registry.set_health(stale, "pkg.S", HealthStatus::Unhealthy));
    assert!(!registry.set_draining(stale));
    assert!(!registry.remove(stale));
    assert_eq!(registry.revision(), revision);
    assert_eq!(picks(&mut registry, "pkg.S", 1), ["new"]);
}

#[test]
fn another_identity_never_takes_an_id_that_is_held() {
    let mut registry = registry();
    registry
        .register(instance("a", 1, &["pkg.S"]), "owner")
        .unwrap();
    let limits = RegistryLimits::default();
    let thief =
        Registration::parse(&info("a", 9, &["pkg.S"]), Identity::named("thief"), &limits).unwrap();
    let error = registry.register(thief, "thief").unwrap_err();
    assert!(
        matches!(error, RegisterError::PermissionDenied { .. }),
        "{error}"
    );
    assert_eq!(picks(&mut registry, "pkg.S", 1), ["owner"]);
}

#[test]
fn a_full_registry_refuses_new_ids_but_not_reconnects() {
    let mut registry = Registry::new(RegistryLimits {
        max_instances: 1,
        ..Default::default()
    });
    let first = registry
        .register(instance("a", 1, &["pkg.S"]), "a")
        .unwrap();
    let error = registry
        .register(instance("b", 1, &["pkg.S"]), "b")
        .unwrap_err();
    assert_eq!(error, RegisterError::ResourceExhausted { limit: 1 });
    let second = registry
        .register(instance("a", 2, &["pkg.S"]), "a2")
        .unwrap();
    assert!(!registry.remove(first.key));
    assert!(registry.remove(second.key));
    assert!(registry.register(instance("b", 1, &["pkg.S"]), "b").is_ok());
}

/// Proves: R18
#[test]
fn calls_go_round_the_instances_of_their_service() {
    let s: &[&str] = &["pkg.S"];
    let (mut registry, _) = with(&[("a", s), ("b", &["pkg.S", "pkg.T"]), ("c", s)]);
    assert_eq!(picks(&mut registry, "pkg.S", 4), ["a", "b", "c", "a"]);
    assert_eq!(picks(&mut registry, "pkg.T", 2), ["b", "b"]);
    assert_eq!(
        picks(&mut registry, "pkg.S", 2),
        ["b", "c"],
        "each service has its own turns"
    );
}

/// Proves: R18
#[test]
fn turns_stay_even_while_instances_come_and_go() {
    let s: &[&str] = &["pkg.S"];
    let (mut registry, keys) = with(&[("a", s), ("b", s), ("c", s)]);
    assert_eq!(picks(&mut registry, "pkg.S", 1), ["a"]);
    registry.remove(keys[1]);
    assert_eq!(
        picks(&mut registry, "pkg.S", 2),
        ["c", "a"],
        "b's turn went to the next"
    );
    registry.register(instance("b", 2, s), "b").unwrap();
    assert_eq!(picks(&mut registry, "pkg.S", 4), ["c", "a", "b", "c"]);
    // One that comes back right after its turn does not get a second one.
    registry.register(instance("c", 2, s), "c").unwrap();
    assert_eq!(picks(&mut registry, "pkg.S", 3), ["a", "b", "c"]);
}

#[test]
fn only_serving_instances_take_new_calls() {
    let s: &[&str] = &["pkg.S"];
    let (mut registry, keys) = with(&[("a", s), ("b", s)]);
    for ill in [
        HealthStatus::Starting,
        HealthStatus::Unhealthy,
        HealthStatus::Stopping,
    ] {
        assert!(registry.set_health(keys[0], "pkg.S", ill));
        assert_eq!(picks(&mut registry, "pkg.S", 2), ["b", "b"], "{ill:?}");
        assert!(
            registry.pick_one("pkg.S", Some("a")).is_err(),
            "nor pinned ones"
        );
    }
    assert!(registry.set_health(keys[1], "pkg.S", HealthStatus::Unhealthy));
    assert_eq!(refused(&mut registry, "pkg.S"), PickError::NoInstance);
    assert_eq!(
        registry.service_health("pkg.S"),
        Some(HealthStatus::Unhealthy)
    );
    assert!(registry.set_health(keys[0], "pkg.S", HealthStatus::Healthy));
    assert!(
        !registry.set_health(keys[0], "pkg.S", HealthStatus::Healthy),
        "no change"
    );
    assert_eq!(picks(&mut registry, "pkg.S", 1), ["a"]);
    assert_eq!(
        registry.service_health("pkg.S"),
        Some(HealthStatus::Healthy)
    );
}

#[test]
fn a_draining_instance_takes_no_call_but_stays_listed() {
    let (mut registry, keys) = with(&[("a", &["pkg.S"])]);
    assert!(registry.set_draining(keys[0]));
    assert!(!registry.set_draining(keys[0]));
    assert_eq!(refused(&mut registry, "pkg.S"), PickError::NoInstance);
    assert_eq!(
        registry.pick_one("pkg.S", Some("a")),
        Err(PickError::NoInstance)
    );
    assert!(registry.list("pkg.S")[0].draining);
    assert_eq!(
        registry.instance_health("a", ""),
        Some(HealthStatus::Stopping)
    );
    // Health that arrives while it drains does not bring it back.
    registry.set_health(keys[0], "pkg.S", HealthStatus::Healthy);
    assert_eq!(refused(&mut registry, "pkg.S"), PickError::NoInstance);
}

#[test]
fn a_service_is_unknown_once_someone_says_what_there_is() {
    let mut registry = registry();
    assert_eq!(refused(&mut registry, "pkg.T"), PickError::NoInstance);
    let a = registry
        .register(instance("a", 1, &["pkg.S"]), "a")
        .unwrap()
        .key;
    assert_eq!(refused(&mut registry, "pkg.T"), PickError::UnknownService);
    let any = registry
        .register(instance("any", 1, &["*"]), "any")
        .unwrap()
        .key;
    assert_eq!(picks(&mut registry, "pkg.T", 1), ["any"]);
    registry.set_health(any, "*", HealthStatus::Unhealthy);
    assert_eq!(
        refused(&mut registry, "pkg.T"),
        PickError::NoInstance,
        "it may offer it"
    );
    registry.remove(a);
    registry.remove(any);
    assert_eq!(refused(&mut registry, "pkg.T"), PickError::NoInstance);
}

#[test]
fn catch_all_instances_take_what_nobody_serves_by_name() {
    let (mut registry, keys) = with(&[("any", &["*"]), ("a", &["pkg.S"]), ("two", &["*"])]);
    assert_eq!(picks(&mut registry, "pkg.S", 2), ["a", "a"]);
    assert_eq!(picks(&mut registry, "pkg.T", 3), ["any", "two", "any"]);
    registry.set_health(keys[1], "pkg.S", HealthStatus::Unhealthy);
    assert_eq!(picks(&mut registry, "pkg.S", 2), ["two", "any"]);
    assert_eq!(
        registry.service_health("pkg.T"),
        Some(HealthStatus::Healthy)
    );
}

#[test]
fn catch_all_does_not_overrule_what_the_instance_says_of_a_service_by_name() {
    let (mut registry, keys) = with(&[("a", &["*", "pkg.S"]), ("b", &["*"])]);
    registry.set_health(keys[0], "pkg.S", HealthStatus::Stopping);
    assert_eq!(picks(&mut registry, "pkg.S", 2), ["b", "b"]);
    assert_eq!(
        registry.pick_one("pkg.S", Some("a")),
        Err(PickError::NoInstance)
    );
    assert_eq!(picks(&mut registry, "pkg.T", 2), ["a", "b"]);
}

#[test]
fn a_pinned_call_goes_to_that_instance_or_nowhere() {
    let s: &[&str] = &["pkg.S"];
    let (mut registry, keys) = with(&[("a", s), ("b", s), ("any", &["*"])]);
    assert_eq!(
        registry.pick_one("pkg.S", Some("b")).unwrap(),
        (keys[1], "b")
    );
    assert_eq!(
        registry.pick_one("pkg.S", Some("any")).unwrap(),
        (keys[2], "any")
    );
    assert_eq!(
        registry.pick_one("pkg.T", Some("b")),
        Err(PickError::NoInstance)
    );
    assert_eq!(
        registry.pick_one("pkg.S", Some("nobody")),
        Err(PickError::NoInstance)
    );
    assert_eq!(
        picks(&mut registry, "pkg.S", 2),
        ["a", "b"],
        "pins use up no turn"
    );
}

#[test]
fn a_pinned_instance_can_be_asked_of_itself_until_it_drains() {
    let (mut registry, keys) = with(&[("a", &["pkg.S"]), ("any", &["*"])]);
    registry.set_health(keys[0], "pkg.S", HealthStatus::Unhealthy);
    registry.set_health(keys[1], "*", HealthStatus::Unhealthy);
    for service in [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        for id in ["a", "any"] {
            assert_eq!(
                registry.pick_one(service, Some(id)).unwrap().1,
                id,
                "{service}"
            );
        }
        assert!(registry.pick_one(service, None).is_err(), "only by its id");
    }
    registry.set_draining(keys[0]);
    let draining = registry.pick_one("grpc.health.v1.Health", Some("a"));
    assert_eq!(draining, Err(PickError::NoInstance));
}

#[test]
fn a_retry_goes_to_another_instance_or_nowhere() {
    let s: &[&str] = &["pkg.S"];
    let (mut registry, keys) = with(&[("a", s), ("b", s)]);
    assert_eq!(registry.pick_other("pkg.S", None, keys[0]).unwrap().1, "b");
    assert_eq!(picks(&mut registry, "pkg.S", 1), ["a"], "a kept its turn");
    let pinned = registry.pick_other("pkg.S", Some("a"), keys[0]);
    assert_eq!(pinned, Err(PickError::NoInstance));
    registry.remove(keys[1]);
    let alone = registry.pick_other("pkg.S", None, keys[0]);
    assert_eq!(alone, Err(PickError::NoInstance));
}

#[test]
fn watchers_hear_every_change_in_order() {
    let (mut registry, keys) = with(&[("a", &["pkg.S", "pkg.T"])]);
    let ill = |name: &str| ServiceInfo {
        name: name.into(),
        health: HealthStatus::Starting.into(),
    };
    registry.report_health(
        keys[0],
        &[ill("pkg.S"), ill("pkg.T"), ill("never.Declared")],
    );
    registry
        .register(instance("a", 2, &["pkg.T"]), "a2")
        .unwrap();
    let changes: Vec<Change> = std::iter::from_fn(|| registry.poll_change()).collect();
    let of_s = Filter {
        service: "pkg.S".into(),
        ..Filter::default()
    };
    let told: Vec<_> = changes
        .iter()
        .map(|c| (c.revision, c.kind, of_s.matches(&c.instance)))
        .collect();
    assert_eq!(
        told,
        [
            (1, ChangeKind::Added, true),
            (2, ChangeKind::Updated, true),
            (3, ChangeKind::Removed, true),
            (4, ChangeKind::Added, false),
        ],
        "one change a heartbeat; a replacement is a removal and an addition"
    );
    let event = InstanceEvent::from(changes[3].clone());
    assert_eq!(event.kind(), instance_event::Kind::Added);
    assert_eq!(event.revision, registry.revision());
}

#[test]
fn changes_that_nobody_fetches_are_bounded() {
    let limits = RegistryLimits {
        max_pending_changes: 2,
        ..Default::default()
    };
    let mut registry = Registry::new(limits);
    for epoch in 1..=10 {
        registry
            .register(instance("a", epoch, &["pkg.S"]), "a")
            .unwrap();
    }
    let revisions: Vec<_> = std::iter::from_fn(|| registry.poll_change())
        .map(|c| c.revision)
        .collect();
    assert_eq!(revisions, [18, 19], "the newest");
}

#[test]
fn the_empty_name_asks_for_all_services_together() {
    let (mut registry, keys) = with(&[("a", &["pkg.S"]), ("b", &["pkg.T"])]);
    assert_eq!(registry.service_health(""), Some(HealthStatus::Healthy));
    registry.set_health(keys[0], "pkg.S", HealthStatus::Unhealthy);
    assert_eq!(
        registry.service_health(""),
        Some(HealthStatus::Healthy),
        "the best of them"
    );
    registry.set_draining(keys[1]);
    assert_eq!(registry.service_health(""), Some(HealthStatus::Unhealthy));
    for key in keys {
        assert!(registry.remove(key));
    }
    assert_eq!(registry.service_health(""), None, "nobody is there");
}

#[test]
fn lists_and_health_show_what_is_there() {
    let (mut registry, keys) = with(&[
        ("b", &["pkg.S"]),
        ("a", &["pkg.S", "pkg.T"]),
        ("any", &["*"]),
    ]);
    let ids = |service| -> Vec<_> {
        registry
            .list(service)
            .into_iter()
            .map(|i| i.instance_id)
            .collect()
    };
    assert_eq!(ids(""), ["a", "any", "b"]);
    assert_eq!(ids("pkg.T"), ["a", "any"]);
    registry.set_health(keys[1], "pkg.T", HealthStatus::Starting);
    let up = HealthStatus::Healthy;
    assert_eq!(registry.instance_health("a", ""), Some(up));
    assert_eq!(
        registry.instance_health("a", "pkg.T"),
        Some(HealthStatus::Starting)
    );
    assert_eq!(registry.instance_health("a", "pkg.U"), None);
    assert_eq!(registry.instance_health("nobody", ""), None);
    registry.remove(keys[2]);
    assert_eq!(registry.service_health("pkg.U"), None);
}
