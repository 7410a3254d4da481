//! The zones that Kong's workers share, as ngx_wasm_module keeps them: small, forgetful, and looked up by checksum alone.

use std::collections::BTreeMap;

/// What the node of a key takes beside key and value.
const NODE: usize = 96;
/// The pages of nginx's slab allocator.
pub(super) const PAGE: usize = 4096;
/// What a zone needs to know of each page.
const PAGE_INFO: usize = 32;
/// Pages that a zone takes for itself.
const OWN_PAGES: usize = 2;

/// A zone: what begins with its name and a slash is kept in it.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    nodes: BTreeMap<u32, Node>,
    slabs: Slabs,
    /// Grows with every use; the node with the smallest goes first.
    uses: u64,
    /// How many nodes had to go.
    forgotten: usize,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Node {
    value: Vec<u8>,
    version: u32,
    /// What it takes; a value that grows moves into a new node.
    size: usize,
    used: u64,
}

/// The memory of a zone. What is smaller than half a page shares one with others of its size, what is larger has pages of its own.
#[derive(Debug, Clone)]
struct Slabs {
    free_pages: usize,
    /// Free pieces of pages, by their size.
    free: BTreeMap<usize, usize>,
}

/// No node could be given up for a new one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Zone {
    /// A zone of so many bytes.
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
        while !self.slabs.take(size) {
            self.forget_one(size, hash)?;
        }
        let node = Node { value: value.to_vec(), version: version.wrapping_add(1), size, used };
        if let Some(old) = self.nodes.insert(hash, node) {
            self.slabs.give_back(old.size);
        }
        Ok(true)
    }

    /// Forgets, without a word to anybody, what was not used for longest among the nodes of this size, or else of larger ones, or
    /// else of smaller ones.
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

    /// Forgets the key of this number, as a full zone may at any time.
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

/// What the slab allocator takes for so many bytes.
fn slab(bytes: usize) -> usize {
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
        // Four pages, and sixteen pieces of 256 bytes in each of them.
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
        assert_eq!(zone.set(&key(1), b"x", 0), Ok(true), "what was forgotten begins anew");
        assert_eq!(zone.set(b"huge", &[0; 5 * PAGE], 0), Err(Full));
        assert_eq!(zone.len(), 0);
    }
}
