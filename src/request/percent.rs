//! Percent-encoding (RFC 3986, section 2.1).

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::words::{are_visible_unescaped, is_without};

/// The octet that an escape stands for.
pub(crate) struct Octet {
    pub(crate) value: u8,
    /// Whether a digit was written in lower case.
    pub(crate) lower_case: bool,
}

/// The octet of an escape and what follows it, given what stands after the `%`; none when that is not two
/// hexadecimal digits.
pub(crate) fn octet(after_percent: &[u8]) -> Option<(Octet, &[u8])> {
    let (&[high, low], after) = after_percent.split_first_chunk()?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    Some((Octet { value, lower_case: high.is_ascii_lowercase() || low.is_ascii_lowercase() }, after))
}

/// The bytes of a text with its escapes decoded once. A `%` that begins no escape stands for itself, as lenient servers
/// read it; parsers that have refused such a text get the strict reading.
pub(crate) fn decoded(text: &[u8]) -> impl Iterator<Item = u8> + Clone {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let (byte, after) = match octet(after) {
            Some((octet, after)) if first == b'%' => (octet.value, after),
            _ => (first, after),
        };
        rest = after;
        Some(byte)
    })
}

/// A text decoded once, as [`decoded`] reads it; borrowed where there is nothing to decode.
pub(crate) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if is_without::<b'%'>(text) { Cow::Borrowed(text) } else { Cow::Owned(decoded(text).collect()) }
}

/// UTF-8 in which every byte but visible ASCII, and `%` itself, is percent-encoded.
pub(crate) fn encode(text: &str) -> Cow<'_, str> {
    if are_visible_unescaped(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}

/// Whether RFC 3986 (section 2.3) calls a character unreserved: escaping it never changes what it means.
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
    fn escapes_are_decoded_once() {
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
    fn what_is_encoded_is_visible_and_can_be_read_back() {
        assert_eq!(encode("coding-agent"), "coding-agent");
        assert_eq!(encode("a b%\r\né\u{7f}"), "a%20b%25%0D%0A%C3%A9%7F");
        assert_eq!(encode(""), "");
    }

    #[test]
    fn the_case_of_digits_is_told() {
        let lower = |text: &[u8]| octet(text).map(|(octet, after)| (octet.value, octet.lower_case, after.len()));
        assert_eq!(lower(b"2F/"), Some((0x2F, false, 1)));
        assert_eq!(lower(b"2f"), Some((0x2F, true, 0)));
        assert_eq!(lower(b"+1"), None);
        assert_eq!(lower(b"2"), None);
    }
}
