//! The scan that checks a whole document, and the steps over text that passed it.
//!
//! Escapes are decoded in one place, for the check and for the value, so a string that passed has one meaning.

use std::hash::Hasher as _;

use super::{JsonBounds, JsonFault, MOST_DEPTH, Names, fold, number};
use crate::text::ascii;
use crate::text::hash::Fnv;

/// The only white space in JSON.
pub(super) const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The maximum number of names that are compared pair by pair. More names are sorted.
const FEW_NAMES: usize = 24;

/// Checks that a text without white space at its ends is one value within the bounds, and that every name in it is unique.
///
/// # Errors
/// The first [`JsonFault`].
pub(super) fn check(text: &str, bounds: JsonBounds) -> Result<(), JsonFault> {
    let mut scan = Scan {
        text,
        at: 0,
        names: bounds.names,
        hashes: Vec::new(),
        opened: [None; MOST_DEPTH],
        depth: 0,
        most_depth: usize::from(bounds.depth),
    };
    let mut next = Next::Value;
    loop {
        scan.skip_white_space();
        next = match next {
            Next::Value => scan.value()?,
            Next::Separator => scan.separator()?,
            Next::End => return Ok(()),
        };
    }
}

/// What has to follow in the text.
enum Next {
    /// A value.
    Value,
    /// A comma or the end of the innermost object or array, or the end of the text.
    Separator,
    /// Nothing: the text ended.
    End,
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    names: Names,
    /// The hashes of the names in all open objects. Equal hashes count as equal names: whoever finds two names with the same hash gets
    /// only their document rejected.
    hashes: Vec<u64>,
    /// For each open object, its first hash. `None` for open arrays.
    opened: [Option<usize>; MOST_DEPTH],
    depth: usize,
    most_depth: usize,
}

impl Scan<'_> {
    /// Reads a scalar, or the beginning of an object or array up to its first value.
    fn value(&mut self) -> Result<Next, JsonFault> {
        match self.rest().first() {
            Some(b'{') => {
                self.open(Some(self.hashes.len()))?;
                if self.rest().first() == Some(&b'}') {
                    return Ok(Next::Separator);
                }
                self.name()?;
                return Ok(Next::Value);
            }
            Some(b'[') => {
                self.open(None)?;
                let is_empty = self.rest().first() == Some(&b']');
                return Ok(if is_empty { Next::Separator } else { Next::Value });
            }
            Some(b'"') => self.string()?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            _ => {
                let length = number::length(self.rest()).ok_or(JsonFault::Malformed)?;
                if length > number::MOST_LENGTH {
                    return Err(JsonFault::LongNumber);
                }
                self.at += length;
            }
        }
        Ok(Next::Separator)
    }

    /// Reads what follows a value: a comma with the name after it, if there is one, or an end.
    fn separator(&mut self) -> Result<Next, JsonFault> {
        let innermost = self.depth.checked_sub(1).and_then(|last| self.opened.get(last).copied());
        match (innermost, self.byte()) {
            (None, None) => Ok(Next::End),
            (Some(None), Some(b',')) => Ok(Next::Value),
            (Some(Some(_)), Some(b',')) => {
                self.skip_white_space();
                self.name()?;
                Ok(Next::Value)
            }
            (Some(None), Some(b']')) => {
                self.depth -= 1;
                Ok(Next::Separator)
            }
            (Some(Some(first)), Some(b'}')) => {
                if has_repeated(self.hashes.get_mut(first..).unwrap_or_default()) {
                    return Err(JsonFault::Ambiguous);
                }
                self.hashes.truncate(first);
                self.depth -= 1;
                Ok(Next::Separator)
            }
            _ => Err(JsonFault::Malformed),
        }
    }

    /// Reads the bracket of an object or array, and remembers that it is open.
    fn open(&mut self, first_hash: Option<usize>) -> Result<(), JsonFault> {
        let place = self.opened.get_mut(self.depth).filter(|_| self.depth < self.most_depth);
        *place.ok_or(JsonFault::Deep)? = first_hash;
        self.depth += 1;
        self.at += 1;
        self.skip_white_space();
        Ok(())
    }

    /// Reads a name and the colon after it.
    fn name(&mut self) -> Result<(), JsonFault> {
        let start = self.at + 1;
        self.string()?;
        let text = self.text.get(start..self.at - 1).unwrap_or_default();
        match self.names {
            Names::Exact => self.hashes.push(hash(&mut Characters::of(text))),
            Names::Folded => {
                let [mut whole, mut until_nul] = fold::readings(Characters::of(text));
                let whole = hash(&mut whole);
                self.hashes.push(whole);
                // Only an escape can be a NUL.
                if text.as_bytes().contains(&b'\\') {
                    let until_nul = hash(&mut until_nul);
                    if until_nul != whole {
                        self.hashes.push(until_nul);
                    }
                }
            }
        }
        self.skip_white_space();
        self.word(b":")
    }

    fn string(&mut self) -> Result<(), JsonFault> {
        self.word(b"\"")?;
        loop {
            self.at += plain_length(self.rest());
            match self.byte() {
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.at += escape(self.rest()).ok_or(JsonFault::Malformed)?.1,
                _ => return Err(JsonFault::Malformed),
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), JsonFault> {
        if !self.rest().starts_with(word) {
            return Err(JsonFault::Malformed);
        }
        self.at += word.len();
        Ok(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.rest().first().copied()?;
        self.at += 1;
        Some(byte)
    }

    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.rest().first() {
            self.at += 1;
        }
    }
}

/// Returns how many of the first bytes a string can contain unescaped. Sixteen are checked at a time.
fn plain_length(text: &[u8]) -> usize {
    let chunks = text.as_chunks::<16>().0.iter().take_while(|chunk| ascii::are_unescaped_in_json(*chunk)).count();
    let rest = text.get(chunks * 16..).unwrap_or_default();
    chunks * 16 + rest.iter().take_while(|byte| !matches!(byte, ..b' ' | b'"' | b'\\')).count()
}

/// Decodes an escape after its backslash. Returns the character and the length of the escape, or `None` if it is malformed or one half of
/// a surrogate pair.
fn escape(text: &[u8]) -> Option<(char, usize)> {
    let unit = |text: &[u8]| {
        let digits = text.strip_prefix(b"u")?.first_chunk::<4>()?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    };
    let character = match text.first()? {
        b'u' => {
            let first = unit(text)?;
            if let 0xd800..0xdc00 = first {
                let second = unit(text.get(5..)?.strip_prefix(b"\\")?)?;
                let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                return Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low)?, 11));
            }
            // Fails for the second half of a pair.
            return Some((char::from_u32(first)?, 5));
        }
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        same @ (b'"' | b'\\' | b'/') => char::from(*same),
        _ => return None,
    };
    Some((character, 1))
}

/// The decoded characters of a string that was checked, given the text between its quotes.
#[derive(Debug, Clone)]
pub(super) struct Characters<'t> {
    rest: std::str::Chars<'t>,
}

impl<'t> Characters<'t> {
    pub(super) fn of(quoted: &'t str) -> Self {
        Self { rest: quoted.chars() }
    }
}

impl Iterator for Characters<'_> {
    type Item = char;

    #[inline(never)] // Many loops use it, and each would contain it.
    fn next(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        if character != '\\' {
            return Some(character);
        }
        let after = self.rest.as_str();
        let (character, length) = escape(after.as_bytes())?;
        self.rest = after.get(length..)?.chars();
        Some(character)
    }
}

#[inline(never)] // One function for all kinds of names.
fn hash(characters: &mut dyn Iterator<Item = char>) -> u64 {
    let mut hasher = Fnv::default();
    for character in characters {
        hasher.write(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    hasher.finish()
}

/// Returns whether a number occurs twice. May change their order.
fn has_repeated(hashes: &mut [u64]) -> bool {
    if hashes.len() <= FEW_NAMES {
        let mut rest: &[u64] = hashes;
        while let Some((first, others)) = rest.split_first() {
            if others.contains(first) {
                return true;
            }
            rest = others;
        }
        return false;
    }
    sort(hashes, |one, other| one < other);
    hashes.windows(2).any(|pair| pair.first() == pair.last())
}

/// Sorts in place (heapsort). For each type, the library's sort would make the module 3 to 5 KB larger.
pub(super) fn sort<T>(items: &mut [T], is_less: impl Fn(&T, &T) -> bool) {
    let mut end = items.len();
    let mut root = end / 2;
    while end > 1 {
        if root > 0 {
            // Makes a heap of the items, from its last inner node to its root.
            root -= 1;
        } else {
            // Moves the greatest item behind the heap.
            end -= 1;
            items.swap(0, end);
        }
        sift_down(items.get_mut(..end).unwrap_or_default(), root, &is_less);
    }
}

/// Moves an item down in a heap, until none of its children is greater.
fn sift_down<T>(heap: &mut [T], mut parent: usize, is_less: impl Fn(&T, &T) -> bool) {
    loop {
        // Nothing is less than an item that does not exist.
        let is_less_at =
            |one, other| heap.get(one).zip(heap.get(other)).is_some_and(|(one, other)| is_less(one, other));
        let left = 2 * parent + 1;
        let child = if is_less_at(left, left + 1) { left + 1 } else { left };
        if !is_less_at(parent, child) {
            return;
        }
        heap.swap(parent, child);
        parent = child;
    }
}

/// Returns the length of the value at the start of a text that was checked.
pub(super) fn length(text: &str) -> usize {
    let text = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some((first, rest)) = text.get(at..).and_then(<[u8]>::split_first) {
        at += 1;
        match first {
            b'"' => at += quoted_length(rest),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            // A scalar, or what separates values.
            _ => at += rest.iter().position(|byte| b"\"{}[],: \t\n\r".contains(byte)).unwrap_or(rest.len()),
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Returns the length of a string that was checked, after its first quote.
fn quoted_length(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let plain = plain_length(rest);
        match rest.get(plain) {
            Some(b'"') => return at + plain + 1,
            Some(b'\\') => at += plain + 2,
            _ => return text.len(),
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
