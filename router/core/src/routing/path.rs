//! The path of a request: which method it names, and what stands before that.

use std::borrow::Cow;

use super::key::KEY_MAX;
use super::route::InvalidRoute;

/// The longest path, in bytes.
pub(super) const PATH_MAX: usize = 8 * 1024;

/// Why a path names no method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than 8 KiB.
    #[error("the path is longer than {PATH_MAX} bytes")]
    TooLong,
    /// No service and method, or text that two readers could understand differently: it must not be
    /// routed, or authorised, as one thing and served as another.
    #[error("the path is not /package.Service/Method")]
    NotAMethod,
    /// Something stands before the service that no route of it expects.
    #[error("the path has a prefix that this service is not routed under")]
    Prefix,
    /// The key in it is no key: empty, too long, or with characters that a path could hide.
    #[error(
        "the routing key in the path is not 1 to {KEY_MAX} bytes of visible ASCII without % / \\ ? #"
    )]
    Key,
    /// A method that the service does not have.
    #[error("the service has no such method")]
    UnknownMethod,
}

/// A path in its parts: `{before}/{service}/{method}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) before: &'a str,
    /// `/service/method`.
    pub(super) full: &'a str,
    pub(super) service: &'a str,
    pub(super) method: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn parse(path: &'a str) -> Result<Self, PathError> {
        if path.len() > PATH_MAX {
            return Err(PathError::TooLong);
        }
        let (rest, method) = path.rsplit_once('/').ok_or(PathError::NotAMethod)?;
        let (before, service) = rest.rsplit_once('/').ok_or(PathError::NotAMethod)?;
        if !is_plain(service) || !is_plain(method) {
            return Err(PathError::NotAMethod);
        }
        Ok(Self {
            before,
            full: &path[before.len()..],
            service,
            method,
        })
    }
}

/// The key in what stands before a service: one segment after a prefix, percent-decoded once. The same
/// characters are refused before and after that, so that no second decoding could find others.
pub(super) fn key_after<'a>(before: &'a str, prefix: &str) -> Result<Cow<'a, str>, PathError> {
    let key = before.strip_prefix(prefix).ok_or(PathError::Prefix)?;
    let key = key.strip_prefix('/').ok_or(PathError::Prefix)?;
    if key.contains('/') {
        return Err(PathError::Prefix);
    }
    let is_sent = |b: u8| b == b'%' || is_plain_byte(b);
    if !key.bytes().all(is_sent) {
        return Err(PathError::Key);
    }
    let decoded = decode(key).ok_or(PathError::Key)?;
    if decoded.len() > KEY_MAX || !is_plain(&decoded) {
        return Err(PathError::Key);
    }
    Ok(decoded)
}

/// Checks a prefix that somebody configured.
pub(super) fn check_prefix(prefix: &str) -> Result<(), InvalidRoute> {
    let segments = prefix.strip_prefix('/').map(|rest| rest.split('/'));
    if segments.is_some_and(|mut segments| segments.all(is_plain)) {
        return Ok(());
    }
    Err(InvalidRoute(format!(
        "{prefix:?} is no path prefix: expected one such as \"/api/v1\", with no / at its end and nothing escaped"
    )))
}

/// Not empty, and made of characters that mean themselves; nor a step to another folder.
fn is_plain(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain_byte)
}

fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"%/\\?#".contains(&byte)
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: S14
    #[test]
    fn a_path_that_can_be_read_in_two_ways_names_no_method() {
        for path in [
            "", "/", "//", "/a", "a", "/a/", "//b", "/a//b", "/a%2fb/c", "/a/%2e", "/a/b\\c",
            "/a b/c", "/a\0/b", "/ä/b", "/../b", "/a/..", "/a/b?c", "/a/b#c",
        ] {
            assert!(Parts::parse(path).is_err(), "{path:?} was taken");
        }
        let long = format!("/a/{}", "b".repeat(PATH_MAX));
        assert_eq!(Parts::parse(&long), Err(PathError::TooLong));
    }

    #[test]
    fn a_path_is_cut_before_its_last_two_segments() {
        let parts = Parts::parse("/api/v1/k/pkg.S/M").expect("a method");
        assert_eq!(parts.before, "/api/v1/k");
        assert_eq!(parts.full, "/pkg.S/M");
        assert_eq!((parts.service, parts.method), ("pkg.S", "M"));
        assert_eq!(Parts::parse("/pkg.S/M").expect("a method").before, "");
    }

    /// Proves: S14
    #[test]
    fn a_key_in_the_path_is_decoded_once_and_checked_before_and_after() {
        let key = |before: &str| key_after(before, "/api/v1").map(Cow::into_owned);
        assert_eq!(key("/api/v1/site-7"), Ok("site-7".to_owned()));
        assert_eq!(key("/api/v1/a%3Ab%40c"), Ok("a:b@c".to_owned()));
        for hidden in [
            "a%2fb", "a%2Fb", "%2e%2e", "..", ".", "a%5cb", "a%00b", "a%2541", "a%", "a%4", "a%zz",
            "a%20b", "a\\b", "", "a?b", "a#b", "%c3%a4", "a%0ab",
        ] {
            assert_eq!(
                key(&format!("/api/v1/{hidden}")),
                Err(PathError::Key),
                "{hidden:?}"
            );
        }
        assert_eq!(
            key(&format!("/api/v1/{}", "k".repeat(257))),
            Err(PathError::Key)
        );
        for elsewhere in [
            "",
            "/api/v1",
            "/api/v2/k",
            "/api/v1/k/l",
            "/api/v1k",
            "x/api/v1/k",
        ] {
            assert_eq!(key(elsewhere), Err(PathError::Prefix), "{elsewhere:?}");
        }
    }

    #[test]
    fn a_prefix_is_plain_segments() {
        for prefix in ["/api", "/api/v1"] {
            assert!(check_prefix(prefix).is_ok(), "{prefix}");
        }
        for prefix in ["", "/", "api", "/api/", "//api", "/a%20b", "/a b", "/.."] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
    }
}
