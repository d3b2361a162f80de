//! Who is asked for which set, what all of them may take, and which answers.

use proptest::prelude::*;

use super::testing::{Shelf, announced, encoded, file, key, message, padded, parse, set};
use super::{Announced, DescriptorLimits, Library, Set};

#[test]
fn what_stands_in_a_set_beside_its_files_counts_as_long_as_it_is_held() {
    const FILLER: u32 = 3 << 20;
    let sets = ["a", "b", "c"].map(|name| padded(name, FILLER));
    let limits = DescriptorLimits {
        max_total: Set::cost_max(sets[0].len()) + (1 << 20),
        ..DescriptorLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    let mut held = 0;
    for (slot, set) in (1..).zip(&sets) {
        assert!(parse(set).cost() >= set.len());
        shelf.announce(slot, set, &["pkg.S"], "x");
        for _ in shelf.asked() {
            shelf.brings(slot, set);
            held += 1;
        }
        assert!(shelf.library.is_sound());
    }
    assert_eq!(
        held, 1,
        "its 3 MiB leave no room for what another could take"
    );
}

#[test]
fn what_many_have_in_common_is_asked_for_once() {
    let mut shelf = Shelf::new(DescriptorLimits::default());
    let set = set("a.proto");
    for (slot, name) in [(1, "a"), (2, "b"), (3, "c")] {
        assert!(shelf.announce(slot, &set, &["pkg.S"], name));
    }
    assert_eq!(shelf.asked(), ["a"]);
    shelf.brings(1, &set);
    assert_eq!(shelf.asked(), [""; 0]);
    assert!(shelf.announce(4, &set, &["pkg.S"], "d"));
    assert_eq!(shelf.asked(), [""; 0], "it is held");
}

#[test]
fn what_one_does_not_bring_another_is_asked_for() {
    let mut shelf = Shelf::new(DescriptorLimits::default());
    let set = set("a.proto");
    for (slot, name) in [(1, "a"), (2, "b"), (3, "c")] {
        shelf.announce(slot, &set, &["pkg.S"], name);
    }
    assert_eq!(shelf.asked(), ["a"]);
    shelf.library.failed(key(1));
    assert_eq!(shelf.asked(), ["b"]);
    shelf.library.leave(key(2));
    assert_eq!(shelf.asked(), ["c"]);
    shelf.library.refuse(key(3));
    shelf.announce(4, &set, &["pkg.S"], "d");
    assert_eq!(
        shelf.asked(),
        [""; 0],
        "its bytes are of no use, whoever brings them"
    );
}

#[test]
fn what_an_instance_alone_brought_goes_with_it() {
    let mut shelf = Shelf::new(DescriptorLimits::default());
    let (one, other) = (set("one.proto"), set("other.proto"));
    shelf.announce(1, &one, &["pkg.S"], "a");
    shelf.announce(2, &one, &["pkg.S"], "b");
    shelf.announce(3, &other, &["pkg.S"], "c");
    assert_eq!(shelf.asked(), ["a", "c"]);
    shelf.brings(3, &other);
    shelf.brings(1, &one);
    assert_eq!(
        shelf.symbol("pkg.S").as_deref(),
        Some("other.proto"),
        "the first held"
    );
    let one_of = shelf.library.file("one.proto", None).expect("held").hash;
    let preferred = shelf
        .library
        .symbol("pkg.Outer", Some(one_of))
        .expect("held");
    assert_eq!(preferred.hash, one_of);
    shelf.library.leave(key(3));
    assert_eq!(shelf.symbol("pkg.S").as_deref(), Some("one.proto"));
    shelf.library.leave(key(1));
    assert_eq!(
        shelf.symbol("pkg.S").as_deref(),
        Some("one.proto"),
        "b has it too"
    );
    shelf.library.leave(key(2));
    shelf.library.leave(key(2));
    assert_eq!(shelf.symbol("pkg.S"), None);
    assert!(shelf.library.file("one.proto", None).is_none());
    assert!(shelf.library.holds_nothing());
}

#[test]
fn a_service_is_answered_only_from_a_set_of_who_declares_it() {
    let mut shelf = Shelf::new(DescriptorLimits::default());
    let (library, own) = (set("library.proto"), set("own.proto"));
    // It describes pkg.S, which it does not offer.
    shelf.announce(1, &library, &["pkg.Other"], "a");
    shelf.asked();
    shelf.brings(1, &library);
    assert_eq!(
        (shelf.symbol("pkg.S"), shelf.symbol("pkg.S.Do")),
        (None, None)
    );
    assert_eq!(shelf.symbol("pkg.Outer").as_deref(), Some("library.proto"));
    shelf.announce(2, &own, &["pkg.S"], "b");
    shelf.asked();
    shelf.brings(2, &own);
    assert_eq!(shelf.symbol("pkg.S.Do").as_deref(), Some("own.proto"));
    assert_eq!(
        shelf.library.services().count(),
        0,
        "declared names are the registry's"
    );
    shelf.library.leave(key(2));
    shelf.announce(3, &library, &["*"], "c");
    assert_eq!(
        shelf.symbol("pkg.S").as_deref(),
        Some("library.proto"),
        "* offers all"
    );
    assert_eq!(shelf.library.services().collect::<Vec<_>>(), ["pkg.S"]);
}

#[test]
fn what_does_not_fit_waits_until_others_have_gone() {
    let limits = DescriptorLimits {
        max_sets: 1,
        ..DescriptorLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    let (one, other) = (set("one.proto"), set("other.proto"));
    shelf.announce(1, &one, &["pkg.S"], "a");
    shelf.announce(2, &other, &["pkg.S"], "b");
    assert_eq!(shelf.asked(), ["a"]);
    shelf.brings(1, &one);
    assert_eq!(shelf.asked(), [""; 0]);
    shelf.library.leave(key(1));
    assert_eq!(shelf.asked(), ["b"]);
    // One that waits in vain leaves nothing behind.
    shelf.announce(3, &one, &["pkg.S"], "c");
    shelf.library.leave(key(3));
    shelf.library.leave(key(2));
    assert!(shelf.library.holds_nothing());
}

#[test]
fn sets_are_held_up_to_a_total_and_none_past_its_own_limit() {
    let set_of = |name| set(name);
    let one = set_of("one.proto");
    let limits = DescriptorLimits {
        max_total: Set::cost_max(one.len()) + 100,
        ..DescriptorLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    let other = set_of("two.proto");
    shelf.announce(1, &one, &["pkg.S"], "a");
    shelf.announce(2, &other, &["pkg.S"], "b");
    assert_eq!(
        shelf.asked(),
        ["a"],
        "one under way counts with all that it could take"
    );
    shelf.brings(1, &one);
    assert_eq!(shelf.asked(), [""; 0]);

    let limits = DescriptorLimits {
        max_set: one.len() - 1,
        ..DescriptorLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    assert!(!shelf.announce(1, &one, &["pkg.S"], "a"), "too long");
    assert_eq!(shelf.asked(), [""; 0]);
    shelf.library.leave(key(1));
}

#[test]
fn what_a_package_holds_is_answered_by_who_offers_a_service_of_it() {
    let mut shelf = Shelf::new(DescriptorLimits::default());
    let with_message = |name: &str| {
        let mut file = file("shop/carts.proto", "shop.v1", "Carts", &[]);
        file.message_type.push(message(name));
        file
    };
    let evil = encoded(vec![
        with_message("Evil"),
        file("e.proto", "evil", "E", &[]),
    ]);
    let own = encoded(vec![with_message("Good")]);
    shelf.announce(1, &evil, &["evil.E", "shop.v1.sub.S", "shop"], "a");
    shelf.announce(2, &own, &["shop.v1.Carts"], "b");
    assert_eq!(shelf.asked(), ["a", "b"]);
    shelf.brings(1, &evil);
    let answers = |shelf: &Shelf| {
        let library = &shelf.library;
        let of_type = library.symbol("shop.v1.Outer", None).expect("held").hash;
        let of_file = library.file("shop/carts.proto", None).expect("held").hash;
        assert_eq!(of_type, of_file);
        of_file
    };
    assert_eq!(answers(&shelf), announced(&evil).hash, "nobody else has it");
    shelf.brings(2, &own);
    assert_eq!(answers(&shelf), announced(&own).hash);
    shelf.library.leave(key(2));
    assert_eq!(answers(&shelf), announced(&evil).hash);
}

#[test]
fn one_that_does_not_fit_holds_up_no_other_that_does() {
    let mut shelf = Shelf::new(DescriptorLimits::default());
    let large = padded("large.proto", 4_000_000);
    // Held sets leave no room for another large one, and more of those wait than anybody looks at.
    let limits = DescriptorLimits {
        max_total: Set::cost_max(large.len()) + large.len() / 2,
        ..DescriptorLimits::default()
    };
    shelf.library = Library::new(limits, Vec::new());
    shelf.announce(1, &large, &["pkg.S"], "large");
    assert_eq!(shelf.asked(), ["large"]);
    shelf.brings(1, &large);
    for slot in 2..200 {
        let more = padded(&format!("{slot}.proto"), 4_000_000 + slot);
        shelf.announce(slot, &more, &["pkg.S"], "more");
    }
    for slot in 200..400 {
        let small = set(&format!("{slot}.proto"));
        shelf.announce(slot, &small, &["pkg.S"], "small");
        assert_eq!(shelf.asked(), ["small"], "however many were asked before");
        shelf.brings(slot, &small);
        shelf.library.leave(key(slot));
    }
    shelf.library.leave(key(1));
    assert_eq!(shelf.asked(), ["more"], "there is room for one");
    assert!(shelf.library.is_sound());
}

#[test]
fn one_that_waits_for_what_is_under_way_gets_its_turn() {
    let limits = DescriptorLimits {
        max_total: 10 * Set::cost_max(1_000),
        ..DescriptorLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    // It needs all the room, and small ones never cease to be under way.
    let large = padded("large.proto", 70_000);
    shelf.announce(1, &set("0.proto"), &["pkg.S"], "small");
    assert_eq!(shelf.asked(), ["small"]);
    shelf.announce(2, &large, &["pkg.S"], "large");
    let mut before = 0;
    for slot in 3..1_000 {
        shelf.announce(slot, &set(&format!("{slot}.proto")), &["pkg.S"], "small");
        let asked = shelf.asked();
        shelf
            .library
            .leave(key(slot - if slot == 3 { 2 } else { 1 }));
        if asked.is_empty() {
            break;
        }
        assert_eq!(asked, ["small"]);
        before += 1;
    }
    assert_eq!(before, 64);
    assert_eq!(shelf.asked(), ["large"], "then it comes before all others");
}

#[test]
fn silent_announcers_leave_room_for_others() {
    let mut shelf = Shelf::new(DescriptorLimits::default());
    for (slot, len) in (1..).zip([4_000_000, 3_900_000, 3_800_000, 1_000_000]) {
        let silent = padded(&format!("{slot}.proto"), len);
        shelf.announce(slot, &silent, &["pkg.S"], "silent");
    }
    assert!(!shelf.asked().is_empty());
    for slot in 10..40 {
        let honest = set(&format!("{slot}.proto"));
        shelf.announce(slot, &honest, &["pkg.S"], "honest");
        assert_eq!(shelf.asked(), ["honest"]);
        shelf.brings(slot, &honest);
    }
    assert!(shelf.library.is_sound());
}

#[test]
fn who_announces_another_size_for_a_hash_gets_no_more_room_by_it() {
    let large = padded("large.proto", 1_000_000);
    let limits = DescriptorLimits {
        max_total: Set::cost_max(large.len()) + 1_000,
        ..DescriptorLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    shelf.announce(1, &set("a.proto"), &["pkg.S"], "a");
    assert_eq!(shelf.asked(), ["a"]);
    let liar = Announced {
        size: 1,
        ..announced(&large)
    };
    for slot in 2..20 {
        let taken = padded("b.proto", 100_000 + slot);
        shelf.announce(slot + 100, &taken, &["pkg.S"], "b");
        shelf.asked();
    }
    shelf.library.announce(key(2), liar, Vec::new(), "liar");
    shelf.announce(3, &large, &["pkg.S"], "large");
    shelf.library.leave(key(2));
    assert_eq!(shelf.asked(), [""; 0]);
    assert!(shelf.library.is_sound());
}

proptest! {
    #[test]
    fn whoever_comes_and_goes_the_library_counts_right(
        steps in prop::collection::vec((0..6_u8, 1..8_u32, 0..4_usize), 1..80),
    ) {
        let sets = ["a", "b", "c", "d"].map(|name| padded(name, 1_000));
        let limits = DescriptorLimits {
            max_sets: 3,
            max_total: Set::cost_max(sets[0].len()) + 1_000,
            ..DescriptorLimits::default()
        };
        let mut shelf = Shelf::new(limits);
        // Which set each instance that is there announced.
        let mut there = std::collections::BTreeMap::new();
        for (step, slot, which) in steps {
            match (step, there.get(&slot).copied()) {
                (0 | 1, None) => {
                    shelf.announce(slot, &sets[which], &["pkg.S"], "x");
                    there.insert(slot, which);
                }
                (2, Some(which)) => shelf.brings(slot, &sets[which]),
                (3, _) => shelf.library.failed(key(slot)),
                (4, _) => shelf.library.refuse(key(slot)),
                (5, _) => {
                    shelf.library.leave(key(slot));
                    there.remove(&slot);
                }
                _ => {}
            }
            prop_assert!(shelf.library.is_sound());
            shelf.asked();
            prop_assert!(shelf.library.is_sound());
        }
        for slot in 1..8 {
            shelf.library.leave(key(slot));
        }
        prop_assert!(shelf.library.holds_nothing());
    }
}
