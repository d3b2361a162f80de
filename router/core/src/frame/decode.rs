//! Reads the hot frames in one pass, fields in any order.

use std::{str, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

use super::{
    Flags, Frame, Head, Open, Reset, Trailers,
    wire::{Fields, Malformed, Value},
};
use crate::metadata;

/// What a decoder accepts from its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest metadata list in bytes, counted as HTTP/2 does: name + value + 32 an entry.
    /// Default 16 KiB, which most gRPC libraries send and accept.
    pub metadata_list: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            metadata_list: 16 * 1024,
        }
    }
}

/// Why a message body is not a frame. Always the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not the protobuf that it should be: ends the tunnel.
    #[error("a frame does not decode: {0}")]
    Malformed(&'static str),
    /// Decodes, but breaks the rules of its call: ends that call.
    #[error("call {id:#x}: {breach}")]
    Breach {
        /// The call.
        id: u64,
        /// The rule.
        breach: Breach,
    },
}

impl From<Malformed> for DecodeError {
    fn from(Malformed(what): Malformed) -> Self {
        Self::Malformed(what)
    }
}

/// The rule that a frame breaks by itself, whatever came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Breach {
    /// Upper case, a pseudo header, or bytes that HTTP does not allow.
    #[error("a metadata key is not a lower-case header name")]
    HeaderName,
    /// Bytes that HTTP does not allow.
    #[error("a metadata value or the content type is not a header value")]
    HeaderValue,
    /// See [`Limits::metadata_list`].
    #[error("the metadata list is too large")]
    MetadataTooLarge,
    /// Not UTF-8, does not begin with `/`, or holds a space or a control character.
    #[error("the method is not a path")]
    Method,
    /// Not UTF-8.
    #[error("the authority is not UTF-8")]
    Authority,
    /// RESET with a start, data or an end, or REFUSED without RESET.
    #[error("the flags contradict each other")]
    Flags,
}

/// A part of a frame that a flag announces, and that knows its own fields. [`Open`], [`Head`],
/// [`Trailers`], and `()` for HALF_CLOSE, which has none.
pub trait Part: Default + Sealed {}

impl<P: Default + Sealed> Part for P {}

/// The body of [`Part`], out of other crates' reach.
pub trait Sealed {
    /// Takes the field in if it is one of this part's.
    #[doc(hidden)]
    fn set(&mut self, number: u32, value: Input<'_>, scratch: &mut Scratch) -> Result<(), Fault>;

    /// What can only be judged after the last field.
    #[doc(hidden)]
    fn check(&mut self, _scratch: Scratch) -> Result<(), Breach> {
        Ok(())
    }
}

/// One field's value, beside the body that it can be cut from without a copy.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    value: Value<'a>,
    body: &'a Bytes,
}

/// What a part needs while it is read.
#[derive(Default)]
pub struct Scratch {
    /// What is left of the limit on the metadata list.
    list_left: usize,
    content_type: Bytes,
}

/// Whose end a field's error is.
pub enum Fault {
    /// The tunnel's.
    Malformed(Malformed),
    /// The call's.
    Breach(Breach),
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// A frame while it is read. Protobuf lets a message arrive in pieces that are to be merged, so
/// bodies are added one by one.
pub(super) struct Draft<S, E> {
    id: u64,
    flags: u32,
    seq: u32,
    window: u32,
    reset_code: u32,
    data: Bytes,
    start: PartDraft<S>,
    end: PartDraft<E>,
}

impl<S: Part, E: Part> Draft<S, E> {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            id: 0,
            flags: 0,
            seq: 0,
            window: 0,
            reset_code: 0,
            data: Bytes::new(),
            start: PartDraft::new(limits),
            end: PartDraft::new(limits),
        }
    }

    /// Takes in the fields of `message`, which lies within `body`.
    pub(super) fn merge(&mut self, body: &Bytes, message: &[u8]) -> Result<(), Malformed> {
        for field in Fields::new(message) {
            let (number, value) = field?;
            match number {
                1 => self.id = value.fixed64()?,
                2 => self.flags = value.uint32()?,
                3 => self.seq = value.uint32()?,
                4 => self.window = value.uint32()?,
                10 => self.reset_code = value.uint32()?,
                15 => self.data = body.slice_ref(value.bytes()?),
                _ => {
                    self.start.set(number, Input { value, body })?;
                    self.end.set(number, Input { value, body })?;
                }
            }
        }
        Ok(())
    }

    /// Judges the frame once all of it was read, so that a breach can always name its call.
    pub(super) fn finish(self) -> Result<Frame<S, E>, DecodeError> {
        let id = self.id;
        self.judge()
            .map_err(|breach| DecodeError::Breach { id, breach })
    }

    fn judge(self) -> Result<Frame<S, E>, Breach> {
        let has = |flag| Flags(self.flags).contains(flag);
        let frame = Frame {
            id: self.id,
            seq: self.seq,
            window: self.window,
            start: has(Flags::OPEN).then(|| self.start.finish()).transpose()?,
            data: self.data,
            end: has(Flags::HALF_CLOSE)
                .then(|| self.end.finish())
                .transpose()?,
            reset: has(Flags::RESET).then_some(Reset {
                code: self.reset_code,
                refused: has(Flags::REFUSED),
            }),
        };
        let acts = frame.start.is_some() || frame.end.is_some() || !frame.data.is_empty();
        let contradicts = match frame.reset {
            Some(_) => acts,
            None => has(Flags::REFUSED),
        };
        if contradicts {
            Err(Breach::Flags)
        } else {
            Ok(frame)
        }
    }
}

/// A part while it is read. Its first breach is kept: it counts only if the flag is set, and the
/// flag may come later.
struct PartDraft<P> {
    part: P,
    scratch: Scratch,
    breach: Option<Breach>,
}

impl<P: Part> PartDraft<P> {
    fn new(limits: &Limits) -> Self {
        let scratch = Scratch {
            list_left: limits.metadata_list,
            ..Scratch::default()
        };
        Self {
            part: P::default(),
            scratch,
            breach: None,
        }
    }

    fn set(&mut self, number: u32, input: Input<'_>) -> Result<(), Malformed> {
        match self.part.set(number, input, &mut self.scratch) {
            Ok(()) => Ok(()),
            Err(Fault::Malformed(malformed)) => Err(malformed),
            Err(Fault::Breach(breach)) => {
                self.breach.get_or_insert(breach);
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Result<P, Breach> {
        match self.breach {
            Some(breach) => Err(breach),
            None => self.part.check(self.scratch).map(|()| self.part),
        }
    }
}

impl Sealed for Open {
    fn set(&mut self, number: u32, input: Input<'_>, scratch: &mut Scratch) -> Result<(), Fault> {
        match number {
            5 => self.method = input.text(Breach::Method)?,
            6 => self.authority = input.text(Breach::Authority)?,
            7 => {
                let timeout_us = input.value.uint64()?;
                self.timeout = (timeout_us != 0).then(|| Duration::from_micros(timeout_us));
            }
            8 => scratch.content_type = input.shared()?,
            9 => scratch.append(&mut self.metadata, input, metadata::is_forwarded_request)?,
            _ => {}
        }
        Ok(())
    }

    fn check(&mut self, scratch: Scratch) -> Result<(), Breach> {
        self.content_type = scratch.content_type()?;
        let is_path = self.method.starts_with('/')
            && !self.method.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
        if is_path { Ok(()) } else { Err(Breach::Method) }
    }
}

impl Sealed for Head {
    fn set(&mut self, number: u32, input: Input<'_>, scratch: &mut Scratch) -> Result<(), Fault> {
        match number {
            8 => scratch.content_type = input.shared()?,
            9 => scratch.append(&mut self.metadata, input, metadata::is_forwarded_response)?,
            _ => {}
        }
        Ok(())
    }

    fn check(&mut self, scratch: Scratch) -> Result<(), Breach> {
        self.content_type = scratch.content_type()?;
        Ok(())
    }
}

impl Sealed for Trailers {
    fn set(&mut self, number: u32, input: Input<'_>, scratch: &mut Scratch) -> Result<(), Fault> {
        match number {
            11 => {
                let status = input.value.uint32()?;
                self.status = if status <= 16 { status } else { 2 };
            }
            12 => self.message = input.shared()?,
            13 => self.details = input.shared()?,
            14 => scratch.append(&mut self.metadata, input, metadata::is_forwarded_trailer)?,
            _ => {}
        }
        Ok(())
    }
}

impl Sealed for () {
    fn set(&mut self, _: u32, _: Input<'_>, _: &mut Scratch) -> Result<(), Fault> {
        Ok(())
    }
}

impl<'a> Input<'a> {
    fn shared(self) -> Result<Bytes, Malformed> {
        Ok(self.body.slice_ref(self.value.bytes()?))
    }

    fn text(self, breach: Breach) -> Result<String, Fault> {
        let text = str::from_utf8(self.value.bytes()?).map_err(|_| Fault::Breach(breach))?;
        Ok(text.to_owned())
    }

    /// Key and value of a `Metadata` message.
    fn entry(self) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        let (mut key, mut value) = (&[][..], &[][..]);
        for field in Fields::new(self.value.bytes()?) {
            match field? {
                (1, text) => key = text.bytes()?,
                (2, bytes) => value = bytes.bytes()?,
                _ => {}
            }
        }
        Ok((key, value))
    }
}

impl Scratch {
    fn content_type(self) -> Result<Option<HeaderValue>, Breach> {
        let value = self.content_type;
        if value.is_empty() {
            Ok(None)
        } else {
            header_value(value).map(Some)
        }
    }

    /// Reserved headers are dropped, whatever the peer means by them; they count all the same.
    /// Past the limit nothing is kept, so a peer's list never takes more memory than that.
    fn append(
        &mut self,
        map: &mut HeaderMap,
        input: Input<'_>,
        is_forwarded: fn(&HeaderName) -> bool,
    ) -> Result<(), Fault> {
        let (key, value) = input.entry()?;
        let size = metadata::entry_size(key.len(), value.len());
        let Some(left) = self.list_left.checked_sub(size) else {
            self.list_left = 0;
            return Err(Fault::Breach(Breach::MetadataTooLarge));
        };
        self.list_left = left;
        let name = header_name(key).map_err(Fault::Breach)?;
        let value = header_value(input.body.slice_ref(value)).map_err(Fault::Breach)?;
        if is_forwarded(&name) {
            // A HeaderMap holds 32,768 names, however large the limit is.
            map.try_append(name, value)
                .map_err(|_| Fault::Breach(Breach::MetadataTooLarge))?;
        }
        Ok(())
    }
}

/// Not `HeaderName::from_lowercase`, which takes `"` too.
fn header_name(key: &[u8]) -> Result<HeaderName, Breach> {
    HeaderName::from_bytes(key)
        .ok()
        .filter(|name| name.as_str().as_bytes() == key)
        .ok_or(Breach::HeaderName)
}

fn header_value(value: Bytes) -> Result<HeaderValue, Breach> {
    HeaderValue::from_maybe_shared(value).map_err(|_| Breach::HeaderValue)
}
