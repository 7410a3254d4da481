//! The field lines of a request, as bytes, exactly as the host hands them over.
//!
//! Nothing here knows what a header means. One buffer holds all lines, so that reading them costs one host call and two
//! allocations, however many there are.

use crate::words::{every_pair, pairwise};

/// Field lines in the order they came.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    buffer: Vec<u8>,
    lines: Vec<Line>,
}

/// Where one line lies in the buffer: bounds were checked when it was made.
#[derive(Debug, Clone, Copy)]
struct Line {
    name: (u32, u32),
    value: (u32, u32),
}

/// The host's serialisation of the header map does not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedPairs;

impl Headers {
    /// Reads the serialisation that proxy-wasm hosts use: the number of pairs, the two lengths of each, then names and
    /// values, each ended by a zero byte; numbers are 32 bits, little-endian.
    ///
    /// # Errors
    /// [`MalformedPairs`] when a length points beyond the buffer.
    pub fn decode(buffer: Vec<u8>) -> Result<Self, MalformedPairs> {
        if buffer.is_empty() {
            return Ok(Self::default());
        }
        let read = || -> Option<Vec<Line>> {
            let (count, after) = buffer.split_first_chunk()?;
            let lengths_size = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(8)?;
            let (lengths, _) = after.get(..lengths_size)?.as_chunks::<8>();
            let mut at = u32::try_from(lengths_size.checked_add(4)?).ok()?;
            let mut take = |length: u32| -> Option<(u32, u32)> {
                let span = (at, at.checked_add(length)?);
                at = span.1.checked_add(1)?;
                Some(span)
            };
            let mut lines = Vec::with_capacity(lengths.len());
            for both in lengths {
                // Two lengths of 32 bits.
                let both = u64::from_le_bytes(*both);
                lines.push(Line { name: take(both as u32)?, value: take((both >> 32) as u32)? });
            }
            // The last line ends last.
            (at as usize <= buffer.len()).then_some(lines)
        };
        let lines = read().ok_or(MalformedPairs)?;
        Ok(Self { buffer, lines })
    }

    /// The lines of a host that names the server in `:authority` and decodes `:path`: the host that was asked for stands in `Host`
    /// alone, and `target` is what the client sent.
    #[must_use]
    pub fn of_server(&self, target: &[u8]) -> Self {
        let lines = self.iter().filter(|(name, _)| *name != b":authority");
        lines.map(|(name, value)| (name, if name == b":path" { target } else { value })).collect()
    }

    /// The lines, names as the host wrote them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| (self.slice(line.name), self.slice(line.value)))
    }

    /// The lines whose names have as many bytes as this one. Looking at lengths first spares looking at most names at all.
    pub(crate) fn as_long_as(&self, name: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let length = name.len();
        let fits = move |line: &&Line| (line.name.1 - line.name.0) as usize == length;
        self.lines.iter().filter(fits).map(|line| (self.slice(line.name), self.slice(line.value)))
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn slice(&self, (start, end): (u32, u32)) -> &[u8] {
        // INVARIANT: `decode` and `from_iter` make only lines that lie in the buffer.
        self.buffer.get(start as usize..end as usize).unwrap_or_default()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    /// Lines from names and values; what does not fit four gigabytes is left out.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::default();
        for (name, value) in pairs {
            let mut put = |bytes: &[u8]| -> Option<(u32, u32)> {
                let start = u32::try_from(headers.buffer.len()).ok()?;
                headers.buffer.extend_from_slice(bytes);
                Some((start, u32::try_from(headers.buffer.len()).ok()?))
            };
            if let (Some(name), Some(value)) = (put(name.as_ref()), put(value.as_ref())) {
                headers.lines.push(Line { name, value });
            }
        }
        headers
    }
}

/// Whether a header's name is this one, in any case and with `_` and `.` read as `-`, as CGI and WSGI servers do.
/// `canonical` is in lower case, with hyphens.
#[must_use]
pub fn name_reads_as(name: &[u8], canonical: &str) -> bool {
    every_pair(name, canonical.as_bytes(), |name, canonical| same(&folded_all(*name), canonical))
}

/// Whether two headers' names are one to such servers.
#[must_use]
pub fn names_read_alike(one: &[u8], other: &[u8]) -> bool {
    every_pair(one, other, |one, other| same(&folded_all(*one), &folded_all(*other)))
}

/// Whether a header's name begins with `prefix` in the reading of [`name_reads_as`].
#[must_use]
pub fn name_begins_like(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len() && name.iter().zip(prefix.bytes()).all(|(byte, wanted)| folded(*byte) == wanted)
}

fn folded(byte: u8) -> u8 {
    let [folded] = folded_all([byte]);
    folded
}

/// One step after the other for all bytes, each of which is an instruction or two over a vector.
fn folded_all<const N: usize>(mut name: [u8; N]) -> [u8; N] {
    for byte in &mut name {
        *byte |= u8::from(byte.is_ascii_uppercase()) << 5;
    }
    for other in [b'_', b'.'] {
        for byte in &mut name {
            *byte = if *byte == other { b'-' } else { *byte };
        }
    }
    name
}

fn same<const N: usize>(one: &[u8; N], other: &[u8; N]) -> bool {
    pairwise(one, other, |one, other| one == other)
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

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(pairs: Vec<(Vec<u8>, Vec<u8>)>) {
            let headers = Headers::decode(encode(&pairs)).unwrap();
            let read: Vec<_> = headers.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(headers) = Headers::decode(bytes.clone()) {
                let total: usize = headers.iter().map(|(n, v)| n.len() + v.len()).sum();
                prop_assert!(total <= bytes.len());
            }
        }

        #[test]
        fn a_shortened_buffer_is_refused(pairs in proptest::collection::vec(any::<(Vec<u8>, Vec<u8>)>(), 1..4), cut in 1usize..16) {
            let mut bytes = encode(&pairs);
            bytes.truncate(bytes.len().saturating_sub(cut).max(1));
            prop_assert_eq!(Headers::decode(bytes).err(), Some(MalformedPairs));
        }
    }

    #[test]
    fn a_count_that_asks_for_more_than_there_is_allocates_nothing() {
        assert_eq!(Headers::decode(vec![0xff; 16]).err(), Some(MalformedPairs));
    }

    #[test]
    fn names_are_compared_as_lenient_servers_read_them() {
        for name in ["x-callgate-agent", "X-Callgate-Agent", "x_callgate.agent"] {
            assert!(name_reads_as(name.as_bytes(), "x-callgate-agent"));
            assert!(name_begins_like(name.as_bytes(), "x-callgate-"));
        }
        assert!(!name_reads_as(b"x-callgate-agen", "x-callgate-agent"));
        assert!(!name_begins_like(b"x-callgat", "x-callgate-"));
        assert!(names_read_alike(b"x_callgate.Agent", b"X-Callgate_agent"));
        assert!(!names_read_alike(b"x-a", b"x-ab") && !names_read_alike(b"x-a", b"x-b"));
    }
}
