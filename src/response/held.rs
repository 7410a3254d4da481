//! Bytes that wait until they can be checked, up to a limit.

/// Bytes that were received and not yet forwarded.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    most: usize,
}

impl Held {
    /// The memory that is kept for the next bytes after these were forwarded, in bytes. Streams are open for a long time.
    const KEPT: usize = 4096;

    /// Creates an empty buffer for at most `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most }
    }

    /// Adds bytes. Returns `false` if that exceeds the limit, and then keeps nothing.
    #[must_use]
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        let length = self.bytes.len().saturating_add(piece.len());
        if length > self.most {
            self.bytes = Vec::new();
            return false;
        }
        if length > self.bytes.capacity() {
            // A vector that grows by itself doubles its memory, possibly beyond the limit.
            let capacity = self.bytes.capacity().saturating_mul(2).clamp(length, self.most);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        true
    }

    /// Returns the bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Removes these bytes from the beginning. Returns whether they were there.
    pub(super) fn strip_prefix(&mut self, prefix: &[u8]) -> bool {
        let is_there = self.bytes.starts_with(prefix);
        if is_there {
            drop(self.bytes.drain(..prefix.len()));
        }
        is_there
    }

    /// Removes all bytes.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(Self::KEPT);
    }

    /// Removes and returns all bytes.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_exceeds_its_limit() {
        let mut held = Held::new(1000);
        for _ in 0..1000 {
            assert!(held.push(b"x"));
            assert!(held.bytes.capacity() <= 1000);
        }
        assert!(held.push(b""), "the limit itself is allowed");
        assert_eq!(held.bytes().len(), 1000);
        assert!(!held.push(b"x"));
        assert!(held.bytes().is_empty() && held.bytes.capacity() == 0, "what is not forwarded needs no memory");
        assert!(held.push(b"abc") && held.strip_prefix(b"ab") && !held.strip_prefix(b"ab"));
        assert_eq!(held.take(), b"c");
        assert!(held.bytes().is_empty());
    }

    #[test]
    fn releases_the_memory_of_large_contents() {
        let mut held = Held::new(1 << 20);
        assert!(held.push(&vec![b'x'; 1 << 20]));
        held.clear();
        assert!(held.bytes.capacity() <= Held::KEPT);
    }
}
