//! Values of the caller as parts of a key: no two that differ are the same part, and everything that is no value is one.

use serde_json::json;

use super::*;
use crate::quota::LimitKey;
use crate::state::{MemoryStore, Namespace};

fn namespace() -> Namespace {
    Namespace::open(&MemoryStore::default(), "test", 64, [7; 16]).unwrap().namespace
}

/// Returns the numbers of a key with this value.
fn key(namespace: &Namespace, own: Option<&Value>) -> [u64; 2] {
    namespace.numbers(value(namespace.identity("test"), own.filter(|own| counts(own))))
}

#[test]
fn values_of_different_types_are_different() {
    let namespace = namespace();
    let values = [
        json!("1"),
        json!(1),
        json!(-1),
        json!(true),
        json!("true"),
        json!(false),
        json!(""),
        json!("a"),
        json!(u64::MAX),
    ];
    let keys: std::collections::BTreeSet<_> = values.iter().map(|own| key(&namespace, Some(own))).collect();
    assert_eq!(keys.len(), values.len());
    assert!(!keys.contains(&key(&namespace, None)));
}

#[test]
fn everything_else_counts_together() {
    let namespace = namespace();
    let none = key(&namespace, None);
    for own in [
        json!(null),
        json!(["a"]),
        json!([]),
        json!({}),
        json!({ "a": 1 }),
        json!(1.5),
        json!(1e3),
        json!("x".repeat(257)),
    ] {
        assert_eq!(key(&namespace, Some(&own)), none, "{own}");
    }
    assert_ne!(key(&namespace, Some(&json!("x".repeat(256)))), none);
}

#[test]
fn attributes_are_found_by_the_position_of_the_agent() {
    let namespace = namespace();
    let values = vec![Some(json!("red")), None, Some(json!("red")), Some(json!(["red"]))];
    let varied = Varied { key: vec![KeyValue::Attribute("team".into(), values)], ..Varied::default() };
    let who = |position: Option<u32>| LimitSubject {
        caller: position.map(|position| crate::quota::Identified {
            agent: Some(("a", position)),
            is_class: false,
            workload: None,
            token: None,
        }),
        source: None,
        endpoint: "e",
        signer: None,
    };
    let of = |position| namespace.numbers(varied.identify(namespace.identity("test"), &who(position)));
    assert_eq!(of(Some(0)), of(Some(2)));
    assert_ne!(of(Some(0)), of(Some(1)));
    for other in [Some(3), Some(4), None] {
        assert_eq!(of(other), of(Some(1)), "{other:?}");
    }
}

#[test]
fn only_keys_without_claims_are_named_by_the_policy() {
    let who = LimitSubject { caller: None, source: None, endpoint: "e", signer: None };
    let gcra = Gcra::new(1, 1_000_000_000, 1).unwrap();
    let limit = |per: LimitKey, key: KeyValue| Limit {
        name: "l".into(),
        per,
        gcra,
        name_hash: None,
        told: None,
        varied: Some(Box::new(Varied { key: vec![key], ..Varied::default() })),
    };
    let namespace = namespace();
    let claim = ClaimName::parse("org").unwrap();
    let by_claim = limit(LimitKey::CLAIM, KeyValue::Claim(claim)).place(None, &who, None, &namespace).unwrap();
    let by_attribute = KeyValue::Attribute("team".into(), Vec::new());
    let by_attribute = limit(LimitKey::ATTRIBUTE, by_attribute).place(None, &who, None, &namespace).unwrap();
    let slots: Vec<_> = namespace.slots().collect();
    let is_in_table = |place: &crate::state::BucketKey| slots.iter().any(|slot| slot.same_slot(place));
    assert!(is_in_table(&by_claim) && !is_in_table(&by_attribute));
}
