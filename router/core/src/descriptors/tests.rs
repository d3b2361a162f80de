//! What a set tells of itself.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use prost_types::DescriptorProto;

use super::testing::{encoded, file, message, name_of, parse};
use super::{BadSet, Set};

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
}
