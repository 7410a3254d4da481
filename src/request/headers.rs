//! The field lines of a request, as bytes, exactly as the host provides them.
//!
//! This module does not interpret headers. One buffer holds all lines in the host's format, so reading them takes one host call and no
//! further allocation. Iterating over the buffer is as fast as over a list.

use crate::text::ascii::{bytes_eq, every_pair, in_lower_case};

/// Field lines in their original order.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// Empty, or the serialization that proxy-wasm hosts use: the number of lines, the two lengths of each, then names and values, each
    /// followed by a zero byte. Numbers are 32 bits, little-endian. INVARIANT: the lengths add up to the size of the buffer; constructors
    /// check it.
    buffer: Vec<u8>,
    /// Whether the host may have omitted lines.
    truncated: bool,
}

/// The lengths in the host's serialization of the header map do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedPairs;

impl std::fmt::Display for MalformedPairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the list of headers is inconsistent")
    }
}

impl std::error::Error for MalformedPairs {}

impl Headers {
    /// Decodes the serialization that proxy-wasm hosts use.
    ///
    /// # Errors
    /// [`MalformedPairs`] if a length points beyond the buffer, or bytes follow the last value.
    pub fn decode(buffer: Vec<u8>) -> Result<Self, MalformedPairs> {
        let fits = || -> Option<bool> {
            let (lengths, texts) = parts(&buffer)?;
            let mut end: usize = 0;
            for (name, value) in lengths.iter().map(both) {
                end = end.checked_add(name)?.checked_add(value)?.checked_add(2)?;
            }
            Some(end == texts.len())
        };
        if buffer.is_empty() || fits() == Some(true) {
            Ok(Self { buffer, truncated: false })
        } else {
            Err(MalformedPairs)
        }
    }

    /// Decodes lines from a host that lists no more than `most` lines, and whose truncated lists have a wrong size. If the list has that
    /// length, the lines inside the buffer are read and count as [truncated](Self::is_truncated).
    ///
    /// # Errors
    /// For a shorter list, as for [`decode`](Self::decode).
    pub fn decode_listed(buffer: Vec<u8>, most: usize) -> Result<Self, MalformedPairs> {
        let count = buffer.first_chunk().map_or(0, |count| u32::from_le_bytes(*count));
        if usize::try_from(count).is_ok_and(|count| count < most) {
            return Self::decode(buffer);
        }
        let (lengths, mut texts) = parts(&buffer).ok_or(MalformedPairs)?;
        let mut take = |length: usize| {
            let (text, after) = texts.split_at_checked(length)?;
            texts = after.strip_prefix(b"\0")?;
            Some(text)
        };
        let lines = lengths.iter().map(both).map_while(|(name, value)| Some((take(name)?, take(value)?)));
        Ok(Self { truncated: true, ..lines.take(most).collect() })
    }

    /// Returns whether the host may have omitted lines.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Returns the same lines with other values. Lines without a new value are omitted.
    #[must_use]
    pub fn with_values<'v>(&'v self, value: impl Fn(&'v [u8], &'v [u8]) -> Option<&'v [u8]>) -> Self {
        let lines = self.iter().filter_map(|(name, old)| Some((name, value(name, old)?))).collect();
        Self { truncated: self.truncated, ..lines }
    }

    /// Iterates over the lines, with names as the host writes them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let (lengths, mut texts) = parts(&self.buffer).unwrap_or_default();
        let mut take = move |length: usize| {
            // INVARIANT: the sum of all lengths was checked.
            let (text, after) = texts.split_at_checked(length).unwrap_or_default();
            texts = after.get(1..).unwrap_or_default();
            text
        };
        lengths.iter().map(both).map(move |(name, value)| (take(name), take(value)))
    }

    /// Iterates over the lines whose names have the same length as this one. Comparing lengths first avoids reading most names.
    pub(crate) fn as_long_as(&self, name: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let wanted = name.len();
        let (lengths, texts) = parts(&self.buffer).unwrap_or_default();
        let mut next: usize = 0;
        lengths.iter().map(both).filter_map(move |(name, value)| {
            // INVARIANT: the sum of all lengths was checked, so nothing wraps around.
            let (at, behind) = (next, next.wrapping_add(name).wrapping_add(1));
            next = behind.wrapping_add(value).wrapping_add(1);
            (name == wanted).then(|| {
                let text =
                    |start: usize, length: usize| texts.get(start..start.wrapping_add(length)).unwrap_or_default();
                (text(at, name), text(behind, value))
            })
        })
    }

    /// Returns the number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        parts(&self.buffer).unwrap_or_default().0.len()
    }

    /// Returns the size of the lines in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Returns whether there are no lines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Returns the two lengths of each line, and the bytes after them. Returns `None` if the buffer has fewer lengths than it states.
fn parts(buffer: &[u8]) -> Option<(&[[u8; 8]], &[u8])> {
    let (count, after) = buffer.split_first_chunk()?;
    let size = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(8)?;
    let (lengths, texts) = after.split_at_checked(size)?;
    Some((lengths.as_chunks().0, texts))
}

/// Returns the lengths of a name and of its value.
fn both(lengths: &[u8; 8]) -> (usize, usize) {
    let lengths = u64::from_le_bytes(*lengths);
    (lengths as u32 as usize, (lengths >> 32) as usize)
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    /// Collects lines from names and values. A line of four gigabytes or more is omitted.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let (mut lengths, mut texts) = (Vec::new(), Vec::new());
        let mut count: u32 = 0;
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            let sizes = [name, value].map(|text| u32::try_from(text.len()));
            if let ([Ok(name_size), Ok(value_size)], Some(more)) = (sizes, count.checked_add(1)) {
                lengths.extend([name_size.to_le_bytes(), value_size.to_le_bytes()]);
                texts.extend_from_slice(&[name, b"\0", value, b"\0"].concat());
                count = more;
            }
        }
        Self { buffer: [&count.to_le_bytes()[..], lengths.as_flattened(), &texts].concat(), truncated: false }
    }
}

/// Returns whether a header's name reads as this one: case-insensitive, and with every byte other than a letter or digit read as `-`.
///
/// Gateways forward names with any of ``! # $ % & ' * + - . ^ _ ` | ~``. CGI and WSGI servers convert some of these characters to `_`,
/// and lighttpd converts all of them. `canonical` must be in lower case, with hyphens as its only separators.
#[inline]
#[must_use]
pub fn name_reads_as(name: &[u8], canonical: &str) -> bool {
    // Comparing lengths rules out most names without a call.
    name.len() == canonical.len() && reads_as(name, canonical)
}

fn reads_as(name: &[u8], canonical: &str) -> bool {
    // Nearly all names already have the canonical spelling.
    bytes_eq(name, canonical.as_bytes())
        || every_pair(name, canonical.as_bytes(), |name, canonical| folded_all(*name) == *canonical)
}

/// Returns whether a header's name begins with `prefix`, compared as in [`name_reads_as`].
#[must_use]
pub fn name_begins_like(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len() && name.iter().zip(prefix.bytes()).all(|(byte, wanted)| folded(*byte) == wanted)
}

/// Returns whether a name has this spelling, ignoring case.
#[inline]
pub(crate) fn name_is(name: &[u8], canonical: &str) -> bool {
    name.len() == canonical.len() && is_spelled(name, canonical.as_bytes())
}

fn is_spelled(name: &[u8], canonical: &[u8]) -> bool {
    bytes_eq(name, canonical) || every_pair(name, canonical, |name, canonical| in_lower_case(*name) == *canonical)
}

/// Returns the bytes of a name as [`name_reads_as`] compares them.
pub(crate) fn folded_name(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(|byte| folded(*byte))
}

fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// Folds sixteen bytes at once. The code has no branch, so compilers translate it to a few vector instructions.
fn folded_all(name: [u8; 16]) -> [u8; 16] {
    let mut name = in_lower_case(name);
    for byte in &mut name {
        let is_letter = byte.wrapping_sub(b'a') < 26;
        let is_digit = byte.wrapping_sub(b'0') < 10;
        *byte = if is_letter | is_digit { *byte } else { b'-' };
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut out = u32::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
        for (name, value) in pairs {
            out.extend_from_slice(&u32::try_from(name.len()).unwrap().to_le_bytes());
            out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        }
        for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
            out.extend_from_slice(part);
            out.push(0);
        }
        out
    }

    #[test]
    fn finds_lines_by_the_length_of_their_names() {
        let headers: Headers = [("ab", "1"), ("abc", "22"), ("", "3"), ("xyz", "")].into_iter().collect();
        let found = |name: &str| -> Vec<_> {
            let lines = headers.as_long_as(name.as_bytes());
            lines.map(|(name, value)| (str::from_utf8(name).unwrap(), str::from_utf8(value).unwrap())).collect()
        };
        assert_eq!(found("---"), [("abc", "22"), ("xyz", "")]);
        assert_eq!((found("--"), found(""), found("----")), (vec![("ab", "1")], vec![("", "3")], vec![]));
        assert_eq!(Headers::default().as_long_as(b"").count(), 0);
    }

    proptest! {
        #[test]
        fn decoding_reverses_encoding(pairs: Vec<(Vec<u8>, Vec<u8>)>) {
            let headers = Headers::decode(encode(&pairs)).unwrap();
            let read: Vec<_> = headers.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn decodes_or_rejects_any_bytes(bytes: Vec<u8>) {
            for headers in [Headers::decode(bytes.clone()), Headers::decode_listed(bytes.clone(), 2)].into_iter().flatten() {
                let total: usize = headers.iter().map(|(n, v)| n.len() + v.len()).sum();
                prop_assert!(total <= bytes.len());
            }
        }

        #[test]
        fn rejects_a_shortened_buffer(pairs in proptest::collection::vec(any::<(Vec<u8>, Vec<u8>)>(), 1..4), cut in 1usize..16) {
            let mut bytes = encode(&pairs);
            bytes.truncate(bytes.len().saturating_sub(cut).max(1));
            prop_assert_eq!(Headers::decode(bytes).err(), Some(MalformedPairs));
        }
    }

    #[test]
    fn rejects_bytes_after_the_last_value() {
        let mut bytes = encode(&[(b"a".to_vec(), b"b".to_vec())]);
        bytes.push(0);
        assert_eq!(Headers::decode(bytes.clone()).err(), Some(MalformedPairs));
        assert_eq!(Headers::decode_listed(bytes, 2).err(), Some(MalformedPairs));
    }

    #[test]
    fn reads_the_complete_lines_of_a_truncated_list() {
        let lines: Vec<_> = (0..3).map(|n| (vec![b'a' + n], b"v".to_vec())).collect();
        let bytes = encode(&lines);
        let shorter = |size: usize| Headers::decode_listed(bytes[..size].to_vec(), 3);
        for (size, read) in [(bytes.len(), 3), (bytes.len() - 1, 2), (bytes.len() - 4, 2), (bytes.len() - 5, 1)] {
            let headers = shorter(size).unwrap();
            assert_eq!((headers.len(), headers.is_truncated()), (read, true), "{size}");
        }
        let longer = Headers::decode_listed([&bytes[..], &[0; 100]].concat(), 3).unwrap();
        assert_eq!((longer.len(), longer.is_truncated()), (3, true));
        let odd = longer.with_values(|name, value| (name != b"b").then_some(value));
        assert_eq!((odd.len(), odd.is_truncated()), (2, true));
        assert!(!Headers::decode_listed(bytes.clone(), 4).unwrap().is_truncated());
        // The count exceeds the buffer.
        assert!(shorter(20).is_err() && Headers::decode_listed(vec![0xff; 64], 3).is_err());
        assert!(Headers::decode_listed(Vec::new(), 3).unwrap().is_empty());
    }

    #[test]
    fn rejects_an_oversized_count_without_allocating() {
        assert_eq!(Headers::decode(vec![0xff; 16]).err(), Some(MalformedPairs));
    }

    #[test]
    fn compares_names_as_lenient_servers_do() {
        for name in
            ["x-callgate-agent", "X-Callgate-Agent", "x_callgate.agent", "X!Callgate~Agent", "x callgate\u{0}agent"]
        {
            assert!(name_reads_as(name.as_bytes(), "x-callgate-agent"), "{name}");
            assert!(name_begins_like(name.as_bytes(), "x-callgate-"), "{name}");
        }
        assert!(!name_reads_as(b"x-callgate-agen", "x-callgate-agent"));
        assert!(!name_reads_as(b"xxcallgate-agent", "x-callgate-agent"));
        assert!(!name_begins_like(b"x-callgat", "x-callgate-"));
        let alike = |one: &[u8], other: &[u8]| folded_name(one).eq(folded_name(other));
        assert!(alike(b"x_callgate.Agent", b"X-Callgate_agent"));
        assert!(alike(b"x|callgate\xffAgent", b"X-Callgate+agent"));
        assert!(!alike(b"x-a", b"x-ab") && !alike(b"x-a", b"x-b"));
    }

    #[test]
    fn reads_every_non_alphanumeric_byte_as_a_hyphen() {
        // Short names, names of sixteen bytes and longer ones use different code paths.
        for canonical in ["x-o", "x-organization-4", "x-organization-number-42-of-all"] {
            for byte in 0..=u8::MAX {
                let hyphens = canonical.bytes().map(|own| if own == b'-' { byte } else { own });
                let name: Vec<u8> = hyphens.collect();
                let reads = !byte.is_ascii_alphanumeric();
                assert_eq!(name_reads_as(&name, canonical), reads, "{byte:#x}");
                assert_eq!(name_begins_like(&name, canonical), reads, "{byte:#x}");
                assert_eq!(folded_name(&name).eq(canonical.bytes()), reads, "{byte:#x}");
                assert_eq!(name_is(&name, canonical), byte == b'-', "{byte:#x}");
            }
        }
    }

    proptest! {
        #[test]
        fn compares_any_two_names_like_the_reference(name: Vec<u8>, other: Vec<u8>) {
            crate::fuzzing::header_names(&[&name[..], b"\n", &other].concat());
        }

        #[test]
        fn compares_similar_names_like_the_reference(
            name in "[xX][-_.!#$%&'*+^`|~ ][oO0][rR]?[gG]?([-_~][a-z]{0,12}){0,3}",
            other in "[xX][-_.!#$%&'*+^`|~ ][oO0][rR]?[gG]?([-_~][a-z]{0,12}){0,3}",
        ) {
            crate::fuzzing::header_names(format!("{name}\n{other}").as_bytes());
        }
    }
}
