//! The zones that Kong's workers share, as ngx_wasm_module keeps them: small, evicting, and looked up by checksum only.

use std::collections::BTreeMap;

/// The size of a key's node without key and value.
const NODE: usize = 96;
/// The page size of nginx's slab allocator.
pub(super) const PAGE: usize = 4096;
/// The bytes that a zone needs to describe each page.
const PAGE_INFO: usize = 32;
/// The pages that a zone needs for itself.
const OWN_PAGES: usize = 2;

/// A zone. It stores the keys that begin with its name and a slash.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    nodes: BTreeMap<u32, Node>,
    slabs: Slabs,
    /// Increases with every use. The node with the smallest value is evicted first.
    uses: u64,
    /// How many nodes were evicted.
    forgotten: usize,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Node {
    value: Vec<u8>,
    version: u32,
    /// The allocated size. A value that grows moves into a new node.
    size: usize,
    used: u64,
}

/// The memory of a zone. Allocations below half a page share a page with others of the same size; larger ones get whole pages.
#[derive(Debug, Clone)]
struct Slabs {
    free_pages: usize,
    /// Free parts of pages, by size.
    free: BTreeMap<usize, usize>,
}

/// No node could be evicted for a new one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Zone {
    /// Creates a zone with this many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let free_pages = (bytes / (PAGE + PAGE_INFO)).saturating_sub(OWN_PAGES);
        let slabs = Slabs { free_pages, free: BTreeMap::new() };
        Self { nodes: BTreeMap::new(), slabs, uses: 0, forgotten: 0, bytes }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn forgotten(&self) -> usize {
        self.forgotten
    }

    /// Returns the value of the key that has this key's checksum, even if it is another key.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.uses += 1;
        let node = self.nodes.get_mut(&checksum(key))?;
        node.used = self.uses;
        Some((node.value.clone(), node.version))
    }

    /// Writes a value, and returns whether it was written. The version must equal the key's version, or zero if there is no such key.
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
        while !self.slabs.take(size) {
            self.forget_one(size, hash)?;
        }
        let node = Node { value: value.to_vec(), version: version.wrapping_add(1), size, used };
        if let Some(old) = self.nodes.insert(hash, node) {
            self.slabs.give_back(old.size);
        }
        Ok(true)
    }

    /// Silently evicts the least recently used node of this size, or else of a larger size, or else of a smaller size.
    fn forget_one(&mut self, size: usize, but: u32) -> Result<(), Full> {
        let others = self.nodes.iter().filter(|(hash, _)| **hash != but);
        let first = others.min_by_key(|(_, node)| (node.size < size, node.size.abs_diff(size), node.used));
        let hash = first.map(|(hash, _)| *hash).ok_or(Full)?;
        self.forgotten += 1;
        self.remove(hash);
        Ok(())
    }

    fn remove(&mut self, hash: u32) -> bool {
        let node = self.nodes.remove(&hash);
        if let Some(node) = &node {
            self.slabs.give_back(node.size);
        }
        node.is_some()
    }

    /// Evicts the key with this index, as a full zone may do at any time.
    #[cfg(test)]
    pub(super) fn forget(&mut self, number: usize) -> bool {
        self.nodes.keys().nth(number).copied().is_some_and(|hash| self.remove(hash))
    }
}

impl Slabs {
    fn take(&mut self, size: usize) -> bool {
        if let Some(pieces) = self.free.get_mut(&size).filter(|pieces| **pieces > 0) {
            *pieces -= 1;
            return true;
        }
        let pages = size.div_ceil(PAGE);
        if self.free_pages < pages {
            return false;
        }
        self.free_pages -= pages;
        if size < PAGE {
            *self.free.entry(size).or_default() += PAGE / size - 1;
        }
        true
    }

    fn give_back(&mut self, size: usize) {
        if size >= PAGE {
            self.free_pages += size / PAGE;
            return;
        }
        let pieces = self.free.entry(size).or_default();
        *pieces += 1;
        if *pieces >= PAGE / size {
            *pieces -= PAGE / size;
            self.free_pages += 1;
        }
    }
}

/// Returns how many bytes the slab allocator reserves for this size.
fn slab(bytes: usize) -> usize {
    if bytes > PAGE / 2 { bytes.next_multiple_of(PAGE) } else { bytes.next_power_of_two() }
}

/// Computes CRC-32 as nginx does.
fn checksum(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_requires_the_current_version_of_a_key() {
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
    fn keys_with_equal_checksums_collide() {
        let mut zone = Zone::new(1 << 16);
        let (one, other) = (b"plumless", b"buckeroo");
        assert_eq!(checksum(one), checksum(other));
        zone.set(one, b"1", 0).unwrap();
        assert_eq!(zone.get(other), Some((b"1".to_vec(), 1)));
        assert_eq!(zone.set(other, b"2", 0), Ok(false));
    }

    #[test]
    fn a_full_zone_evicts_the_least_recently_used_key() {
        // Four pages, with sixteen parts of 256 bytes each.
        let mut zone = Zone::new(7 * PAGE);
        let key = |n: usize| format!("key {n}").into_bytes();
        for n in 0..64 {
            zone.set(&key(n), &[0; 100], 0).unwrap();
        }
        assert_eq!((zone.len(), zone.forgotten()), (64, 0));
        zone.get(&key(0));
        zone.set(&key(64), &[0; 100], 0).unwrap();
        assert_eq!((zone.len(), zone.forgotten()), (64, 1));
        assert!(zone.get(&key(0)).is_some() && zone.get(&key(1)).is_none() && zone.get(&key(64)).is_some());
        assert_eq!(zone.set(&key(1), b"x", 0), Ok(true), "an evicted key starts again");
        assert_eq!(zone.set(b"huge", &[0; 5 * PAGE], 0), Err(Full));
        assert_eq!(zone.len(), 0);
    }
}
