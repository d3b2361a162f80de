//! Bytes that no one meant: the decoders give a verdict, the same as prost where prost has one, and
//! never panic.
//!
//! Under `cargo test` each target runs a bounded number of inputs. For a long run, set the number:
//! `PROPTEST_CASES=100000000 cargo test --release -p grpcrouter-core --test codec fuzz`. What it
//! finds is shrunk, and kept in `proptest-regressions/`, which is run first from then on.
//!
//! `corpus.txt` holds inputs that are worth running every time.

use bytes::Bytes;
use grpcrouter_core::frame::{Deframer, Limits};
use proptest::{collection::vec, prelude::*, sample::select};
use prost::Message;

use crate::{
    model::{compare_request, compare_response},
    prost_frames::{call, outer, response},
};

const LIMITS: Limits = Limits { metadata_list: 256 };

/// At least this many inputs a target; more if `PROPTEST_CASES` asks for more.
const CASES: u32 = 10_000;

/// Proves: S22
#[test]
fn the_corpus() {
    for line in include_str!("corpus.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (hex, what) = line.split_once(';').expect("bytes in hex; what they are");
        let input: Vec<u8> = hex
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits"))
            .collect();
        println!("{what}");
        any_body_of(&input);
        any_stream_of(&input);
    }
}

fn any_body_of(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    compare_request(&body, &LIMITS);
    compare_response(&body, &LIMITS);
    // The same inside of a hot frame, which random bytes seldom are.
    let hot = outer(input);
    compare_request(&hot, &LIMITS);
    compare_response(&hot, &LIMITS);
}

fn any_stream_of(input: &[u8]) {
    let mut deframer = Deframer::new(100);
    for chunk in input.chunks(7) {
        deframer.push(Bytes::copy_from_slice(chunk));
        loop {
            match deframer.next() {
                Ok(Some(message)) => assert!(message.len() <= 100),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// A change of a valid frame.
#[derive(Debug, Clone)]
enum Edit {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Cut(usize),
}

proptest! {
    #![proptest_config(config())]

    /// Proves: S22
    #[test]
    fn any_body(input in vec(byte(), 0..60)) {
        any_body_of(&input);
    }

    /// Proves: S5, S22
    #[test]
    fn any_stream(input in vec(byte(), 0..200)) {
        any_stream_of(&input);
    }

    /// Proves: S22
    #[test]
    fn any_edit_of_a_call_frame(message in call(), edits in vec(edit(), 1..6)) {
        compare_response(&outer(&edited(message.encode_to_vec(), &edits)), &LIMITS);
        compare_response(&edited(outer(&message.encode_to_vec()).into(), &edits).into(), &LIMITS);
    }

    /// Proves: S22
    #[test]
    fn any_edit_of_a_response_frame(message in response(), edits in vec(edit(), 1..6)) {
        compare_request(&outer(&edited(message.encode_to_vec(), &edits)), &LIMITS);
        compare_request(&edited(outer(&message.encode_to_vec()).into(), &edits).into(), &LIMITS);
    }
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(CASES),
        ..default
    }
}

/// Keys of the fields and short lengths, more often than chance would have them.
fn byte() -> impl Strategy<Value = u8> {
    let key = (1..16_u8, select(vec![0, 1, 2, 5])).prop_map(|(number, kind)| number << 3 | kind);
    prop_oneof![3 => key, 4 => 0..12_u8, 2 => any::<u8>()]
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let len = bytes.len().max(1);
        match *edit {
            Edit::Insert(at, byte) => bytes.insert(at % len % (bytes.len() + 1), byte),
            _ if bytes.is_empty() => {}
            Edit::Set(at, byte) => bytes[at % len] = byte,
            Edit::Flip(at, bit) => bytes[at % len] ^= 1 << (bit % 8),
            Edit::Remove(at) => drop(bytes.remove(at % len)),
            Edit::Cut(at) => bytes.truncate(at % len),
        }
    }
    bytes
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = any::<(usize, u8)>;
    prop_oneof![
        4 => place().prop_map(|(at, byte)| Edit::Set(at, byte)),
        4 => place().prop_map(|(at, bit)| Edit::Flip(at, bit)),
        2 => place().prop_map(|(at, byte)| Edit::Insert(at, byte)),
        2 => any::<usize>().prop_map(Edit::Remove),
        1 => any::<usize>().prop_map(Edit::Cut),
    ]
}
