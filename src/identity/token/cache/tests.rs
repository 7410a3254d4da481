use serde_json::{Value, json};

use super::*;
use crate::identity::crypto::SoftwareVerifier;
use crate::identity::token::testing::{NOW, RESOURCE, SECRET, Signs, at, compile, sign, with};
use crate::identity::token::{FetchedKeys, Issuers};

fn issuers() -> Issuers {
    compile(&json!({ "internal": {
        "issuer": "https://internal.example.com", "profile": "at+jwt", "algorithms": ["HS256"],
        "keys": { "secret": { "env": "SECRET" } }, "max_lifetime": "1h",
    } }))
}

/// Returns a token with these claims. A different number makes a different token.
fn token(number: usize, changes: Value) -> Vec<u8> {
    let claims = json!({
        "iss": "https://internal.example.com", "aud": RESOURCE, "sub": "s", "client_id": "c", "jti": number.to_string(),
        "iat": NOW, "exp": NOW + 600,
    });
    sign(Signs::Secret(SECRET), &json!({ "typ": "at+jwt", "alg": "HS256" }), &with(claims, changes))
}

struct Gate {
    issuers: Issuers,
    cache: TokenCache,
}

impl Gate {
    fn new(bytes: usize) -> Self {
        Self { issuers: issuers(), cache: TokenCache::new(bytes) }
    }

    /// Verifies the token and returns whether it was cached.
    fn known(&mut self, token: &[u8]) -> bool {
        let known = self.cache.knows(token);
        self.issuers.verify(token, at(0), &SoftwareVerifier, &mut self.cache, &FetchedKeys::new()).unwrap();
        assert!(self.cache.bytes() <= self.cache.half * 2, "the bound holds after every call");
        known
    }
}

impl TokenCache {
    fn knows(&self, token: &[u8]) -> bool {
        [&self.young, &self.old].into_iter().any(|generation| generation.get(hash(token), token).is_some())
    }

    /// Recomputes the cost of all entries.
    fn bytes(&self) -> usize {
        for generation in [&self.young, &self.old] {
            assert_eq!(generation.bytes, generation.entries.values().map(Entry::cost).sum::<usize>());
        }
        self.young.bytes + self.old.bytes
    }
}

#[test]
fn memory_use_stays_within_the_limit() {
    let mut gate = Gate::new(64 * 1024);
    for number in 0..500 {
        assert!(!gate.known(&token(number, json!({}))));
    }
    assert!(gate.cache.len() > 10, "most of the budget is used: {}", gate.cache.len());
    // Claims that need more memory than their text count with their memory use.
    let mut gate = Gate::new(64 * 1024);
    for number in 0..20 {
        gate.known(&token(number, json!({ "x": vec![json!({ "a": {} }); 200] })));
    }
    assert!(gate.cache.is_empty());
}

#[test]
fn keeps_tokens_in_use_when_a_client_sends_many() {
    let mut gate = Gate::new(64 * 1024);
    let ours = token(0, json!({}));
    gate.known(&ours);
    for number in 1..500 {
        gate.known(&token(number, json!({})));
        assert!(gate.known(&ours), "{number}");
    }
    // A token that is not in use is evicted.
    assert!(!gate.known(&token(1, json!({}))));
}

#[test]
fn verifies_an_evicted_token_again() {
    let mut gate = Gate::new(16 * 1024);
    let ours = token(0, json!({}));
    assert!(!gate.known(&ours));
    assert!(gate.known(&ours));
    for number in 1..50 {
        gate.known(&token(number, json!({})));
    }
    assert!(!gate.known(&ours));
}

#[test]
fn identifies_a_token_by_all_its_bytes() {
    let mut gate = Gate::new(64 * 1024);
    let ours = token(0, json!({}));
    gate.known(&ours);
    for place in [0, 7, 8, 100, ours.len() - 40, ours.len() - 1] {
        let mut other = ours.clone();
        other[place] ^= 1;
        assert!(!gate.cache.knows(&other), "{place}");
    }
    assert!(!gate.cache.knows(&ours[1..]) && !gate.cache.knows(b""));
    // A token with the same end replaces it, and only its own cost is counted.
    let verified = gate.cache.get(&ours).unwrap();
    let other = [b"x".as_slice(), &ours[1..]].concat();
    gate.cache.insert(&other, verified);
    assert!(gate.cache.knows(&other) && !gate.cache.knows(&ours));
    assert_eq!((gate.cache.len(), gate.cache.bytes()), (1, gate.cache.young.bytes));
}

#[test]
fn caches_nothing_without_a_budget() {
    let mut gate = Gate::new(0);
    let ours = token(0, json!({}));
    assert!(!gate.known(&ours));
    assert!(!gate.known(&ours));
    assert!(gate.cache.is_empty());
}

#[test]
fn the_default_budget_holds_hundreds_of_typical_tokens() {
    let mut gate = Gate::new(TokenCache::DEFAULT_BYTES);
    let usual = json!({ "scope": "code:read code:write", "org": "acme", "roles": ["a", "b"], "pad": "x".repeat(300) });
    let tokens: Vec<_> = (0..400).map(|number| token(number, usual.clone())).collect();
    for token in &tokens {
        assert!(!gate.known(token));
    }
    for token in &tokens {
        assert!(gate.known(token));
    }
}

#[test]
fn reports_its_usage() {
    let mut gate = Gate::new(64 * 1024);
    assert_eq!(gate.cache.usage(), CacheUsage::default());
    let first = token(1, json!({}));
    for token in [&first, &token(2, json!({})), &first, &first] {
        gate.known(token);
    }
    let usage = gate.cache.usage();
    assert_eq!((usage.hits, usage.misses, usage.entries), (2, 2, 2));
    assert_eq!(usage.bytes, gate.cache.bytes() as u64);
    gate.cache.remove(&first);
    assert_eq!(gate.cache.usage().entries, 1);
}
