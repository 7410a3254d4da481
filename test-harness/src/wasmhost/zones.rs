//! The zones that Kong's workers share, as ngx_wasm_module keeps them: small, forgetful, and looked up by checksum alone.

use std::collections::BTreeMap;

/// What the node of a key takes beside key and value.
const NODE: usize = 96;

/// What a zone loses to its own management, of which nginx takes a page for each seven and some for itself.
const OVERHEAD: usize = 8;

/// A zone: what begins with its name and a slash is kept in it.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    nodes: BTreeMap<u32, Node>,
    /// The bytes that may be taken.
    room: usize,
    taken: usize,
    /// Grows with every use; the node with the smallest goes first.
    uses: u64,
}

#[derive(Debug, Clone)]
struct Node {
    value: Vec<u8>,
    version: u32,
    /// What it takes; a value that grows moves into a new node.
    size: usize,
    used: u64,
}

/// No node could be given up for a new one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Zone {
    /// A zone of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { nodes: BTreeMap::new(), room: bytes - bytes / OVERHEAD, taken: 0, uses: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The value of whichever key has this key's checksum.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.uses += 1;
        let node = self.nodes.get_mut(&checksum(key))?;
        node.used = self.uses;
        Some((node.value.clone(), node.version))
    }

    /// Whether the value was written: the version has to be that of the key, zero where there is none.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8], version: u32) -> Result<bool, Full> {
        self.uses += 1;
        let used = self.uses;
        let hash = checksum(key);
        if self.nodes.get(&hash).map_or(0, |node| node.version) != version {
            return Ok(false);
        }
        if let Some(node) = self.nodes.get_mut(&hash).filter(|node| value.len() <= node.value.len()) {
            *node = Node { value: value.to_vec(), version: version.wrapping_add(1), size: node.size, used };
            return Ok(true);
        }
        let size = slab(NODE + key.len() + value.len());
        while self.taken + size > self.room {
            self.forget_one(hash)?;
        }
        self.taken += size;
        let node = Node { value: value.to_vec(), version: version.wrapping_add(1), size, used };
        if let Some(old) = self.nodes.insert(hash, node) {
            self.taken -= old.size;
        }
        Ok(true)
    }

    /// Forgets whichever was not used for longest, without a word to anybody.
    fn forget_one(&mut self, but: u32) -> Result<(), Full> {
        let oldest = self.nodes.iter().filter(|(hash, _)| **hash != but).min_by_key(|(_, node)| node.used);
        let oldest = oldest.map(|(hash, _)| *hash).ok_or(Full)?;
        self.taken -= self.nodes.remove(&oldest).map_or(0, |node| node.size);
        Ok(())
    }

    /// Forgets the key of this number, as a full zone may at any time.
    #[cfg(test)]
    pub(super) fn forget(&mut self, number: usize) -> bool {
        let hash = self.nodes.keys().nth(number).copied();
        let node = hash.and_then(|hash| self.nodes.remove(&hash));
        self.taken -= node.as_ref().map_or(0, |node| node.size);
        node.is_some()
    }
}

/// What the slab allocator takes for so many bytes.
fn slab(bytes: usize) -> usize {
    const PAGE: usize = 4096;
    if bytes > PAGE / 2 { bytes.next_multiple_of(PAGE) } else { bytes.next_power_of_two() }
}

/// CRC-32 as nginx computes it.
fn checksum(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_with_version_zero_and_changed_with_its_own() {
        let mut zone = Zone::new(1 << 16);
        assert_eq!(zone.set(b"a", b"1", 0), Ok(true));
        assert_eq!(zone.set(b"a", b"2", 0), Ok(false), "it exists");
        assert_eq!(zone.get(b"a"), Some((b"1".to_vec(), 1)));
        assert_eq!(zone.set(b"a", b"longer", 1), Ok(true));
        assert_eq!(zone.set(b"a", b"", 2), Ok(true));
        assert_eq!(zone.get(b"a"), Some((Vec::new(), 3)));
        assert_eq!(zone.set(b"b", b"1", 7), Ok(false), "an absent key has no version");
        assert_eq!(zone.set(b"b", b"1", u32::MAX), Ok(false));
    }

    #[test]
    fn keys_with_one_checksum_are_one_key() {
        let mut zone = Zone::new(1 << 16);
        let (one, other) = (b"plumless", b"buckeroo");
        assert_eq!(checksum(one), checksum(other));
        zone.set(one, b"1", 0).unwrap();
        assert_eq!(zone.get(other), Some((b"1".to_vec(), 1)));
        assert_eq!(zone.set(other, b"2", 0), Ok(false));
    }

    #[test]
    fn a_full_zone_forgets_what_was_not_used_for_longest() {
        let mut zone = Zone::new(8 * 1024);
        let key = |n: usize| format!("key {n}").into_bytes();
        for n in 0..200 {
            zone.set(&key(n), &[0; 100], 0).unwrap();
            zone.get(&key(0));
        }
        assert!(zone.len() < 40, "{}", zone.len());
        assert!(zone.get(&key(0)).is_some() && zone.get(&key(1)).is_none() && zone.get(&key(199)).is_some());
        assert_eq!(zone.set(&key(1), b"x", 0), Ok(true), "what was forgotten begins anew");
        assert_eq!(zone.set(b"huge", &[0; 9000], 0), Err(Full));
        assert!(zone.taken <= zone.room);
    }
}
