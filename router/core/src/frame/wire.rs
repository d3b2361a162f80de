//! The few pieces of the protobuf wire format that the hot frames need.

use bytes::{BufMut, BytesMut};

/// A field's value. Length-delimited values borrow from the body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Len(&'a [u8]),
    Fixed32,
}

/// The input is not protobuf, or a field has another type than it should; says what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub(super) &'static str);

impl Malformed {
    pub(crate) fn what(self) -> &'static str {
        self.0
    }
}

impl<'a> Value<'a> {
    /// A `uint32`. Longer varints are cut to 32 bits, as every protobuf library does.
    pub(crate) fn uint32(self) -> Result<u32, Malformed> {
        #[allow(clippy::cast_possible_truncation)]
        self.uint64().map(|value| value as u32)
    }

    pub(super) fn uint64(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed("a number is not a varint")),
        }
    }

    pub(super) fn fixed64(self) -> Result<u64, Malformed> {
        match self {
            Self::Fixed64(value) => Ok(value),
            _ => Err(Malformed("request_id is not a fixed64")),
        }
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Len(value) => Ok(value),
            _ => Err(Malformed(
                "bytes, text or a message is not length-delimited",
            )),
        }
    }
}

/// Splits a message into its fields: number and value. Ends at the first error.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed("a key is too large"))?;
        let number = key >> 3;
        if number == 0 {
            return Err(Malformed("a field has the number 0"));
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let (value, rest) = self
                    .0
                    .split_first_chunk()
                    .ok_or(Malformed("a fixed64 is cut"))?;
                self.0 = rest;
                Value::Fixed64(u64::from_le_bytes(*value))
            }
            2 => {
                let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let (value, rest) = self
                    .0
                    .split_at_checked(len)
                    .ok_or(Malformed("a value is cut"))?;
                self.0 = rest;
                Value::Len(value)
            }
            5 => {
                self.0 = self.0.get(4..).ok_or(Malformed("a fixed32 is cut"))?;
                Value::Fixed32
            }
            // Groups were never part of proto3. Skipping them would need a stack.
            _ => return Err(Malformed("a wire type that proto3 does not have")),
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (at, &byte) in self.0.iter().enumerate().take(10) {
            if at == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(Malformed("a varint is cut or too long"))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// The bytes that `value` takes as a varint.
pub(super) const fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

pub(super) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Key and length of a length-delimited field; the caller appends `len` bytes. Numbers up to 15,
/// so that a key is one byte.
pub(super) fn put_len(out: &mut BytesMut, number: u32, len: usize) {
    debug_assert!(number < 16);
    out.put_u8((number << 3 | 2) as u8);
    put_varint(out, len as u64);
}

/// A length-delimited field; an empty one is not written, as proto3 has it.
pub(super) fn put_bytes(out: &mut BytesMut, number: u32, value: &[u8]) {
    if !value.is_empty() {
        put_len(out, number, value.len());
        out.extend_from_slice(value);
    }
}

/// The bytes that [`put_bytes`] takes for a number up to 15.
pub(super) const fn bytes_len(len: usize) -> usize {
    if len == 0 {
        0
    } else {
        1 + varint_len(len as u64) + len
    }
}

/// A varint field; 0 is not written, as proto3 has it.
pub(super) fn put_uint(out: &mut BytesMut, number: u32, value: u64) {
    debug_assert!(number < 16);
    if value != 0 {
        out.put_u8((number << 3) as u8);
        put_varint(out, value);
    }
}

/// The bytes that [`put_uint`] takes for a number up to 15.
pub(super) const fn uint_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint_len(value) }
}
