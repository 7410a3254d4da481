//! The serialization of header maps, with the limits and the strictness of Envoy's host.

/// Field lines in order, with names as received.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The maximum number of pairs that Envoy reads from a module.
const MAX_COUNT: usize = 1024;
/// The maximum size of the pairs that Envoy reads from a module, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// Converts lines from text, for tests and cases.
#[must_use]
pub fn from_text(lines: &[(&str, &str)]) -> Pairs {
    lines.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// Returns all values of the lines with this name, in order.
#[must_use]
pub fn values<'a>(pairs: &'a Pairs, name: &str) -> Vec<&'a [u8]> {
    pairs.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value.as_slice()).collect()
}

/// Serializes lines for a module. No lines serialize to no bytes.
pub(super) fn encode(pairs: &Pairs) -> Vec<u8> {
    if pairs.is_empty() {
        return Vec::new();
    }
    let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let parts = || pairs.iter().flat_map(|(name, value)| [name, value]);
    let mut bytes = word(pairs.len()).to_vec();
    for part in parts() {
        bytes.extend_from_slice(&word(part.len()));
    }
    for part in parts() {
        bytes.extend_from_slice(part);
        bytes.push(0);
    }
    bytes
}

/// Returns the bytes that ngx_wasm_module writes for a module, and the size that it allocates. With more lines than `most`, it computes the
/// size from other entries than those that it writes. Pseudo-headers come first.
pub(super) fn encode_listed(pairs: &Pairs, most: usize) -> (Vec<u8>, usize) {
    let size_of = |(name, value): &(Vec<u8>, Vec<u8>)| 8 + name.len() + 1 + value.len() + 1;
    let extras = pairs.iter().take_while(|(name, _)| name.starts_with(b":")).count();
    let (extra, list) = pairs.split_at(extras);
    let listed = list.iter().take(most);
    // The size counts one pseudo-header too many: the first one beyond the bound.
    let counted = extra.iter().take((most + 1).saturating_sub(listed.len()));
    let size = 4 + listed.chain(counted).map(size_of).sum::<usize>();
    let written: Pairs = pairs.iter().take(most).cloned().collect();
    (encode(&written), if pairs.is_empty() { 0 } else { size })
}

/// Parses lines from a module. Like Envoy, it returns no lines, and no error, for malformed data or data over a limit.
pub(super) fn decode(bytes: &[u8]) -> Pairs {
    strict(bytes).unwrap_or_default()
}

fn strict(bytes: &[u8]) -> Option<Pairs> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    let (count, mut lengths) = word(bytes)?;
    if count > MAX_COUNT {
        return None;
    }
    let mut text = bytes.get(4 + count * 8..)?;
    let mut take = |length: usize| -> Option<Vec<u8>> {
        let part = text.get(..length)?.to_vec();
        text = text.get(length..)?.strip_prefix(&[0])?;
        Some(part)
    };
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (name, rest) = word(lengths)?;
        let (value, rest) = word(rest)?;
        lengths = rest;
        pairs.push((take(name)?, take(value)?));
    }
    text.is_empty().then_some(pairs)
}

fn word(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*word)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_encoded_pairs() {
        let pairs = from_text(&[(":method", "GET"), ("", ""), ("x", "a\u{e9}")]);
        assert_eq!(decode(&encode(&pairs)), pairs);
    }

    #[test]
    fn malformed_pairs_decode_to_nothing() {
        let good = encode(&from_text(&[("a", "b")]));
        let mut longer = good.clone();
        longer.push(0);
        let mut unterminated = good.clone();
        if let Some(last) = unterminated.last_mut() {
            *last = b'x';
        }
        for bytes in [longer, unterminated, good[..good.len() - 1].to_vec(), vec![0xff; 64]] {
            assert_eq!(decode(&bytes), Pairs::new(), "{bytes:?}");
        }
    }

    #[test]
    fn truncated_header_list_reports_a_wrong_size() {
        let of = |lines: usize, value: &str| {
            let mut pairs =
                from_text(&[(":path", "/"), (":method", &"M".repeat(500)), (":scheme", "http"), (":authority", "k")]);
            pairs.extend((0..lines).map(|n| (format!("x-{n:03}").into_bytes(), value.as_bytes().to_vec())));
            let (bytes, size) = encode_listed(&pairs, 100);
            (decode(&bytes).len(), bytes.len(), size)
        };
        let (lines, written, size) = of(96, "v");
        assert_eq!((lines, written), (100, size), "the last complete list");
        for lines in [97, 98, 99, 100, 120] {
            let (shown, written, size) = of(lines, "");
            assert_eq!(shown, 100);
            // With a hundred lines, the size counts all lines but only the first pseudo-header, without the long method.
            assert_eq!(written > size, lines >= 100, "{lines}: {written} {size}");
        }
        let (_, written, size) = of(97, &"v".repeat(5_000));
        assert!(size > written);
    }

    #[test]
    fn pairs_over_the_limit_decode_to_nothing() {
        let lines = |n: usize| encode(&vec![(b"a".to_vec(), b"b".to_vec()); n]);
        assert_eq!(decode(&lines(MAX_COUNT)).len(), MAX_COUNT);
        assert_eq!(decode(&lines(MAX_COUNT + 1)), Pairs::new());
    }
}
