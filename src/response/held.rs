//! Bytes that wait until they can be checked, up to a limit.

use crate::quota::held::Reservation;

/// Bytes that were received and not yet forwarded.
///
/// What is kept between two chunks counts toward what the worker may hold. The bytes that only exist while a chunk is handled do not: a
/// worker handles one chunk at a time.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    most: usize,
    /// What the worker is charged with. `None` if nothing counts what it holds.
    charge: Option<Reservation>,
}

impl Held {
    /// The memory that is kept for the next bytes of a chunk after these were forwarded, in bytes.
    const KEPT: usize = 4096;

    /// The least memory of a buffer, in bytes, unless its limit is less. Chunks of one byte then change the charge rarely.
    const LEAST: usize = 1024;

    /// Creates an empty buffer for at most `most` bytes.
    pub(super) fn new(most: usize, charge: Option<Reservation>) -> Self {
        Self { bytes: Vec::new(), most, charge }
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
            let capacity = self.bytes.capacity().saturating_mul(2).max(length).max(Self::LEAST).min(self.most);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        true
    }

    /// Prepares to keep the bytes until the next chunk: charges the worker with their memory, and returns memory that is not needed.
    /// Returns `false` if the worker has no room for them, and then keeps nothing.
    #[must_use]
    pub(super) fn keep(&mut self) -> bool {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        let Some(charge) = &mut self.charge else { return true };
        let bytes = self.bytes.capacity() as u64;
        charge.shrink_to(bytes);
        let has_room = charge.grow_to(bytes).is_ok();
        if !has_room {
            self.bytes = Vec::new();
            charge.shrink_to(0);
        }
        has_room
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
    use crate::quota::held::{HeldBytes, Shares};

    #[test]
    fn never_exceeds_its_limit() {
        let mut held = Held::new(1500, None);
        for _ in 0..1500 {
            assert!(held.push(b"x"));
            assert!(held.bytes.capacity() <= 1500);
        }
        assert!(held.push(b""), "the limit itself is allowed");
        assert_eq!(held.bytes().len(), 1500);
        assert!(!held.push(b"x"));
        assert!(held.bytes().is_empty() && held.bytes.capacity() == 0, "what is not forwarded needs no memory");
        assert!(held.push(b"abc") && held.strip_prefix(b"ab") && !held.strip_prefix(b"ab"));
        assert_eq!(held.take(), b"c");
        assert!(held.bytes().is_empty());
    }

    #[test]
    fn releases_the_memory_of_large_contents() {
        let mut held = Held::new(1 << 20, None);
        assert!(held.push(&vec![b'x'; 1 << 20]));
        held.clear();
        assert!(held.bytes.capacity() <= Held::KEPT);
        assert!(held.keep());
        assert_eq!(held.bytes.capacity(), 0, "a silent stream needs no memory");
    }

    #[test]
    fn charges_the_worker_with_the_memory_of_what_it_keeps() {
        const SHARES: Shares = Shares { worker: 10_000, agent: 10_000, source: 10_000 };
        let all = HeldBytes::default();
        let mut held = Held::new(20_000, Some(all.reserve_nothing(Some(("p", "a")), None, SHARES)));
        let mut charges = vec![0];
        for length in 1..=5_000 {
            assert!(held.push(b"x"));
            assert_eq!(all.total(), *charges.last().unwrap(), "nothing is charged before the end of the chunk");
            assert!(held.keep());
            assert!((length..=(2 * length).max(1024)).contains(&all.total()));
            if charges.last() != Some(&all.total()) {
                charges.push(all.total());
            }
        }
        assert_eq!(charges, [0, 1024, 2048, 4096, 8192], "it grows in steps");
        held.clear();
        assert!(held.push(b"xy") && held.keep());
        assert!((2..=4096).contains(&all.total()), "it shrinks with the memory");
        assert!(held.push(&[b'x'; 10_000]) && !held.keep(), "there is no room");
        assert_eq!((all.total(), held.bytes.capacity()), (0, 0));
        assert!(held.push(&[b'x'; 9_000]) && held.keep());
        assert_eq!(all.total(), 9_000);
        drop(held);
        assert_eq!(all.total(), 0);
    }
}
