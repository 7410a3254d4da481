//! The serialisation of header maps, with the limits and the strictness of Envoy's host.

/// Field lines in order, names as they came.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Envoy reads no more than this many pairs from a module.
const MAX_COUNT: usize = 1024;
/// Envoy reads no more than this many bytes of pairs from a module.
const MAX_BYTES: usize = 1024 * 1024;

/// Lines from text, for tests and cases.
#[must_use]
pub fn from_text(lines: &[(&str, &str)]) -> Pairs {
    lines.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// All values of the lines with this name, in order.
#[must_use]
pub fn values<'a>(pairs: &'a Pairs, name: &str) -> Vec<&'a [u8]> {
    pairs.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value.as_slice()).collect()
}

/// What a module is given. No line at all is no byte at all.
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

/// What ngx_wasm_module writes for a module, and how many bytes it asks the module for: with more lines than `most` the size is
/// that of other entries than those that are written. Pseudo-headers come first.
pub(super) fn encode_listed(pairs: &Pairs, most: usize) -> (Vec<u8>, usize) {
    let size_of = |(name, value): &(Vec<u8>, Vec<u8>)| 8 + name.len() + 1 + value.len() + 1;
    let extras = pairs.iter().take_while(|(name, _)| name.starts_with(b":")).count();
    let (extra, list) = pairs.split_at(extras);
    let listed = list.iter().take(most);
    // The last pseudo-header that is counted is the first beyond the bound.
    let counted = extra.iter().take((most + 1).saturating_sub(listed.len()));
    let size = 4 + listed.chain(counted).map(size_of).sum::<usize>();
    let written: Pairs = pairs.iter().take(most).cloned().collect();
    (encode(&written), if pairs.is_empty() { 0 } else { size })
}

/// What a module hands over. Anything that does not add up, or is over a limit, counts as no line at all, without an error:
/// that is what Envoy makes of it.
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
    fn what_is_encoded_is_decoded() {
        let pairs = from_text(&[(":method", "GET"), ("", ""), ("x", "a\u{e9}")]);
        assert_eq!(decode(&encode(&pairs)), pairs);
    }

    #[test]
    fn what_does_not_add_up_is_no_line() {
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
    fn a_truncated_list_has_the_size_of_other_entries() {
        let of = |lines: usize, value: &str| {
            let mut pairs =
                from_text(&[(":path", "/"), (":method", &"M".repeat(500)), (":scheme", "http"), (":authority", "k")]);
            pairs.extend((0..lines).map(|n| (format!("x-{n:03}").into_bytes(), value.as_bytes().to_vec())));
            let (bytes, size) = encode_listed(&pairs, 100);
            (decode(&bytes).len(), bytes.len(), size)
        };
        let (lines, written, size) = of(96, "v");
        assert_eq!((lines, written), (100, size), "the last list that is complete");
        for lines in [97, 98, 99, 100, 120] {
            let (shown, written, size) = of(lines, "");
            assert_eq!(shown, 100);
            // Of a hundred lines the size counts all, and of the pseudo-headers the first: the method is missing in it.
            assert_eq!(written > size, lines >= 100, "{lines}: {written} {size}");
        }
        let (_, written, size) = of(97, &"v".repeat(5_000));
        assert!(size > written);
    }

    #[test]
    fn more_lines_than_the_limit_are_no_line() {
        let lines = |n: usize| encode(&vec![(b"a".to_vec(), b"b".to_vec()); n]);
        assert_eq!(decode(&lines(MAX_COUNT)).len(), MAX_COUNT);
        assert_eq!(decode(&lines(MAX_COUNT + 1)), Pairs::new());
    }
}
