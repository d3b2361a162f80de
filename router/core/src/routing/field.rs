//! A key out of the first bytes of a request, without decoding the rest of it.
//!
//! A request is messages, each behind a flag of compression and its length. Of the first message the
//! top-level fields are walked by their tags until the wanted one is there: its first occurrence. What
//! cannot be read (compressed, malformed, beyond the first 16 KiB, not there) has no key.

use std::fmt::{self, Write};

use super::key::RoutingKey;
use super::route::MessageKey;

/// How much of a request is searched for its key, in bytes, the message's prefix included.
pub const SEARCHED_MAX: usize = 16 * 1024;

const PREFIX: usize = 5;

/// A top-level field of a request message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its number in the message.
    pub number: u32,
    /// Its type.
    pub kind: FieldKind,
}

/// The type of a field that can be a key, as in a .proto file.
#[allow(missing_docs, reason = "named as in protobuf")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    String,
    Bytes,
    Bool,
    Enum,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
}

/// What the beginning of a request says of its key.
#[derive(Debug, PartialEq, Eq)]
pub enum Search<T> {
    /// Here it is.
    Found(T),
    /// There is none, whatever else comes.
    Missing,
    /// More of the request has to come first.
    More,
}

/// A key as it stands in a request.
#[derive(Debug, PartialEq, Eq)]
pub enum FieldKey<'a> {
    /// A string or bytes.
    Bytes(&'a [u8]),
    /// A number, as its digits.
    Digits(Digits),
}

impl FieldKey<'_> {
    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Digits(digits) => digits.as_bytes(),
        }
    }
}

/// The text of a number, kept in place.
#[derive(Debug, PartialEq, Eq)]
pub struct Digits {
    text: [u8; 32],
    len: usize,
}

impl Digits {
    fn of(number: impl fmt::Display) -> Self {
        let mut digits = Self {
            text: [0; 32],
            len: 0,
        };
        write!(digits, "{number}").expect("no number is longer");
        digits
    }

    /// The text's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

impl Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let place = self.text.get_mut(self.len..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// What of a message was passed over, nothing at first: so what comes in small pieces is read once.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// Bytes of other fields.
    bytes: usize,
    /// Groups that have begun in them and not ended: their fields are none of the message's own.
    groups: usize,
}

/// Looks for a field in the beginning of a request. `ended`: no more of it comes.
#[must_use]
pub fn find<'a>(
    request: &'a [u8],
    ended: bool,
    field: Field,
    skipped: &mut Skipped,
) -> Search<FieldKey<'a>> {
    let (message, whole) = match first_message(request, ended) {
        Ok(begun) => begun,
        Err(nothing) => return nothing,
    };
    let mut reader = Reader(&message[skipped.bytes..]);
    loop {
        skipped.bytes = message.len() - reader.0.len();
        if reader.0.is_empty() && whole {
            return Search::Missing;
        }
        match reader.field() {
            Ok((number, value)) if skipped.groups == 0 && number == u64::from(field.number) => {
                // Of another type than it should be: the sender has another message in mind.
                return value.key(field.kind).map_or(Search::Missing, |key| {
                    key.map_or(Search::Missing, Search::Found)
                });
            }
            Ok((_, Value::GroupBegins)) => skipped.groups += 1,
            Ok((_, Value::GroupEnds)) => match skipped.groups.checked_sub(1) {
                Some(outer) => skipped.groups = outer,
                None => return Search::Missing,
            },
            Ok(_) => {}
            Err(Stop::Malformed) => return Search::Missing,
            Err(Stop::Short) if whole || request.len() >= SEARCHED_MAX || ended => {
                return Search::Missing;
            }
            Err(Stop::Short) => return Search::More,
        }
    }
}

/// Gives the first message, once it is there whole, to a function that finds the key.
#[must_use]
pub fn find_in_message(request: &[u8], ended: bool, key: &MessageKey) -> Search<RoutingKey> {
    match first_message(request, ended) {
        Ok((message, true)) => key(message).map_or(Search::Missing, Search::Found),
        Ok((_, false)) if request.len() >= SEARCHED_MAX || ended => Search::Missing,
        Ok((_, false)) => Search::More,
        Err(nothing) => nothing,
    }
}

/// What is here of the first message, and whether that is all of it.
fn first_message<T>(request: &[u8], ended: bool) -> Result<(&[u8], bool), Search<T>> {
    let request = &request[..request.len().min(SEARCHED_MAX)];
    let Some((prefix, rest)) = request.split_first_chunk::<PREFIX>() else {
        return Err(if ended { Search::Missing } else { Search::More });
    };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(Search::Missing);
    }
    let length = u32::from_be_bytes(length) as usize;
    Ok(match rest.get(..length) {
        Some(message) => (message, true),
        None => (rest, false),
    })
}

/// Why the next field cannot be read.
enum Stop {
    /// It goes on beyond what is here.
    Short,
    Malformed,
}

/// The value of a field as it stands on the wire.
#[derive(Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
    /// Fields up to its end are of a message inside the message.
    GroupBegins,
    GroupEnds,
}

impl<'a> Value<'a> {
    /// The key in a value of this type. `None`: it is of another type; `Some(None)`: an empty text, which
    /// is no key.
    fn key(self, kind: FieldKind) -> Option<Option<FieldKey<'a>>> {
        use FieldKind as K;
        let digits = match (kind, self) {
            (K::String | K::Bytes, Self::Bytes(bytes)) => {
                return Some((!bytes.is_empty()).then_some(FieldKey::Bytes(bytes)));
            }
            (K::Bool, Self::Varint(n)) => Digits::of(n != 0),
            (K::Enum | K::Int32, Self::Varint(n)) => Digits::of(n as i32),
            (K::Int64, Self::Varint(n)) => Digits::of(n.cast_signed()),
            (K::Uint32, Self::Varint(n)) => Digits::of(n as u32),
            (K::Uint64, Self::Varint(n)) => Digits::of(n),
            (K::Sint32, Self::Varint(n)) => Digits::of(zigzag(n) as i32),
            (K::Sint64, Self::Varint(n)) => Digits::of(zigzag(n)),
            (K::Fixed32, Self::Fixed32(b)) => Digits::of(u32::from_le_bytes(b)),
            (K::Sfixed32, Self::Fixed32(b)) => Digits::of(i32::from_le_bytes(b)),
            (K::Fixed64, Self::Fixed64(b)) => Digits::of(u64::from_le_bytes(b)),
            (K::Sfixed64, Self::Fixed64(b)) => Digits::of(i64::from_le_bytes(b)),
            // In the form that has no more than 25 characters, however large or small.
            (K::Float, Self::Fixed32(b)) => Digits::of(format_args!("{:?}", f32::from_le_bytes(b))),
            (K::Double, Self::Fixed64(b)) => {
                Digits::of(format_args!("{:?}", f64::from_le_bytes(b)))
            }
            _ => return None,
        };
        Some(Some(FieldKey::Digits(digits)))
    }
}

fn zigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn field(&mut self) -> Result<(u64, Value<'a>), Stop> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.array()?),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| Stop::Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            3 => Value::GroupBegins,
            4 => Value::GroupEnds,
            5 => Value::Fixed32(self.array()?),
            // What protobuf does not have.
            _ => return Err(Stop::Malformed),
        };
        Ok((tag >> 3, value))
    }

    fn varint(&mut self) -> Result<u64, Stop> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Stop::Malformed)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(taken)
    }
}
