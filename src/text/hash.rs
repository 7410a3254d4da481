//! A fast hash for maps with keys from the policy. Clients cannot choose these keys, so they cannot cause collisions.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::text::ascii::fold;

/// A map with keys from the policy. The standard hash resists chosen keys, but takes ten times as long in Wasm.
pub(crate) type PolicyMap<K, V> = HashMap<K, V, BuildHasherDefault<Spreading>>;

/// A hasher that processes whole words.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spreading(u64);

impl Hasher for Spreading {
    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(bytes.len() as u64);
        *self = fold(bytes, *self, |mut hasher, chunk| {
            let bits = u128::from_le_bytes(*chunk);
            hasher.write_u64(bits as u64);
            hasher.write_u64((bits >> 64) as u64);
            hasher
        });
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = spread(self.0 ^ number);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// FNV-1a (draft-eastlake-fnv), with a final step that spreads the result over all bits. INVARIANT: the function must not change, because
/// stored data outside the engine is found by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn finish(&self) -> u64 {
        spread(self.0)
    }
}

/// Returns the hash of a name in the policy, which identifies entries in the shared store.
pub(crate) fn hash_of(name: &str) -> u64 {
    let mut hasher = Fnv::default();
    hasher.write(name.as_bytes());
    hasher.finish()
}

/// Spreads the influence of every input bit over all output bits, because tables use some of the lowest and some of the highest bits.
pub(crate) fn spread(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits ^ (bits >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn spreads_sequential_names_over_many_slots() {
        spread_well((0..10_000).map(|n| hash_of(&format!("agent-{n}"))).collect());
        let hash = |name: String| BuildHasherDefault::<Spreading>::default().hash_one(name);
        spread_well((0..10_000).map(|n| hash(format!("agent-{n}"))).collect());
        spread_well((0..10_000).map(|n| hash(format!("a-name-of-more-than-sixteen-bytes-{n}"))).collect());
    }

    fn spread_well(hashes: Vec<u64>) {
        let distinct = |of: &dyn Fn(&u64) -> u64| hashes.iter().map(of).collect::<HashSet<_>>().len();
        assert_eq!(distinct(&|hash| *hash), hashes.len());
        // If 10,000 values are distributed randomly over 16,384 slots, 7,484 slots are expected to be used.
        assert!(distinct(&|hash| hash & 0x3fff) > 7_000);
        assert_eq!(distinct(&|hash| hash >> 57), 128);
    }
}
