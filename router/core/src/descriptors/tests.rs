//! What a set tells of itself, and who is asked for which.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};

use super::{Announced, BadSet, DescriptorLimits, Library, Set};
use crate::table::Key;

fn key(slot: u32) -> Key {
    Key::from_bits(u64::from(slot))
}

fn named<T: Default>(set: impl FnOnce(&mut T)) -> T {
    let mut value = T::default();
    set(&mut value);
    value
}

fn message(name: &str) -> DescriptorProto {
    named(|m: &mut DescriptorProto| m.name = Some(name.into()))
}

fn extension(name: &str, extended: &str, number: i32) -> FieldDescriptorProto {
    named(|field: &mut FieldDescriptorProto| {
        field.name = Some(name.into());
        field.extendee = Some(extended.into());
        field.number = Some(number);
    })
}

/// A file of one service with one method and its message.
fn file(name: &str, package: &str, service: &str, imports: &[&str]) -> FileDescriptorProto {
    let method = named(|m: &mut MethodDescriptorProto| m.name = Some("Do".into()));
    let service = named(|s: &mut ServiceDescriptorProto| {
        s.name = Some(service.into());
        s.method = vec![method];
    });
    let mut outer = message("Outer");
    outer.nested_type = vec![message("Inner")];
    outer.enum_type = vec![named(|e: &mut EnumDescriptorProto| {
        e.name = Some("Colour".into());
    })];
    outer.extension = vec![extension("inside", ".pkg.Outer", 101)];
    FileDescriptorProto {
        name: Some(name.into()),
        package: Some(package.into()),
        dependency: imports.iter().map(|&name| name.into()).collect(),
        message_type: vec![outer],
        service: vec![service],
        extension: vec![extension("outside", ".pkg.Outer", 100)],
        ..FileDescriptorProto::default()
    }
}

fn encoded(files: Vec<FileDescriptorProto>) -> Bytes {
    FileDescriptorSet { file: files }.encode_to_vec().into()
}

/// A set with `pkg.S`, told apart by a file of this name.
fn set(name: &str) -> Bytes {
    encoded(vec![file(name, "pkg", "S", &[])])
}

fn parse(set: &Bytes) -> Set {
    Set::parse(set).expect("a set")
}

fn announced(set: &[u8]) -> Announced {
    Announced::of(set).expect("not empty")
}

fn name_of(file: &Bytes) -> String {
    let file = FileDescriptorProto::decode(file.clone()).expect("a file");
    file.name.expect("a name")
}

#[test]
fn everything_that_reflection_asks_for_is_found_by_its_full_name() {
    let set = parse(&encoded(vec![
        file("a.proto", "pkg", "S", &[]),
        file("b.proto", "", "Bare", &[]),
    ]));
    for (name, file) in [
        ("pkg.S", 0),
        ("pkg.S.Do", 0),
        ("pkg.Outer", 0),
        ("pkg.Outer.Inner", 0),
        ("pkg.Outer.Colour", 0),
        ("pkg.Outer.inside", 0),
        ("pkg.outside", 0),
        ("Bare", 1),
        ("Bare.Do", 1),
        ("Outer.Inner", 1),
    ] {
        assert_eq!(set.symbol(name).map(|s| s.file), Some(file), "{name}");
    }
    for name in ["", "pkg", "S", "pkg.S.Don't", ".pkg.S", "pkg.Outer."] {
        assert_eq!(set.symbol(name), None, "{name:?}");
    }
    assert_eq!(set.file("b.proto"), Some(1));
    assert_eq!(set.services().collect::<Vec<_>>(), ["Bare", "pkg.S"]);
    assert_eq!(set.extension("pkg.Outer", 101), Some(0));
    assert_eq!(set.extension("pkg.Outer", 102), None);
    let numbers: Vec<_> = set.extensions("pkg.Outer").collect();
    assert_eq!(numbers, [101, 100, 101, 100], "as they stand in the files");
}

#[test]
fn a_file_brings_its_imports_as_far_as_they_fit() {
    let bytes = encoded(vec![
        file("a.proto", "a", "A", &["b.proto", "missing.proto"]),
        file("b.proto", "b", "B", &["c.proto", "a.proto"]),
        file("c.proto", "c", "C", &[]),
    ]);
    let set = parse(&bytes);
    let names = |max| -> Vec<_> { set.with_imports(0, max).iter().map(name_of).collect() };
    assert_eq!(names(usize::MAX), ["a.proto", "b.proto", "c.proto"]);
    assert_eq!(names(bytes.len() / 2), ["a.proto"]);
    assert_eq!(names(0), ["a.proto"], "what was asked for is always there");
}

#[test]
fn a_file_is_given_out_as_it_came() {
    // An option that nobody here knows: field 50001 of the file's options.
    let mut body = file("a.proto", "pkg", "S", &[]).encode_to_vec();
    body.extend([0x42, 4, 0x8a, 0xb5, 0x18, 0]);
    let mut bytes = vec![
        0x0a,
        0x80 | (body.len() & 0x7f) as u8,
        (body.len() >> 7) as u8,
    ];
    bytes.extend_from_slice(&body);
    let set = parse(&bytes.into());
    assert_eq!(set.with_imports(0, 0), [Bytes::from(body)]);
}

#[test]
fn of_two_files_or_symbols_of_one_name_the_first_counts() {
    let set = parse(&encoded(vec![
        file("a.proto", "pkg", "S", &[]),
        file("a.proto", "pkg", "S", &["x"]),
    ]));
    assert_eq!(set.file("a.proto"), Some(0));
    assert_eq!(set.symbol("pkg.S").map(|s| s.file), Some(0));
}

#[test]
fn garbage_is_refused() {
    let refused = |bytes: &'static [u8]| Set::parse(&Bytes::from_static(bytes)).expect_err("bad");
    for bytes in [
        &b"\x0a\x05\x0a"[..],
        b"\x0b",
        b"\x0a\x02\x0a\x05",
        b"\x08\x01\x0a",
    ] {
        assert!(matches!(refused(bytes), BadSet::Malformed(_)), "{bytes:?}");
    }
    assert!(
        matches!(refused(b"\x0a\x03\x0a\x01\xff"), BadSet::Malformed(what) if what.contains("UTF-8"))
    );
    let mut nested = message("M");
    for _ in 0..100 {
        let mut outer = message("M");
        outer.nested_type = vec![nested];
        nested = outer;
    }
    let mut deep = file("a.proto", "", "S", &[]);
    deep.message_type = vec![nested];
    assert_eq!(
        Set::parse(&encoded(vec![deep])).expect_err("bad"),
        BadSet::TooDeep
    );
}

#[test]
fn a_set_that_names_more_than_it_is_long_costs_no_memory() {
    // Empty messages, two bytes each, whose full names are a megabyte each.
    let mut long = file("a.proto", &"p".repeat(1 << 20), "S", &[]);
    long.message_type = vec![DescriptorProto::default(); 1 << 20];
    let error = Set::parse(&encoded(vec![long])).expect_err("bad");
    assert!(matches!(error, BadSet::NamesTooMuch(_)), "{error}");
    // A file of a million imports of nothing.
    let mut body = [0x1a, 0].repeat(1 << 20);
    body.splice(..0, [0x0a, 0x80, 0x80, 0x80, 1]);
    let error = Set::parse(&body.into()).expect_err("bad");
    assert!(matches!(error, BadSet::NamesTooMuch(_)), "{error}");
    // Files of two bytes.
    let error = Set::parse(&[0x0a, 0].repeat(1 << 20).into()).expect_err("bad");
    assert!(matches!(error, BadSet::NamesTooMuch(_)), "{error}");
}

/// A set with this much of a field that nobody knows.
fn padded(name: &str, filler: u32) -> Bytes {
    let mut bytes = set(name).to_vec();
    bytes.push(0x7a);
    prost::encoding::encode_varint(filler.into(), &mut bytes);
    bytes.resize(bytes.len() + filler as usize, 0);
    bytes.into()
}

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

struct Shelf {
    library: Library<&'static str>,
}

impl Shelf {
    fn new(limits: DescriptorLimits) -> Self {
        let library = Library::new(limits, Vec::new());
        Self { library }
    }

    fn announce(&mut self, slot: u32, set: &[u8], services: &[&str], name: &'static str) -> bool {
        let services = services.iter().map(|&name| name.into()).collect();
        self.library
            .announce(key(slot), announced(set), services, name)
    }

    /// Who is to be asked now.
    fn asked(&mut self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.library.poll_request().map(|(_, name)| name)).collect()
    }

    fn brings(&mut self, slot: u32, set: &Bytes) {
        self.library.arrived(key(slot), parse(set));
    }

    /// The first file of the set that a symbol is answered from.
    fn symbol(&self, name: &str) -> Option<String> {
        let found = self.library.symbol(name, None)?;
        Some(name_of(&found.with_imports(0)[0]))
    }
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

proptest! {
    #[test]
    fn whatever_comes_is_a_set_or_refused(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encoded(vec![file("a.proto", "pkg", "S", &["b.proto"]), file("b.proto", "", "T", &[])]).to_vec();
        for (at, byte) in cuts {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.index(bytes.len()) + 1);
        if let Ok(set) = Set::parse(&bytes.into()) {
            for (name, symbol) in [("pkg.S", set.symbol("pkg.S")), ("T", set.symbol("T"))] {
                if let Some(symbol) = symbol {
                    prop_assert!(!set.with_imports(symbol.file, 0).is_empty(), "{}", name);
                }
            }
        }
    }

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
