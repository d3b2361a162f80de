//! A field of the first message is found by its number, wherever the bytes are cut.

use grpcrouter_core::routing::field::{SEARCHED_MAX, Search, Skipped, find, find_in_message};
use grpcrouter_core::routing::{Field, FieldKind, RoutingKey};
use proptest::prelude::*;
use prost::Message;

/// One field of each type that can be a key, each with its number.
#[derive(Clone, PartialEq, Message)]
struct All {
    #[prost(string, tag = "1")]
    string: String,
    #[prost(bytes = "vec", tag = "2")]
    bytes: Vec<u8>,
    #[prost(bool, tag = "3")]
    boolean: bool,
    #[prost(int32, tag = "4")]
    int32: i32,
    #[prost(int64, tag = "5")]
    int64: i64,
    #[prost(uint32, tag = "6")]
    uint32: u32,
    #[prost(uint64, tag = "7")]
    uint64: u64,
    #[prost(sint32, tag = "8")]
    sint32: i32,
    #[prost(sint64, tag = "9")]
    sint64: i64,
    #[prost(fixed32, tag = "10")]
    fixed32: u32,
    #[prost(fixed64, tag = "11")]
    fixed64: u64,
    #[prost(sfixed32, tag = "12")]
    sfixed32: i32,
    #[prost(sfixed64, tag = "13")]
    sfixed64: i64,
    #[prost(float, tag = "14")]
    float: f32,
    #[prost(double, tag = "15")]
    double: f64,
    #[prost(string, tag = "2000")]
    last: String,
}

const KINDS: [FieldKind; 15] = [
    FieldKind::String,
    FieldKind::Bytes,
    FieldKind::Bool,
    FieldKind::Int32,
    FieldKind::Int64,
    FieldKind::Uint32,
    FieldKind::Uint64,
    FieldKind::Sint32,
    FieldKind::Sint64,
    FieldKind::Fixed32,
    FieldKind::Fixed64,
    FieldKind::Sfixed32,
    FieldKind::Sfixed64,
    FieldKind::Float,
    FieldKind::Double,
];

fn framed(message: &impl Message) -> Vec<u8> {
    framed_bytes(&message.encode_to_vec())
}

fn framed_bytes(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

fn field(number: u32, kind: FieldKind) -> Field {
    Field { number, kind }
}

fn found(request: &[u8], of: Field) -> Option<Vec<u8>> {
    match find(request, true, of, &mut Skipped::default()) {
        Search::Found(key) => Some(key.as_bytes().to_vec()),
        Search::Missing => None,
        Search::More => panic!("a request that has ended has no more"),
    }
}

prop_compose! {
    fn messages()(
        string in "[a-z]{0,40}", bytes in any::<Vec<u8>>(), boolean in any::<bool>(),
        signed in any::<(i32, i64, i32, i64, i32, i64)>(),
        unsigned in any::<(u32, u64, u32, u64)>(),
        floats in any::<(f32, f64)>(),
    ) -> All {
        All {
            string, bytes, boolean,
            int32: signed.0, int64: signed.1, sint32: signed.2, sint64: signed.3,
            sfixed32: signed.4, sfixed64: signed.5,
            uint32: unsigned.0, uint64: unsigned.1, fixed32: unsigned.2, fixed64: unsigned.3,
            float: floats.0, double: floats.1,
            last: "end".to_owned(),
        }
    }
}

/// The text of each field, in the order of their numbers; none for a default, which is not sent.
fn texts(all: &All) -> Vec<Option<Vec<u8>>> {
    fn number<T: PartialEq + Default + ToString + Copy>(n: T) -> Option<Vec<u8>> {
        (n != T::default()).then(|| n.to_string().into_bytes())
    }
    fn float(text: String, is_zero: bool) -> Option<Vec<u8>> {
        (!is_zero).then(|| text.into_bytes())
    }
    let some = |bytes: &[u8]| (!bytes.is_empty()).then(|| bytes.to_vec());
    vec![
        some(all.string.as_bytes()),
        some(&all.bytes),
        number(all.boolean),
        number(all.int32),
        number(all.int64),
        number(all.uint32),
        number(all.uint64),
        number(all.sint32),
        number(all.sint64),
        number(all.fixed32),
        number(all.fixed64),
        number(all.sfixed32),
        number(all.sfixed64),
        float(format!("{:?}", all.float), all.float.to_bits() == 0),
        float(format!("{:?}", all.double), all.double.to_bits() == 0),
    ]
}

proptest! {
    #[test]
    fn every_field_of_any_message_is_found_with_its_value(all in messages()) {
        // prost leaves out zeros of either sign.
        prop_assume!(all.float.to_bits() != 1 << 31 && all.double.to_bits() != 1 << 63);
        let request = framed(&all);
        for ((kind, text), number) in KINDS.into_iter().zip(texts(&all)).zip(1..) {
            prop_assert_eq!(found(&request, field(number, kind)), text, "{:?}", kind);
        }
        let last = field(2_000, FieldKind::String);
        prop_assert_eq!(found(&request, last), Some(b"end".to_vec()));
    }

    #[test]
    fn a_request_that_comes_in_pieces_has_the_key_once_it_is_there(all in messages()) {
        let mut request = framed(&all);
        // What follows the first message is not looked at.
        request.extend(framed(&All { last: "other".into(), ..All::default() }));
        let wanted = field(2_000, FieldKind::String);
        let (mut known, mut skipped) = (false, Skipped::default());
        for cut in 0..=request.len() {
            match find(&request[..cut], false, wanted, &mut skipped) {
                Search::More => prop_assert!(!known, "it was found in less"),
                Search::Found(key) => {
                    prop_assert_eq!(key.as_bytes(), b"end");
                    known = true;
                }
                Search::Missing => prop_assert!(false, "missing at {}", cut),
            }
        }
        prop_assert!(known);
    }

    #[test]
    fn any_bytes_have_a_key_or_none_and_never_a_panic(bytes in any::<Vec<u8>>(), number in 1_u32..20) {
        for kind in KINDS {
            let of = field(number, kind);
            let _ = find(&bytes, false, of, &mut Skipped::default());
            let _ = find(&framed_bytes(&bytes), true, of, &mut Skipped::default());
        }
    }
}

#[test]
fn the_first_of_two_occurrences_is_the_key() {
    let mut message = All {
        string: "first".into(),
        ..All::default()
    }
    .encode_to_vec();
    message.extend(
        All {
            string: "second".into(),
            ..All::default()
        }
        .encode_to_vec(),
    );
    let key = found(&framed_bytes(&message), field(1, FieldKind::String));
    assert_eq!(key, Some(b"first".to_vec()));
}

/// Groups are of proto2, and so are some who call.
#[test]
fn a_group_before_the_key_is_passed_over_with_all_that_it_holds() {
    let mut message = vec![0x2b];
    // A field with the number of the key, and a group in the group with another.
    message.extend(b"\x0a\x03not");
    message.extend(b"\x33\x0a\x03nor\x34");
    message.push(0x2c);
    message.extend(b"\x0a\x03key");
    let request = framed_bytes(&message);
    let of = field(1, FieldKind::String);
    assert_eq!(found(&request, of), Some(b"key".to_vec()));

    let mut skipped = Skipped::default();
    for cut in 0..request.len() {
        let so_far = find(&request[..cut], false, of, &mut skipped);
        assert_eq!(so_far, Search::More, "after {cut} bytes");
    }
    let all = find(&request, false, of, &mut skipped);
    assert!(
        matches!(&all, Search::Found(key) if key.as_bytes() == b"key"),
        "{all:?}"
    );

    for (what, wrong) in [
        ("it does not end", &b"\x2b\x0a\x03not"[..]),
        ("it did not begin", b"\x2c\x0a\x03key"),
        ("the key is one", b"\x0b\x0c\x0a\x03key"),
    ] {
        assert_eq!(found(&framed_bytes(wrong), of), None, "{what}");
    }
}

#[test]
fn what_cannot_be_read_has_no_key() {
    let whole = framed(&All {
        string: "key".into(),
        ..All::default()
    });
    let mut compressed = whole.clone();
    compressed[0] = 1;
    let of = field(1, FieldKind::String);
    assert_eq!(found(&compressed, of), None, "compressed");
    assert_eq!(
        found(&whole[..7], of),
        None,
        "cut short by the end of the request"
    );
    assert_eq!(found(&[], of), None, "no message");
    assert_eq!(found(&framed_bytes(&[]), of), None, "an empty message");
    assert_eq!(found(&framed_bytes(&[0x0b, 0x0c]), of), None, "a group");
    assert_eq!(
        found(&whole, field(1, FieldKind::Int32)),
        None,
        "another type"
    );
    assert_eq!(
        find(&compressed, false, of, &mut Skipped::default()),
        Search::Missing,
        "at once"
    );
}

#[test]
fn a_key_beyond_the_first_sixteen_kib_is_missing_and_nothing_is_waited_for() {
    let with = |before| {
        framed(&All {
            bytes: vec![7; before],
            last: "end".into(),
            ..All::default()
        })
    };
    let of = field(2_000, FieldKind::String);
    let near = with(SEARCHED_MAX - 64);
    assert!(found(&near, of).is_some());
    let far = with(SEARCHED_MAX);
    assert_eq!(
        find(&far[..SEARCHED_MAX - 1], false, of, &mut Skipped::default()),
        Search::More
    );
    assert_eq!(
        find(&far[..SEARCHED_MAX], false, of, &mut Skipped::default()),
        Search::Missing
    );
    assert_eq!(
        find(&far, true, of, &mut Skipped::default()),
        Search::Missing
    );
}

#[test]
fn a_function_gets_the_first_message_once_it_is_whole() {
    let of: grpcrouter_core::routing::MessageKey = std::sync::Arc::new(|message: &[u8]| {
        let all = All::decode(message).ok()?;
        (all.int32 > 0).then(|| RoutingKey::from(all.int32 * 2))
    });
    let request = framed(&All {
        int32: 21,
        ..All::default()
    });
    for cut in 0..request.len() {
        assert_eq!(find_in_message(&request[..cut], false, &of), Search::More);
    }
    assert_eq!(
        find_in_message(&request, false, &of),
        Search::Found(RoutingKey::from(42))
    );
    let other = framed(&All {
        int32: -1,
        ..All::default()
    });
    assert_eq!(find_in_message(&other, false, &of), Search::Missing);
    let large = framed(&All {
        bytes: vec![0; SEARCHED_MAX],
        int32: 21,
        ..All::default()
    });
    assert_eq!(
        find_in_message(&large, false, &of),
        Search::Missing,
        "it is never held whole"
    );
}
