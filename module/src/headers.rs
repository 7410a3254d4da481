//! Header lines: their serialization for the engine.

/// Serializes lines as [`Headers::decode`](callgate::Headers::decode) reads them: the number of lines, the two lengths of each, then names
/// and values, each followed by a zero byte. Numbers are 32-bit little-endian.
pub(crate) fn serialize<'l>(lines: impl Iterator<Item = (&'l [u8], &'l [u8])> + Clone) -> Vec<u8> {
    // The engine rejects a list with a length that was cut to 32 bits.
    let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let sizes = lines.clone().map(|(name, value)| name.len().saturating_add(value.len()));
    let (count, bytes) = sizes
        .fold((0_usize, 4_usize), |(count, bytes), size| (count + 1, bytes.saturating_add(size).saturating_add(10)));
    let mut serialized = Vec::with_capacity(bytes);
    serialized.extend_from_slice(&word(count));
    for (name, value) in lines.clone() {
        serialized.extend_from_slice(&word(name.len()));
        serialized.extend_from_slice(&word(value.len()));
    }
    for part in lines.flat_map(|(name, value)| [name, value]) {
        serialized.extend_from_slice(part);
        serialized.push(0);
    }
    serialized
}

/// Returns whether Envoy answers a request with this `Content-Type` as gRPC.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    content_type.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

#[cfg(test)]
mod tests {
    use callgate::Headers;

    use super::*;

    #[test]
    fn the_engine_reads_what_was_serialized() {
        let lists: [&[(&[u8], &[u8])]; 3] =
            [&[], &[(b":path", b"/a")], &[(b"a", b""), (b"", b"b"), (b"x-long", &[b'v'; 70_000]), (b"a", b"\xff\0\n")]];
        for lines in lists {
            let serialized = serialize(lines.iter().copied());
            assert_eq!(serialized.capacity(), serialized.len(), "one allocation");
            let headers = Headers::decode(serialized).unwrap();
            assert_eq!(headers.iter().collect::<Vec<_>>(), lines);
        }
    }

    #[test]
    fn knows_the_types_that_envoy_answers_as_grpc() {
        for grpc in ["application/grpc", "application/grpc+proto"] {
            assert!(is_grpc(grpc.as_bytes()), "{grpc}");
        }
        for other in ["", "application/grpc-web", "application/grpc;x", "Application/grpc", "application/json"] {
            assert!(!is_grpc(other.as_bytes()), "{other}");
        }
    }
}
