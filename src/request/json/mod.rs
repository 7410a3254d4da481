//! JSON that decides: one reading of a document, or none.
//!
//! RFC 8259 leaves repeated names, depth and the range of numbers to implementations, and some decoders ignore case in names. A document
//! that two of them could read differently is rejected as a whole, before any part of it is read. An accepted document is read from its
//! own text. Numbers keep their text, nothing is rounded, and the place of each value in the document is known.
//!
//! Nothing here recurses or builds a tree, and the memory for a document is bounded by its length. Floats, serde and the library's sorts
//! must not be added, because they would make the module much larger.

pub(crate) mod canonical;
mod fold;
pub(crate) mod number;
pub(crate) mod pointer;
mod scan;

use std::borrow::Cow;
use std::ops::Range;

use pointer::Pointer;
use scan::{Characters, WHITE_SPACE};

/// A value of a document that was checked as a whole.
///
/// INVARIANT: `text` is exactly one value, valid, without surrounding white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Json<'t> {
    text: &'t str,
}

/// Limits for a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JsonBounds {
    /// The maximum length of the document, in bytes.
    pub(crate) bytes: usize,
    /// The maximum nesting depth of objects and arrays, at most [`MOST_DEPTH`]. A document that is neither has depth 0.
    pub(crate) depth: u8,
    /// The names that count as equal within an object.
    pub(crate) names: Names,
}

/// The maximum nesting depth for any [`JsonBounds`].
pub(crate) const MOST_DEPTH: usize = 64;

/// The names that count as equal. Two equal names within an object are rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Names with the same characters after decoding. For documents in which different case is usual, such as schemas.
    Exact,
    /// Also names that differ in case only, or that some decoders shorten at a NUL or read without it. For requests.
    Folded,
}

/// The reason why a document, or a name in it, is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonFault {
    /// Two decoders could read different values: a name occurs twice, or in a spelling that some of them read as another name.
    Ambiguous,
    /// Objects and arrays are nested too deeply.
    Deep,
    /// The document is longer than the limit.
    Long,
    /// A number is longer than [`number::MOST_LENGTH`].
    LongNumber,
    /// The document is not one JSON value in UTF-8.
    Malformed,
}

impl<'t> Json<'t> {
    /// Checks a document that fills `text`, except for white space at its ends.
    ///
    /// # Errors
    /// The first [`JsonFault`].
    pub(crate) fn parse(text: &'t [u8], bounds: JsonBounds) -> Result<Self, JsonFault> {
        if text.len() > bounds.bytes {
            return Err(JsonFault::Long);
        }
        let text = str::from_utf8(text).map_err(|_| JsonFault::Malformed)?.trim_matches(WHITE_SPACE);
        scan::check(text, bounds)?;
        Ok(Self { text })
    }

    /// Returns the value as received.
    pub(crate) fn text(self) -> &'t str {
        self.text
    }

    /// Returns whether the value is an object.
    pub(crate) fn is_object(self) -> bool {
        self.text.starts_with('{')
    }

    /// Returns whether the value is an array.
    pub(crate) fn is_array(self) -> bool {
        self.text.starts_with('[')
    }

    /// Returns whether the value is `null`.
    pub(crate) fn is_null(self) -> bool {
        self.text == "null"
    }

    /// Returns the decoded text of a string, or `None` for other values.
    pub(crate) fn string(self) -> Option<Cow<'t, str>> {
        let quoted = self.quoted()?;
        let is_plain = !quoted.as_bytes().contains(&b'\\');
        Some(if is_plain { Cow::Borrowed(quoted) } else { Cow::Owned(Characters::of(quoted).collect()) })
    }

    /// Returns the text of a number, or `None` for other values.
    pub(crate) fn number(self) -> Option<&'t str> {
        self.text.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then_some(self.text)
    }

    /// Returns the members of an object in their order, with their names as strings. Other values have none.
    pub(crate) fn members(self) -> impl Iterator<Item = (Self, Self)> {
        let mut parts = self.parts('{');
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    /// Returns the items of an array in their order. Other values have none.
    pub(crate) fn items(self) -> impl Iterator<Item = Self> {
        self.parts('[')
    }

    /// Returns the member of an object with this name, which may be `null`. Returns `None` if the object has no such member, or if the
    /// value is not an object.
    ///
    /// # Errors
    /// [`JsonFault::Ambiguous`] if a name has another spelling that some decoders read as this name, even if the name itself is absent.
    pub(crate) fn member(self, name: &str) -> Result<Option<Self>, JsonFault> {
        let mut found = None;
        for (spelled, value) in self.members() {
            if !fold::reads_as(spelled.characters(), name) {
                continue;
            }
            if found.is_some() || !spelled.characters().eq(name.chars()) {
                return Err(JsonFault::Ambiguous);
            }
            found = Some(value);
        }
        Ok(found)
    }

    /// Returns the values of the members that some decoder reads as this name, in their order. There are several only if
    /// [`member`](Self::member) finds the name ambiguous.
    pub(crate) fn spellings(self, name: &str) -> impl Iterator<Item = Self> {
        self.members().filter(move |(spelled, _)| fold::reads_as(spelled.characters(), name)).map(|(_, value)| value)
    }

    /// Returns the value to which a pointer leads, which may be `null`. Returns `None` if it leads nowhere.
    ///
    /// # Errors
    /// [`JsonFault::Ambiguous`] if an object on the way has another spelling of the name in the pointer.
    pub(crate) fn at(self, pointer: &Pointer) -> Result<Option<Self>, JsonFault> {
        let mut value = self;
        for step in pointer.steps() {
            let next = if value.is_array() {
                pointer::index(step).and_then(|index| value.items().nth(index))
            } else {
                value.member(step)?
            };
            let Some(next) = next else { return Ok(None) };
            value = next;
        }
        Ok(Some(value))
    }

    /// Returns the bytes of `document` that are this value. For a value of another document, this is the whole document, so a caller that
    /// removes the range discloses nothing.
    pub(crate) fn offset_in(self, document: Json<'_>) -> Range<usize> {
        let whole = document.text.len();
        let start = self.text.as_ptr().addr().checked_sub(document.text.as_ptr().addr());
        let range = start.and_then(|start| Some(start..start.checked_add(self.text.len())?));
        range.filter(|range| range.end <= whole).unwrap_or(0..whole)
    }

    /// Returns the characters of a string. Other values have none.
    fn characters(self) -> Characters<'t> {
        Characters::of(self.quoted().unwrap_or_default())
    }

    /// Returns the text between the quotes of a string.
    fn quoted(self) -> Option<&'t str> {
        self.text.strip_prefix('"')?.strip_suffix('"')
    }

    /// Returns the values within an object or an array that begins with `open`. Those of an object alternate between names and values.
    fn parts(self, open: char) -> Parts<'t> {
        let inner = self.text.strip_prefix(open).and_then(|rest| rest.get(..rest.len().saturating_sub(1)));
        Parts { rest: inner.unwrap_or_default() }
    }
}

/// Values in a row, separated by anything that is not part of a value.
struct Parts<'t> {
    rest: &'t str,
}

impl<'t> Iterator for Parts<'t> {
    type Item = Json<'t>;

    fn next(&mut self) -> Option<Json<'t>> {
        let rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', ',', ':']);
        let (text, rest) = rest.split_at_checked(scan::length(rest))?;
        self.rest = rest;
        (!text.is_empty()).then_some(Json { text })
    }
}

#[cfg(test)]
mod tests;
