//! The path of a request in canonical form.

use std::borrow::Cow;

use crate::document::Escape;
use crate::reason::Reason;
use crate::request::percent;
use crate::text::ascii::{self, every_pair, pairwise};

/// Splits a request target at the first `?` into its path and its query.
#[must_use]
pub fn split_target(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    if ascii::is_without::<b'?'>(target) {
        return (target, None);
    }
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    (parts.next().unwrap_or_default(), parts.next())
}

/// A path that every parser splits and decodes in the same way. It is in origin form and uses only the characters of RFC 3986 (section
/// 3.3). No segment except the last is empty, and there is no dot segment, escaped or not. It decodes to valid UTF-8 without control
/// characters.
///
/// It may still contain two kinds of sequences that are only accepted in some places:
/// - [`restricted`](Self::restricted) ones require an endpoint that allows them;
/// - [`text_only`](Self::text_only) ones, which clients send although RFC 3986 does not require them, are only accepted in values of
///   `{x:text}` and `{x...}`. No fixed text and no other variable matches them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    text: &'a str,
    restricted: EscapeSet,
    text_only: Option<Reason>,
}

impl<'a> CanonicalPath<'a> {
    /// Parses a path without its query, and rejects sequences that only text values may contain.
    ///
    /// # Errors
    /// The [`Reason`] of the first part that is not canonical.
    pub fn parse(raw: &'a [u8]) -> Result<Self, Reason> {
        let path = Self::parse_with_text(raw)?;
        path.text_only.map_or(Ok(path), Err)
    }

    /// Parses a path without its query, in which text values may contain escapes of unreserved characters (`%7E`) and `[ ] ^ |`.
    ///
    /// # Errors
    /// The [`Reason`] of the first part that is not canonical in any place.
    pub fn parse_with_text(raw: &'a [u8]) -> Result<Self, Reason> {
        if !is_plain(raw) {
            return Self::judge(raw);
        }
        let text = str::from_utf8(raw).map_err(|_| Reason::PathCharacter)?;
        Ok(Self { text, restricted: EscapeSet::default(), text_only: None })
    }

    /// Checks each character and each segment.
    fn judge(raw: &'a [u8]) -> Result<Self, Reason> {
        let Some((b'/', after_slash)) = raw.split_first() else {
            return Err(Reason::PathNotOriginForm);
        };
        let (restricted, text_only) = check_characters(raw)?;
        let mut segments = after_slash.split(|byte| *byte == b'/').peekable();
        while let Some(segment) = segments.next() {
            if segment.is_empty() && segments.peek().is_some() {
                return Err(Reason::PathEmptySegment);
            }
            if is_dot_segment(&percent::decode(segment)) {
                return Err(Reason::PathDotSegment);
            }
        }
        check_decoded(raw)?;
        let text = str::from_utf8(raw).map_err(|_| Reason::PathCharacter)?;
        Ok(Self { text, restricted, text_only })
    }

    /// Returns the path as received.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// Returns its segments, as received. There is always one. Only the last may be empty, after a trailing slash.
    pub fn segments(&self) -> impl Iterator<Item = &'a str> {
        self.text.split('/').skip(1)
    }

    /// Returns the sequences in it that require an endpoint that allows them.
    #[must_use]
    pub fn restricted(&self) -> EscapeSet {
        self.restricted
    }

    /// Returns the reason to reject the path unless the first such sequence is in a text value, or `None` if it has no such sequence.
    #[must_use]
    pub fn text_only(&self) -> Option<Reason> {
        self.text_only
    }
}

/// Returns whether a decoded segment changes the folder: `.`, `..`, and dots with spaces, because Windows drops spaces at the end of a
/// name.
pub(crate) fn is_dot_segment(decoded: &[u8]) -> bool {
    let has = |wanted| decoded.contains(&wanted);
    matches!(decoded, b"." | b"..") || has(b'.') && has(b' ') && decoded.iter().all(|byte| matches!(byte, b'.' | b' '))
}

/// Returns whether a path has no escapes, no special characters, and no segment that is empty or begins with a dot. All such paths are
/// canonical, and nearly all paths are of this kind.
fn is_plain(raw: &[u8]) -> bool {
    let (Some((_, after)), Some((_, before))) = (raw.split_first(), raw.split_last()) else { return false };
    let no_dots = |byte, next| (byte != b'/') | (next != b'/') & (next != b'.');
    raw.first() == Some(&b'/')
        && ascii::are_unreserved_or_slashes(raw)
        && every_pair(before, after, |byte, next| pairwise(byte, next, no_dots))
}

/// Checks each character and each escape separately.
fn check_characters(raw: &[u8]) -> Result<(EscapeSet, Option<Reason>), Reason> {
    let mut restricted = EscapeSet::default();
    let mut text_only = None;
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'/' => {}
            _ if percent::is_unreserved(byte) => {}
            b'%' => {
                let (value, after) = percent::octet(after).ok_or(Reason::PathEscapeMalformed)?;
                rest = after;
                match value {
                    value if percent::is_unreserved(value) => {
                        text_only.get_or_insert(Reason::PathEscapeUnreserved);
                    }
                    value if value.is_ascii_control() => return Err(Reason::PathEscapeControl),
                    b'/' => restricted.insert(Escape::Slash),
                    b'\\' => restricted.insert(Escape::Backslash),
                    b'%' => restricted.insert(Escape::Percent),
                    _ => {}
                }
            }
            b';' => restricted.insert(Escape::Semicolon),
            // The other characters of `pchar`.
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {}
            // These characters are not in `pchar`, but several HTTP clients send them unescaped.
            b'[' | b']' | b'^' | b'|' => {
                text_only.get_or_insert(Reason::PathCharacter);
            }
            _ => return Err(Reason::PathCharacter),
        }
    }
    Ok((restricted, text_only))
}

/// Checks the sequence that several escapes decode to: UTF-8, in which control characters beyond ASCII have two bytes.
fn check_decoded(raw: &[u8]) -> Result<(), Reason> {
    let Cow::Owned(decoded) = percent::decode(raw) else {
        return Ok(());
    };
    let text = str::from_utf8(&decoded).map_err(|_| Reason::PathEscapeNotUtf8)?;
    if text.contains(char::is_control) { Err(Reason::PathEscapeControl) } else { Ok(()) }
}

/// A set of [`Escape`]s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EscapeSet(u8);

impl EscapeSet {
    /// Adds an escape.
    pub fn insert(&mut self, escape: Escape) {
        self.0 |= Self::bit(escape);
    }

    /// Returns whether the set contains an escape.
    #[must_use]
    pub fn contains(self, escape: Escape) -> bool {
        self.0 & Self::bit(escape) != 0
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether every escape in this set is also in the other.
    #[must_use]
    pub fn is_subset(self, of: Self) -> bool {
        self.0 & !of.0 == 0
    }

    fn bit(escape: Escape) -> u8 {
        match escape {
            Escape::Slash => 1,
            Escape::Backslash => 1 << 1,
            Escape::Percent => 1 << 2,
            Escape::Semicolon => 1 << 3,
        }
    }
}

impl FromIterator<Escape> for EscapeSet {
    fn from_iter<I: IntoIterator<Item = Escape>>(escapes: I) -> Self {
        let mut set = Self::default();
        escapes.into_iter().for_each(|escape| set.insert(escape));
        set
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
