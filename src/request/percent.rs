//! Percent-encoding (RFC 3986, section 2.1).

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::text::ascii::{are_visible_unescaped, is_without};

/// Decodes an escape, given the text after its `%`. Returns the byte and the text after the escape, or `None` if the text does not begin
/// with two hexadecimal digits, in either case (RFC 3986, section 6.2.2.1).
pub(crate) fn octet(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], after) = after_percent.split_first_chunk()?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((u8::try_from(digit(high)? * 16 + digit(low)?).ok()?, after))
}

/// Returns the bytes of a text with its escapes decoded once. A `%` that does not begin an escape is kept, as in lenient servers. For
/// parsers that reject such a text beforehand, decoding is strict.
pub(crate) fn decoded(text: &[u8]) -> impl Iterator<Item = u8> + Clone {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let escaped = if first == b'%' { octet(after) } else { None };
        let (byte, after) = escaped.unwrap_or((first, after));
        rest = after;
        Some(byte)
    })
}

/// Decodes a text once, like [`decoded`]. The result is borrowed if there is nothing to decode.
#[inline]
pub(crate) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if is_without::<b'%'>(text) { Cow::Borrowed(text) } else { Cow::Owned(decoded(text).collect()) }
}

/// Returns whether two texts differ at most in the case of the hexadecimal digits of their escapes.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut digits = 0_u8;
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            let is_digit = digits > 0;
            digits = if *one == b'%' { 2 } else { digits.saturating_sub(1) };
            one == other || is_digit && one.eq_ignore_ascii_case(other)
        })
}

/// Returns a text with the hexadecimal digits of its escapes in upper case.
pub(crate) fn with_upper_digits(text: &str) -> String {
    let mut digits = 0_u8;
    let upper = |character: char| {
        let is_digit = digits > 0;
        digits = if character == '%' { 2 } else { digits.saturating_sub(1) };
        if is_digit { character.to_ascii_uppercase() } else { character }
    };
    text.chars().map(upper).collect()
}

/// Percent-encodes every UTF-8 byte that is not visible ASCII, and `%` itself.
pub(crate) fn encode(text: &str) -> Cow<'_, str> {
    if are_visible_unescaped(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}

/// Returns whether RFC 3986 (section 2.3) defines a character as unreserved: escaping it never changes its meaning.
pub(crate) fn is_unreserved(byte: u8) -> bool {
    #[expect(clippy::indexing_slicing, reason = "it is evaluated when this is compiled")]
    const UNRESERVED: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < table.len() {
            table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'.' | b'_' | b'~');
            byte += 1;
        }
        table
    };
    UNRESERVED.get(usize::from(byte)).is_some_and(|yes| *yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_escapes_once() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("%41%7a", "Az"),
            ("%2541", "%41"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%%41", "%A"),
            ("4%414", "4A4"),
        ] {
            assert_eq!(decode(text.as_bytes()), expected.as_bytes(), "{text}");
        }
        assert_eq!(decode(b"%C0%AF%00"), b"\xC0\xAF\0".as_slice());
        assert!(matches!(decode(b"plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn encodes_spaces_controls_and_non_ascii_characters() {
        assert_eq!(encode("coding-agent"), "coding-agent");
        assert_eq!(encode("a b%\r\né\u{7f}"), "a%20b%25%0D%0A%C3%A9%7F");
        assert_eq!(encode(""), "");
    }

    #[test]
    fn reads_escapes_with_two_digits_of_either_case() {
        let read = |text: &[u8]| octet(text).map(|(value, after)| (value, after.len()));
        assert_eq!(read(b"2F/"), Some((0x2F, 1)));
        assert_eq!(read(b"2f"), Some((0x2F, 0)));
        assert_eq!(read(b"+1"), None);
        assert_eq!(read(b"2"), None);
    }

    #[test]
    fn only_escape_digits_compare_case_insensitively() {
        for (one, other, same) in [
            ("", "", true),
            ("caf%c3%a9", "caf%C3%A9", true),
            ("%c3%A9", "%C3%a9", true),
            ("CAF%C3%A9", "caf%C3%A9", false),
            ("%C3%A9a", "%C3%A9A", false),
            ("%25a", "%25A", false),
            ("a", "%61", false),
            ("%3a", "%3b", false),
            ("%3a", "%3", false),
        ] {
            assert_eq!(is_same(one.as_bytes(), other.as_bytes()), same, "{one} {other}");
            assert_eq!(with_upper_digits(one) == with_upper_digits(other), same, "{one} {other}");
        }
        assert_eq!(with_upper_digits("caf%c3%a9%2fé"), "caf%C3%A9%2Fé");
    }
}
