//! On every host, only values that were written under the same key with this policy's key are returned.

use std::collections::HashMap;

use super::super::MemoryStore;
use super::super::simulation::ZoneStore;
use super::*;

const SEAL: Seal = Seal { key: [7; 16], zone: None };
const ZONE: Seal = Seal { key: [7; 16], zone: Some(Zone::Tables) };

fn value(store: &impl SharedStore, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(store.get(key)?.map(|standing| standing.value))
}

#[test]
fn accepts_only_values_sealed_for_this_key() {
    let host = MemoryStore::default();
    let store = PolicyStore::new(&host, Some(SEAL));
    assert!(store.create(b"a", b"one").unwrap() && !store.create(b"a", b"two").unwrap());
    assert_eq!(value(&store, b"a"), Ok(Some(b"one".to_vec())));
    let sealed = host.get(&SEAL.name(b"a", 0)).unwrap().unwrap().value;
    for (number, forged) in [
        Vec::new(),
        b"one".to_vec(),
        sealed[..sealed.len() - 1].to_vec(),
        [&sealed[..sealed.len() - 1], b"f"].concat(),
        [&[sealed[0] ^ 1], &sealed[1..]].concat(),
        [&sealed[..8], &[sealed[8] ^ 1], &sealed[9..]].concat(),
        SEAL.seal(b"b", b"one").unwrap(),
        Seal { key: [8; 16], zone: None }.seal(b"a", b"one").unwrap(),
    ]
    .into_iter()
    .enumerate()
    {
        let host = MemoryStore::default();
        host.create(&SEAL.name(b"a", 0), &forged).unwrap();
        let store = PolicyStore::new(&host, Some(SEAL));
        assert_eq!(value(&store, b"a"), Err(StoreError), "{number}");
        assert_eq!(store.create(b"a", b"mine"), Err(StoreError), "{number}");
        assert_eq!(store.compare_and_set(b"a", b"mine", 1), Err(StoreError), "{number}");
    }
}

#[test]
fn stores_with_different_keys_are_independent() {
    for zone in [None, Some(Zone::Tables), Some(Zone::Documents)] {
        let host = MemoryStore::default();
        for key in 1..4 {
            let seal = Seal { key: [key; 16], zone };
            let store = PolicyStore::new(&host, Some(seal.clone()));
            assert_eq!(value(&store, b"a"), Ok(None));
            assert!(store.create(b"a", &[key]).unwrap());
            assert_eq!(value(&store, b"a"), Ok(Some(vec![key])));
        }
        assert!(PolicyStore::new(&host, None).create(b"a", b"plain").unwrap());
    }
}

#[test]
fn stores_plain_values_without_a_key() {
    let host = MemoryStore::default();
    let store = PolicyStore::new(&host, None);
    assert!(store.create(b"a", b"one").unwrap());
    assert_eq!(host.get(b"a").unwrap().unwrap().value, b"one");
}

#[test]
fn compare_and_set_fails_for_an_outdated_version() {
    for (seal, host) in [(&SEAL, &MemoryStore::default() as &dyn SharedStore), (&ZONE, &ZoneStore::default())] {
        let store = PolicyStore::new(host, Some(seal.clone()));
        store.create(b"a", b"one").unwrap();
        let first = store.get(b"a").unwrap().unwrap().version;
        assert!(store.compare_and_set(b"a", b"two", first).unwrap());
        assert!(!store.compare_and_set(b"a", b"three", first).unwrap());
        assert_eq!(value(&store, b"a"), Ok(Some(b"two".to_vec())));
        assert!(!store.compare_and_set(b"none", b"two", first).unwrap());
    }
}

#[test]
fn rejects_a_version_that_a_zone_reuses() {
    let host = ZoneStore::default();
    let store = PolicyStore::new(&host, Some(ZONE));
    store.create(b"a", b"one").unwrap();
    let first = store.get(b"a").unwrap().unwrap().version;
    host.clear();
    store.create(b"a", b"another").unwrap();
    assert_eq!(store.compare_and_set(b"a", b"two", first), Ok(false));
    assert_eq!(value(&store, b"a"), Ok(Some(b"another".to_vec())));
}

/// Returns two keys with the same four bytes, found by trying.
fn colliding() -> (Vec<u8>, Vec<u8>) {
    let mut seen = HashMap::new();
    for number in 0..400_000u32 {
        let key = format!("cg2-{number:032x}").into_bytes();
        if let Some(other) = seen.insert(ZONE.name(&key, 0), key.clone()) {
            return (other, key);
        }
    }
    panic!("no two of so many keys have the same four bytes, which happens once in ten thousand times");
}

#[test]
fn keeps_colliding_keys_in_a_zone_apart() {
    let (first, second) = colliding();
    let host = ZoneStore::default();
    let store = PolicyStore::new(&host, Some(ZONE));
    assert_eq!(value(&store, &second), Ok(None));
    assert!(store.create(&first, b"one").unwrap() && store.create(&second, b"two").unwrap());
    assert_eq!(value(&store, &first), Ok(Some(b"one".to_vec())));
    assert_eq!(value(&store, &second), Ok(Some(b"two".to_vec())));
    let version = store.get(&second).unwrap().unwrap().version;
    assert!(store.compare_and_set(&second, b"three", version).unwrap());
    assert_eq!(value(&store, &first), Ok(Some(b"one".to_vec())));
    assert_eq!(value(&store, &second), Ok(Some(b"three".to_vec())));
    assert_eq!(host.len(), 2);
}

#[test]
fn different_names_have_different_crc32_values() {
    assert_eq!(ZoneStore::crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32");
    let names: Vec<_> = (0..20_000u32).map(|number| ZONE.name(&number.to_le_bytes(), 0)).collect();
    let mut by_crc = HashMap::new();
    for name in &names {
        assert_eq!(name.len(), names[0].len());
        assert_eq!(*by_crc.entry(ZoneStore::crc32(name)).or_insert(name), name);
    }
}

#[test]
fn fails_if_all_names_of_a_key_are_occupied() {
    let host = ZoneStore::default();
    for place in 0..PLACES {
        host.put(&ZONE.name(b"a", place), b"of another filter");
    }
    let store = PolicyStore::new(&host, Some(ZONE));
    assert_eq!(value(&store, b"a"), Err(StoreError));
    assert_eq!(store.create(b"a", b"one"), Err(StoreError));
}

#[test]
fn pads_values_to_the_size_of_their_slot_kind() {
    let length = |value: &[u8]| ZONE.seal(b"a", value).unwrap().len() - HEAD;
    let [shared, own, replay] = SlotKind::ALL.map(SlotKind::most_bytes);
    for (first, lengths, room) in
        [(1, 1..=shared, shared), (1, shared + 1..=own, own), (SlotKind::Replay.tag(), 1..=replay, replay)]
    {
        for size in lengths {
            let mut value = vec![0; size];
            value[0] = first;
            assert_eq!(length(&value), room, "{size}");
            assert_eq!(ZONE.open(b"a", &ZONE.seal(b"a", &value).unwrap()).unwrap().0, value);
        }
    }
    assert!(ZONE.seal(b"a", &vec![SlotKind::Replay.tag(); replay + 1]).is_err());
    // Other values are rounded up.
    for (size, room) in [(1, 256), (256, 256), (257, 512), (100_000, 131_072)] {
        assert_eq!(length(&vec![0x22; size]), room);
    }
    assert!(SlotKind::ALL.iter().all(|kind| bytes_in_zone(*kind) >= kind.most_bytes() as u64));
}

#[test]
fn retries_a_torn_read_and_fails_if_it_stays_torn() {
    let host = ZoneStore::torn(2);
    let store = PolicyStore::new(&host, Some(ZONE));
    store.create(b"a", &[1; 100]).unwrap();
    let mut last = vec![1; 100];
    for number in 2..50u8 {
        let standing = store.get(b"a").unwrap().unwrap();
        assert_eq!(standing.value, last);
        last = vec![number; 100];
        last[0] = 1;
        assert!(store.compare_and_set(b"a", &last, standing.version).unwrap());
    }
    let always = ZoneStore::torn(1);
    let store = PolicyStore::new(&always, Some(ZONE));
    store.create(b"a", &[1; 100]).unwrap();
    let version = store.get(b"a").unwrap().unwrap().version;
    store.compare_and_set(b"a", &[1, 2].repeat(50), version).unwrap();
    assert_eq!(value(&store, b"a"), Err(StoreError));
}
