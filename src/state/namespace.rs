//! The shared state of one policy, separate from all other policies in the same gateway.

use std::sync::OnceLock;

use super::key::{BucketKey, Hash, Identity, StoreKey};
use super::{SharedStore, SlotKind, StoreError};

/// The version of the layout of keys and values. Versions of the module with different layouts do not read each other's values.
const LAYOUT: u8 = 2;

/// The part of the shared store that belongs to one policy name.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: Box<str>,
    /// The secret that keys are hashed with. It prevents outsiders from searching for colliding identities.
    secret: [u8; 16],
    /// The number of slots for identities that the policy does not name.
    slots: u32,
    /// The buckets of identities that are used by many requests, by a number from the policy. Each is computed once.
    known: Vec<OnceLock<BucketKey>>,
}

/// The secret that keys are hashed with.
#[derive(Clone, Copy)]
pub enum Secret {
    /// Random bytes. The first worker stores its own for the others.
    Fresh([u8; 16]),
    /// A secret that all workers know and that is not stored in the map.
    Known([u8; 16]),
}

impl From<[u8; 16]> for Secret {
    fn from(fresh: [u8; 16]) -> Self {
        Self::Fresh(fresh)
    }
}

/// A namespace, and whether it has the requested size.
#[derive(Debug)]
pub struct Opened {
    /// The namespace.
    pub namespace: Namespace,
    /// The number of entries in its table, if it differs from the requested one. A table keeps its initial size.
    pub other_size: Option<u32>,
}

/// The number of entries in a slot of the table.
const SLOT_ENTRIES: u32 = SlotKind::Shared.most_entries() as u32;

impl Namespace {
    /// Returns the number of slots of a table with this many entries.
    pub(crate) fn slots_for(entries: u32) -> u32 {
        entries.div_ceil(SLOT_ENTRIES).max(1)
    }

    /// Opens the namespace of a policy name, or creates it with room for `entries` identities that the policy does not name.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the host fails, or if the key holds another value.
    pub fn open(
        store: &dyn SharedStore,
        name: &str,
        entries: u32,
        secret: impl Into<Secret>,
    ) -> Result<Opened, StoreError> {
        let secret = secret.into();
        let slots = Self::slots_for(entries);
        let (Secret::Fresh(bytes) | Secret::Known(bytes)) = secret;
        let fresh = Self { name: name.into(), secret: bytes, slots, known: Vec::new() };
        let key = format!("callgate/{LAYOUT}/{name}");
        let shown = if let Secret::Fresh(bytes) = secret { bytes } else { [0; 16] };
        let namespace = if store.create(key.as_bytes(), &fresh.encode(shown))? {
            fresh
        } else {
            let standing = store.get(key.as_bytes())?.ok_or(StoreError)?;
            let mut namespace = Self::decode(name, &standing.value).ok_or(StoreError)?;
            if let Secret::Known(bytes) = secret {
                namespace.secret = bytes;
            }
            namespace
        };
        let other_size = (namespace.slots != slots).then_some(namespace.slots.saturating_mul(SLOT_ENTRIES));
        Ok(Opened { namespace, other_size })
    }

    /// Reports whether the namespace of a policy name still exists.
    pub(crate) fn stands(store: &dyn SharedStore, name: &str) -> Result<bool, StoreError> {
        Ok(store.get(format!("callgate/{LAYOUT}/{name}").as_bytes())?.is_some())
    }

    /// Encodes the layout, the secret, the number of slots, and the name. The name is included because a host may confuse two
    /// keys (Kong compares their CRC32).
    fn encode(&self, secret: [u8; 16]) -> Vec<u8> {
        [&[LAYOUT][..], &secret, &self.slots.to_le_bytes(), self.name.as_bytes()].concat()
    }

    fn decode(name: &str, value: &[u8]) -> Option<Self> {
        let rest = value.strip_prefix(&[LAYOUT])?;
        let (secret, rest) = rest.split_first_chunk::<16>()?;
        let (slots, own) = rest.split_first_chunk::<4>()?;
        let slots = u32::from_le_bytes(*slots);
        (own == name.as_bytes() && slots > 0).then(|| Self {
            name: name.into(),
            secret: *secret,
            slots,
            known: Vec::new(),
        })
    }

    /// Returns an identity of this kind, to which parts can be added.
    pub(crate) fn identity(&self, kind: &str) -> Identity {
        Identity::new(&self.secret).text(&self.name).text(kind)
    }

    /// Returns bytes for a number. Outsiders cannot predict them, and every worker can compute them.
    pub(crate) fn mark(&self, kind: &str, number: u64) -> [u8; 16] {
        let Hash(first, second) = self.identity(kind).bytes(&number.to_le_bytes()).hash();
        (u128::from(first) << 64 | u128::from(second)).to_le_bytes()
    }

    /// Returns the bucket of an identity that the policy names: an entry under the identity's own key. `entry` distinguishes its
    /// entries. It comes from the policy, so it is not hashed with the secret.
    pub(crate) fn own(&self, identity: Identity, entry: u64) -> BucketKey {
        let hash = identity.hash();
        BucketKey { key: StoreKey::of(hash), fingerprint: hash.1 ^ entry, shared: false }
    }

    /// Makes room for this many [known](Self::known) buckets.
    pub(crate) fn with_known(self, places: usize) -> Self {
        Self { known: vec![OnceLock::new(); places], ..self }
    }

    /// Returns the bucket with entry 0 of an identity that the policy names. The number must belong to this identity only.
    pub(crate) fn known(&self, number: u32, identity: impl FnOnce() -> Identity) -> BucketKey {
        let place = || self.own(identity(), 0);
        match self.known.get(number as usize) {
            Some(known) => *known.get_or_init(place),
            None => place(),
        }
    }

    /// Returns the bucket of an identity that the policy does not name, in a slot of the table.
    pub(crate) fn slot(&self, identity: Identity) -> BucketKey {
        // One half selects the slot, and the other identifies the entry in it.
        self.slot_of(self.numbers(identity))
    }

    /// Returns the same bucket for an identity whose [numbers](Self::numbers) are known.
    pub(crate) fn slot_of(&self, [choice, fingerprint]: [u64; 2]) -> BucketKey {
        self.place_of_slot(choice % u64::from(self.slots), fingerprint)
    }

    fn place_of_slot(&self, slot: u64, fingerprint: u64) -> BucketKey {
        let slot = self.identity("slot").bytes(&slot.to_le_bytes());
        BucketKey { key: StoreKey::of(slot.hash()), fingerprint, shared: true }
    }

    /// Returns the buckets of all slots of the table.
    pub(crate) fn slots(&self) -> impl Iterator<Item = BucketKey> {
        (0..u64::from(self.slots)).map(|slot| self.place_of_slot(slot, 0))
    }

    /// Returns the key of a value with its own form.
    pub(crate) fn key(&self, identity: Identity) -> StoreKey {
        StoreKey::of(identity.hash())
    }

    /// Returns two independent hashes of an identity.
    pub(crate) fn numbers(&self, identity: Identity) -> [u64; 2] {
        let Hash(first, second) = identity.hash();
        [first, second]
    }

    /// Returns the key of a table's header, which workers must read before they use the table. It does not depend on the secret.
    pub(crate) fn header_key(&self, table: &str) -> String {
        format!("callgate/{LAYOUT}/{}/{table}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryStore;
    use super::*;

    fn open(store: &MemoryStore, name: &str, entries: u32, secret: u8) -> Opened {
        Namespace::open(store, name, entries, [secret; 16]).unwrap()
    }

    #[test]
    fn the_first_worker_creates_the_namespace_for_all() {
        let store = MemoryStore::default();
        let first = open(&store, "a", 64, 1);
        let second = open(&store, "a", 64, 2);
        assert_eq!((second.namespace.secret, second.namespace.slots), ([1; 16], 8));
        assert_eq!((first.other_size, second.other_size), (None, None));
        let other = open(&store, "b", 64, 3);
        assert_eq!(other.namespace.secret, [3; 16]);
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn does_not_store_a_known_secret() {
        let store = MemoryStore::default();
        let first = Namespace::open(&store, "a", 64, Secret::Known([9; 16])).unwrap().namespace;
        let second = Namespace::open(&store, "a", 64, Secret::Known([9; 16])).unwrap().namespace;
        assert_eq!((first.secret, second.secret), ([9; 16], [9; 16]));
        assert!(store.dump().iter().all(|(_, value)| !value.windows(16).any(|window| window == [9; 16])));
    }

    #[test]
    fn a_table_keeps_its_original_size_and_reports_it() {
        let store = MemoryStore::default();
        open(&store, "a", 64, 1);
        let larger = open(&store, "a", 128, 2);
        assert_eq!((larger.namespace.slots, larger.other_size), (8, Some(64)));
    }

    #[test]
    fn rejects_values_in_an_unknown_format() {
        for (number, value) in [
            &b"\x02"[..],
            b"\x01aaaaaaaaaaaaaaaa\x01\0\0\0a",
            b"\x02aaaaaaaaaaaaaaaa\x01\0\0\0b",
            b"\x02aaaaaaaaaaaaaaaa\0\0\0\0a",
        ]
        .iter()
        .enumerate()
        {
            let store = MemoryStore::default();
            store.create(b"callgate/2/a", value).unwrap();
            assert_eq!(Namespace::open(&store, "a", 8, [0; 16]).err(), Some(StoreError), "{number}");
        }
    }

    #[test]
    fn a_cached_bucket_key_equals_a_computed_one() {
        let store = MemoryStore::default();
        let plain = open(&store, "a", 64, 1).namespace;
        let with = plain.clone().with_known(2);
        let identity = |number: u32| with.identity("limits").bytes(&number.to_le_bytes());
        for number in [0, 1, 2, 0, 1, 2] {
            let known = with.known(number, || identity(number));
            assert_eq!(known, with.own(identity(number), 0));
            assert_eq!(known, plain.known(number, || identity(number)));
            assert_eq!(known.beside(0, 9), with.own(identity(number), 9));
        }
        assert_eq!(with.known.len(), 2, "what was asked for beyond its room was not kept");
    }

    #[test]
    fn bucket_keys_depend_on_the_namespace_and_the_identity() {
        let store = MemoryStore::default();
        let a = open(&store, "a", 64, 1).namespace;
        let b = open(&store, "b", 64, 1).namespace;
        let own = |space: &Namespace, text: &str| space.own(space.identity("limit").text(text), 0);
        assert_eq!(own(&a, "x"), own(&a, "x"));
        assert_ne!(own(&a, "x"), own(&a, "y"));
        assert_ne!(own(&a, "x"), own(&b, "x"));
        assert_ne!(own(&a, "x"), a.own(a.identity("other").text("x"), 0));
        let beside = a.own(a.identity("limit").text("x"), 1);
        assert!(beside.same_slot(&own(&a, "x")) && beside != own(&a, "x"));
        let slot = |n: u32| a.slot(a.identity("limit").bytes(&n.to_le_bytes())).key;
        let keys: std::collections::BTreeSet<_> = (0..10_000).map(slot).collect();
        assert_eq!(keys.len(), 8, "a table has as many keys as slots, however many identities there are");
    }
}
