//! What one policy shares, apart from every other policy in the same gateway.

use std::sync::OnceLock;

use super::key::{BucketKey, Hash, Identity, StoreKey};
use super::{SharedStore, SlotKind, StoreError};

/// The layout of keys and values. Another one is another place: two versions of the module that lay things out differently do
/// not read each other.
const LAYOUT: u8 = 2;

/// The part of the shared store that belongs to one policy name.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: Box<str>,
    /// Keys are hashed with it, so that nobody outside can look for identities that fall together.
    secret: [u8; 16],
    /// How many slots identities share that the policy does not name.
    slots: u32,
    /// Places that are asked for in call after call, by numbers that are the policy's: each is worked out once.
    known: Vec<OnceLock<BucketKey>>,
}

/// What keys are hashed with.
#[derive(Clone, Copy)]
pub enum Secret {
    /// Fresh randomness, which the first worker that comes writes down for the others.
    Fresh([u8; 16]),
    /// What all workers know, and the map does not say.
    Known([u8; 16]),
}

impl From<[u8; 16]> for Secret {
    fn from(fresh: [u8; 16]) -> Self {
        Self::Fresh(fresh)
    }
}

/// A namespace, and whether it is as large as was asked.
#[derive(Debug)]
pub struct Opened {
    /// The namespace.
    pub namespace: Namespace,
    /// How many entries its table has, where that is not what was asked for: a table keeps the size it was made with.
    pub other_size: Option<u32>,
}

/// How many entries a slot of the table holds.
const SLOT_ENTRIES: u32 = SlotKind::Shared.most_entries() as u32;

impl Namespace {
    /// How many slots a table with so many entries has.
    pub(crate) fn slots_for(entries: u32) -> u32 {
        entries.div_ceil(SLOT_ENTRIES).max(1)
    }

    /// Opens the namespace of a policy name, or makes it with room for `entries` identities that the policy does not name.
    ///
    /// # Errors
    /// [`StoreError`] when the host cannot do it, or something else stands in its place.
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

    /// Whether the namespace of a policy name is still there.
    pub(crate) fn stands(store: &dyn SharedStore, name: &str) -> Result<bool, StoreError> {
        Ok(store.get(format!("callgate/{LAYOUT}/{name}").as_bytes())?.is_some())
    }

    /// Layout, secret, number of slots, and the name, since a host may take two keys for one (Kong compares their CRC32).
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

    /// The beginning of an identity of this kind.
    pub(crate) fn identity(&self, kind: &str) -> Identity {
        Identity::new(&self.secret).text(&self.name).text(kind)
    }

    /// Bytes that belong to a number, which nobody outside can foresee and every worker can work out.
    pub(crate) fn mark(&self, kind: &str, number: u64) -> [u8; 16] {
        let Hash(first, second) = self.identity(kind).bytes(&number.to_le_bytes()).hash();
        (u128::from(first) << 64 | u128::from(second)).to_le_bytes()
    }

    /// A place of an identity that the policy names: an entry under a key of its own. Its entries are told apart by `entry`,
    /// which is the policy's as well, so that it needs no secret.
    pub(crate) fn own(&self, identity: Identity, entry: u64) -> BucketKey {
        let hash = identity.hash();
        BucketKey { key: StoreKey::of(hash), fingerprint: hash.1 ^ entry, shared: false }
    }

    /// Makes room for as many [known](Self::known) places.
    pub(crate) fn with_known(self, places: usize) -> Self {
        Self { known: vec![OnceLock::new(); places], ..self }
    }

    /// The place of the entry 0 of an identity that the policy names, which has this number and no other has.
    pub(crate) fn known(&self, number: u32, identity: impl FnOnce() -> Identity) -> BucketKey {
        let place = || self.own(identity(), 0);
        match self.known.get(number as usize) {
            Some(known) => *known.get_or_init(place),
            None => place(),
        }
    }

    /// The place of any other identity: a slot of the table.
    pub(crate) fn slot(&self, identity: Identity) -> BucketKey {
        // One half chooses the slot, the other tells the identities in it apart.
        self.slot_of(self.numbers(identity))
    }

    /// The same of an identity whose [numbers](Self::numbers) are known.
    pub(crate) fn slot_of(&self, [choice, fingerprint]: [u64; 2]) -> BucketKey {
        self.place_of_slot(choice % u64::from(self.slots), fingerprint)
    }

    fn place_of_slot(&self, slot: u64, fingerprint: u64) -> BucketKey {
        let slot = self.identity("slot").bytes(&slot.to_le_bytes());
        BucketKey { key: StoreKey::of(slot.hash()), fingerprint, shared: true }
    }

    /// The places of all slots of the table.
    pub(crate) fn slots(&self) -> impl Iterator<Item = BucketKey> {
        (0..u64::from(self.slots)).map(|slot| self.place_of_slot(slot, 0))
    }

    /// The key of a value with a form of its own.
    pub(crate) fn key(&self, identity: Identity) -> StoreKey {
        StoreKey::of(identity.hash())
    }

    /// Two numbers, each of which tells identities apart, that say nothing of each other.
    pub(crate) fn numbers(&self, identity: Identity) -> [u64; 2] {
        let Hash(first, second) = identity.hash();
        [first, second]
    }

    /// The key of what workers have to know of a table before they can use it, the same whatever the secret is.
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
    fn the_first_worker_makes_it_and_all_others_use_it() {
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
    fn a_secret_that_all_know_is_not_in_the_map() {
        let store = MemoryStore::default();
        let first = Namespace::open(&store, "a", 64, Secret::Known([9; 16])).unwrap().namespace;
        let second = Namespace::open(&store, "a", 64, Secret::Known([9; 16])).unwrap().namespace;
        assert_eq!((first.secret, second.secret), ([9; 16], [9; 16]));
        assert!(store.dump().iter().all(|(_, value)| !value.windows(16).any(|window| window == [9; 16])));
    }

    #[test]
    fn a_table_keeps_the_size_it_was_made_with_and_says_so() {
        let store = MemoryStore::default();
        open(&store, "a", 64, 1);
        let larger = open(&store, "a", 128, 2);
        assert_eq!((larger.namespace.slots, larger.other_size), (8, Some(64)));
    }

    #[test]
    fn what_nobody_of_this_version_wrote_is_not_believed() {
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
    fn a_known_place_is_the_one_that_is_worked_out_anew() {
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
    fn places_depend_on_the_secret_the_name_and_the_identity_and_on_nothing_else() {
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
