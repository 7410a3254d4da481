//! The fetched keys of a worker: which key verifies a token, which issuer uses a key that several have, and what a change of keys means for
//! verified tokens.

use serde_json::{Value, json};

use super::super::TokenCache;
use super::super::testing::{Signs, at, compile, sign, with};
use super::*;
use crate::identity::crypto::SoftwareVerifier;
use crate::reason::Reason;

fn key(signs: Signs, kid: &str) -> Value {
    with(signs.jwk(), json!({ "kid": kid }))
}

fn set(keys: &[Value]) -> FetchedSet {
    FetchedSet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// Returns a set with these keys. The issuer has all of them since this time.
fn set_since(seconds: u64, keys: &[Value]) -> FetchedSet {
    set(keys).dated(Monotonic::from_millis(seconds * 1_000), [None, None])
}

/// Replaces the keys of one issuer, and returns how they changed.
fn replace(keys: &mut FetchedKeys, issuers: &Issuers, id: IssuerId, set: &FetchedSet) -> KeyChange {
    let changes = keys.replace(issuers, &[id], set).changes;
    changes.into_iter().find(|(own, _)| *own == id).map(|(_, change)| change).unwrap_or_default()
}

fn issuer(name: &str) -> Value {
    json!({
        "issuer": format!("https://{name}.example.com"), "profile": "at+jwt", "algorithms": ["ES256", "Ed25519", "RS256"],
        "max_lifetime": "1h",
        "keys": { "remote": { "url": format!("https://{name}.example.com/jwks"), "cluster": name } },
    })
}

fn issuers() -> Issuers {
    compile(&json!({ "a": issuer("a"), "b": issuer("b") }))
}

fn id(issuers: &Issuers, name: &str) -> IssuerId {
    issuers.id(name).unwrap()
}

fn token(issuer: &str, signs: Signs, kid: Option<&str>) -> Vec<u8> {
    let algorithm = match signs {
        Signs::P256(_) => "ES256",
        Signs::Rsa => "RS256",
        _ => "Ed25519",
    };
    let mut header = json!({ "alg": algorithm, "typ": "at+jwt" });
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    let claims = json!({
        "iss": format!("https://{issuer}.example.com"), "aud": "https://api.example.com", "sub": "s", "client_id": "c",
        "jti": "1", "iat": at(0).as_secs(), "exp": at(600).as_secs(),
    });
    sign(signs, &header, &claims)
}

fn verify(issuers: &Issuers, keys: &FetchedKeys, cache: &mut TokenCache, token: &[u8]) -> Result<(), (Reason, bool)> {
    let verified = issuers.verify(token, at(10), &SoftwareVerifier, cache, keys);
    verified.map(drop).map_err(|refusal| (refusal.reason, refusal.awaits_keys))
}

#[test]
fn a_token_waits_until_its_key_is_there() {
    let (issuers, mut keys, mut cache) = (issuers(), FetchedKeys::new(), TokenCache::default());
    let token = token("a", Signs::P256(1), Some("k"));
    assert_eq!(verify(&issuers, &keys, &mut cache, &token), Err((Reason::KeysUnavailable, true)));
    replace(&mut keys, &issuers, id(&issuers, "a"), &set(&[key(Signs::P256(2), "other")]));
    assert_eq!(verify(&issuers, &keys, &mut cache, &token), Err((Reason::TokenKey, true)));
    replace(&mut keys, &issuers, id(&issuers, "a"), &set(&[key(Signs::P256(2), "other"), key(Signs::P256(1), "k")]));
    assert_eq!(verify(&issuers, &keys, &mut cache, &token), Ok(()));
}

#[test]
fn every_other_check_comes_before_the_wait() {
    let (issuers, keys, mut cache) = (issuers(), FetchedKeys::new(), TokenCache::default());
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k" });
    let claims = json!({
        "iss": "https://a.example.com", "aud": "https://api.example.com", "sub": "s", "client_id": "c", "jti": "1",
        "iat": at(0).as_secs(), "exp": at(600).as_secs(),
    });
    for (header, claims, reason) in [
        (with(header.clone(), json!({ "alg": "PS256" })), claims.clone(), Reason::TokenAlgorithm),
        (with(header.clone(), json!({ "typ": "JWT" })), claims.clone(), Reason::TokenType),
        (header.clone(), with(claims.clone(), json!({ "aud": "https://other.example.com" })), Reason::TokenAudience),
        (header.clone(), with(claims.clone(), json!({ "client_id": null })), Reason::TokenClaim),
        (
            header.clone(),
            with(claims.clone(), json!({ "exp": at(-100).as_secs(), "iat": at(-200).as_secs() })),
            Reason::TokenExpired,
        ),
        (header, with(claims, json!({ "exp": at(7_200).as_secs() })), Reason::TokenLifetime),
    ] {
        let token = sign(Signs::P256(1), &header, &claims);
        assert_eq!(verify(&issuers, &keys, &mut cache, &token), Err((reason, false)));
    }
}

#[test]
fn a_wrong_signature_with_a_known_key_is_final() {
    let (issuers, mut keys, mut cache) = (issuers(), FetchedKeys::new(), TokenCache::default());
    replace(&mut keys, &issuers, id(&issuers, "a"), &set(&[key(Signs::P256(1), "k")]));
    let forged = token("a", Signs::P256(2), Some("k"));
    assert_eq!(verify(&issuers, &keys, &mut cache, &forged), Err((Reason::TokenSignature, false)));
    // The key is for another algorithm.
    let confused = token("a", Signs::Ed25519(1), Some("k"));
    assert_eq!(verify(&issuers, &keys, &mut cache, &confused), Err((Reason::TokenAlgorithm, false)));
}

#[test]
fn a_token_without_a_kid_is_tried_with_at_most_four_keys() {
    let (issuers, mut keys, mut cache) = (issuers(), FetchedKeys::new(), TokenCache::default());
    let of =
        |numbers: std::ops::Range<u8>| -> Vec<_> { numbers.map(|n| key(Signs::P256(n), &n.to_string())).collect() };
    replace(&mut keys, &issuers, id(&issuers, "a"), &set(&of(1..6)));
    for number in 1..=4 {
        assert_eq!(verify(&issuers, &keys, &mut cache, &token("a", Signs::P256(number), None)), Ok(()), "{number}");
    }
    // The fifth is not tried, and neither is a key of another algorithm. The issuer may have a newer key.
    for signs in [Signs::P256(5), Signs::P256(9)] {
        assert_eq!(verify(&issuers, &keys, &mut cache, &token("a", signs, None)), Err((Reason::TokenSignature, true)));
    }
    assert_eq!(
        verify(&issuers, &keys, &mut cache, &token("a", Signs::Ed25519(1), None)),
        Err((Reason::TokenKey, true))
    );
}

#[test]
fn names_of_keys_are_separate_for_each_issuer() {
    let (issuers, mut keys, mut cache) = (issuers(), FetchedKeys::new(), TokenCache::default());
    replace(&mut keys, &issuers, id(&issuers, "a"), &set(&[key(Signs::P256(1), "k")]));
    replace(&mut keys, &issuers, id(&issuers, "b"), &set(&[key(Signs::P256(2), "k")]));
    assert_eq!(verify(&issuers, &keys, &mut cache, &token("a", Signs::P256(1), Some("k"))), Ok(()));
    assert_eq!(
        verify(&issuers, &keys, &mut cache, &token("b", Signs::P256(1), Some("k"))),
        Err((Reason::TokenSignature, false))
    );
}

#[test]
fn a_key_of_another_issuer_is_not_used_for_the_one_that_gained_it_last() {
    let (issuers, mut keys, mut cache) = (issuers(), FetchedKeys::new(), TokenCache::default());
    let (a, b) = (id(&issuers, "a"), id(&issuers, "b"));
    replace(&mut keys, &issuers, a, &set(&[key(Signs::P256(1), "k")]));
    let change = replace(&mut keys, &issuers, b, &set(&[key(Signs::P256(1), "stolen"), key(Signs::P256(2), "own")]));
    assert_eq!((change.of_others, change.added), (1, vec!["own".to_owned()]));
    assert_eq!(verify(&issuers, &keys, &mut cache, &token("a", Signs::P256(1), Some("k"))), Ok(()));
    assert_eq!(
        verify(&issuers, &keys, &mut cache, &token("b", Signs::P256(1), Some("stolen"))),
        Err((Reason::TokenKey, true))
    );
    // The same holds for a key in the policy itself.
    let inline = with(issuer("a"), json!({ "keys": { "jwks": { "keys": [key(Signs::P256(1), "k")] } } }));
    let issuers = compile(&json!({ "a": inline, "b": issuer("b") }));
    let b = id(&issuers, "b");
    let mut keys = FetchedKeys::new();
    let stolen = [key(Signs::P256(1), "stolen"), key(Signs::P256(2), "own")];
    assert_eq!(keys.review(&issuers, &[b], &set(&stolen[..1])), Err(DocumentFault::KeysOfOthers));
    assert_eq!(keys.review(&issuers, &[b], &set(&stolen)), Ok(0));
    assert_eq!(replace(&mut keys, &issuers, b, &set(&stolen)).of_others, 1);
    assert_eq!(
        verify(&issuers, &keys, &mut cache, &token("b", Signs::P256(1), Some("stolen"))),
        Err((Reason::TokenKey, true))
    );
}

#[test]
fn an_issuer_cannot_take_the_key_of_another_one_by_publishing_it() {
    // `acme` comes first in the order of names. Workers may read the sets in any order.
    let issuers = compile(&json!({ "acme": issuer("acme"), "corp": issuer("corp") }));
    let (acme, corp) = (id(&issuers, "acme"), id(&issuers, "corp"));
    let of_corp = set_since(10, &[key(Signs::P256(1), "k")]);
    let of_acme = set_since(20, &[key(Signs::P256(1), "stolen"), key(Signs::P256(2), "own")]);
    for order in [[(acme, &of_acme), (corp, &of_corp)], [(corp, &of_corp), (acme, &of_acme)]] {
        let (mut keys, mut cache) = (FetchedKeys::new(), TokenCache::default());
        for (id, set) in order {
            keys.replace(&issuers, &[id], set);
        }
        for (name, signs, kid, expected) in [
            ("corp", Signs::P256(1), "k", Ok(())),
            ("acme", Signs::P256(1), "stolen", Err((Reason::TokenKey, true))),
            ("acme", Signs::P256(2), "own", Ok(())),
            ("corp", Signs::P256(2), "own", Err((Reason::TokenKey, true))),
        ] {
            assert_eq!(verify(&issuers, &keys, &mut cache, &token(name, signs, Some(kid))), expected, "{name} {kid}");
        }
    }
}

#[test]
fn the_order_of_names_decides_about_a_key_that_two_issuers_have_since_the_same_time() {
    let (issuers, shared) = (issuers(), [key(Signs::P256(1), "k")]);
    let (a, b) = (id(&issuers, "a"), id(&issuers, "b"));
    for order in [[a, b], [b, a]] {
        let (mut keys, mut cache) = (FetchedKeys::new(), TokenCache::default());
        for id in order {
            keys.replace(&issuers, &[id], &set_since(10, &shared));
        }
        assert_eq!(verify(&issuers, &keys, &mut cache, &token("a", Signs::P256(1), Some("k"))), Ok(()));
        // An issuer without any key gets the answer that it has none, and its clients are not charged.
        assert_eq!(
            verify(&issuers, &keys, &mut cache, &token("b", Signs::P256(1), Some("k"))),
            Err((Reason::KeysUnavailable, true))
        );
    }
}

#[test]
fn a_key_moves_to_the_issuer_that_had_it_first_and_back() {
    let (issuers, mut keys) = (issuers(), FetchedKeys::new());
    let (a, b) = (id(&issuers, "a"), id(&issuers, "b"));
    let (shared, own) = (key(Signs::P256(1), "k"), key(Signs::P256(2), "own"));
    keys.replace(&issuers, &[a], &set_since(20, &[shared.clone(), own.clone()]));
    let Replaced { changes, unserved } = keys.replace(&issuers, &[b], &set_since(10, std::slice::from_ref(&shared)));
    let lost = KeyChange { removed: vec!["k".to_owned()], of_others: 1, has_removed: true, ..KeyChange::default() };
    let gained = KeyChange { added: vec!["k".to_owned()], ..KeyChange::default() };
    assert_eq!((changes, unserved), (vec![(a, lost), (b, gained)], vec![]));
    // The same key in the next set is not reported again.
    assert_eq!(replace(&mut keys, &issuers, a, &set_since(20, &[shared.clone(), own])), KeyChange::default());
    let Replaced { changes, .. } = keys.replace(&issuers, &[b], &set_since(30, &[key(Signs::P256(3), "new")]));
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!((changes[0].0, &changes[0].1.added[..]), (a, &["k".to_owned()][..]));
    // It had the key first, and lost it.
    keys.replace(&issuers, &[b], &set_since(40, &[shared]));
    assert_eq!((keys.of(b).is_none(), keys.of(a).map(|set| set.keys.len())), (true, Some(2)));
}

#[test]
fn a_set_without_own_keys_is_recognized() {
    let (issuers, mut keys) = (issuers(), FetchedKeys::new());
    let (a, b) = (id(&issuers, "a"), id(&issuers, "b"));
    let shared = [key(Signs::P256(1), "k")];
    keys.replace(&issuers, &[b], &set_since(10, &shared));
    assert_eq!(keys.review(&issuers, &[a], &set_since(20, &shared)), Err(DocumentFault::KeysOfOthers));
    assert_eq!(keys.review(&issuers, &[a], &set_since(5, &shared)), Ok(0));
    assert_eq!(
        keys.review(&issuers, &[b], &set_since(20, &shared)),
        Ok(0),
        "a set does not compete with the one that it replaces"
    );
}

#[test]
fn an_issuer_that_no_key_of_a_shared_set_fits_keeps_its_keys() {
    let shares = |name: &str, other: &str, algorithm: &str| {
        with(issuer(name), json!({ "shares_keys_with": [other], "algorithms": [algorithm] }))
    };
    let issuers = compile(&json!({ "a": shares("a", "b", "ES256"), "b": shares("b", "a", "RS256") }));
    let (both, mut keys, mut cache) =
        (["a", "b"].map(|name| id(&issuers, name)), FetchedKeys::new(), TokenCache::default());
    let (old, rsa, okp) = (key(Signs::P256(1), "old"), key(Signs::Rsa, "rsa"), key(Signs::Ed25519(1), "okp"));
    assert_eq!(keys.replace(&issuers, &both, &set_since(1, &[old, rsa.clone()])).unserved, []);
    let only_rsa = set_since(2, &[rsa, okp.clone()]);
    assert_eq!(keys.review(&issuers, &both, &only_rsa), Ok(1));
    assert_eq!(keys.replace(&issuers, &both, &only_rsa), Replaced { changes: vec![], unserved: vec![both[0]] });
    assert_eq!(verify(&issuers, &keys, &mut cache, &token("a", Signs::P256(1), Some("old"))), Ok(()));
    assert_eq!(verify(&issuers, &keys, &mut cache, &token("b", Signs::Rsa, Some("rsa"))), Ok(()));
    assert_eq!(keys.review(&issuers, &both, &set(&[okp])), Err(DocumentFault::NoFittingKey));
}

#[test]
fn an_issuer_that_shares_a_key_with_its_first_owner_uses_it_too() {
    let shares = |name: &str, other: &str| with(issuer(name), json!({ "shares_keys_with": [other] }));
    let issuers = compile(&json!({ "acme": issuer("acme"), "one": shares("one", "two"), "two": shares("two", "one") }));
    let mut keys = FetchedKeys::new();
    for (name, since) in [("two", 30), ("acme", 20), ("one", 10)] {
        keys.replace(&issuers, &[id(&issuers, name)], &set_since(since, &[key(Signs::P256(1), "k")]));
    }
    let used = ["acme", "one", "two"].map(|name| keys.of(id(&issuers, name)).is_some());
    assert_eq!(used, [false, true, true]);
}

#[test]
fn issuers_that_share_their_keys_both_use_them() {
    let shares = |name: &str, other: &str| with(issuer(name), json!({ "shares_keys_with": [other] }));
    let issuers = compile(&json!({ "a": shares("a", "b"), "b": shares("b", "a") }));
    let mut keys = FetchedKeys::new();
    for name in ["a", "b"] {
        assert_eq!(replace(&mut keys, &issuers, id(&issuers, name), &set(&[key(Signs::P256(1), "k")])).of_others, 0);
    }
}

#[test]
fn a_removed_key_verifies_nothing_any_more() {
    let (issuers, mut keys, mut cache) = (issuers(), FetchedKeys::new(), TokenCache::default());
    let a = id(&issuers, "a");
    let (one, two) = (key(Signs::P256(1), "1"), key(Signs::P256(2), "2"));
    replace(&mut keys, &issuers, a, &set(&[one.clone(), two.clone()]));
    let tokens = [token("a", Signs::P256(1), Some("1")), token("a", Signs::P256(2), Some("2"))];
    for token in &tokens {
        assert_eq!(verify(&issuers, &keys, &mut cache, token), Ok(()));
    }
    let forget = |cache: &mut TokenCache, keys: &FetchedKeys| {
        cache.forget(|token| token.fetched_key().is_none_or(|key| !keys.contains(a, key)));
    };
    // A key is added: nothing is removed.
    assert!(!replace(&mut keys, &issuers, a, &set(&[one.clone(), two.clone(), key(Signs::P256(3), "3")])).has_removed);
    let change = replace(&mut keys, &issuers, a, &set(std::slice::from_ref(&two)));
    assert_eq!((change.has_removed, change.removed.len()), (true, 2));
    forget(&mut cache, &keys);
    assert_eq!(cache.len(), 1, "only the token of the removed key is forgotten");
    assert_eq!(verify(&issuers, &keys, &mut cache, &tokens[0]), Err((Reason::TokenKey, true)));
    assert_eq!(verify(&issuers, &keys, &mut cache, &tokens[1]), Ok(()));
    // The name now belongs to another key.
    assert!(replace(&mut keys, &issuers, a, &set(&[key(Signs::P256(1), "2")])).has_removed);
    forget(&mut cache, &keys);
    assert_eq!(verify(&issuers, &keys, &mut cache, &tokens[1]), Err((Reason::TokenSignature, false)));
    // The keys are too old.
    assert!(keys.remove(&issuers, &[a])[0].1.has_removed);
    forget(&mut cache, &keys);
    assert_eq!(verify(&issuers, &keys, &mut cache, &tokens[1]), Err((Reason::KeysUnavailable, true)));
    assert!(cache.is_empty());
}

#[test]
fn a_key_that_is_restricted_to_another_algorithm_counts_as_narrowed() {
    let both = with(issuer("a"), json!({ "algorithms": ["RS256", "PS256"] }));
    let (issuers, mut keys) = (compile(&json!({ "a": both })), FetchedKeys::new());
    let a = id(&issuers, "a");
    let any = key(Signs::Rsa, "k");
    replace(&mut keys, &issuers, a, &set(std::slice::from_ref(&any)));
    let restricted = with(any, json!({ "alg": "PS256" }));
    let change = replace(&mut keys, &issuers, a, &set(&[restricted]));
    assert_eq!((change.has_narrowed, change.has_removed), (true, false));
}

#[test]
fn a_bundle_verifies_only_jwt_svids() {
    let remote = json!({ "remote": { "url": "https://a.example.com/jwks", "cluster": "a" } });
    let svid = json!({
        "profile": "jwt-svid", "trust_domain": "example.org", "algorithms": ["ES256"], "max_lifetime": "1h", "keys": remote,
    });
    let issuers = compile(&json!({ "a": issuer("a"), "svid": svid }));
    let bundle =
        json!({ "keys": [with(key(Signs::P256(1), "k"), json!({ "use": "jwt-svid" }))], "spiffe_sequence": 1 });
    let bundle = FetchedSet::parse(bundle.to_string().as_bytes()).unwrap();
    let (mut keys, mut cache) = (FetchedKeys::new(), TokenCache::default());
    assert_eq!(keys.review(&issuers, &[id(&issuers, "a")], &bundle), Err(DocumentFault::NoFittingKey));
    assert_eq!(keys.review(&issuers, &[id(&issuers, "svid")], &bundle), Ok(0));
    replace(&mut keys, &issuers, id(&issuers, "a"), &bundle);
    assert_eq!(
        verify(&issuers, &keys, &mut cache, &token("a", Signs::P256(1), Some("k"))),
        Err((Reason::KeysUnavailable, true)),
        "an access token"
    );
    replace(&mut keys, &issuers, id(&issuers, "svid"), &bundle);
    let claims = json!({
        "aud": "https://api.example.com", "sub": "spiffe://example.org/a", "iat": at(0).as_secs(), "exp": at(600).as_secs(),
    });
    let token = sign(Signs::P256(1), &json!({ "alg": "ES256", "kid": "k" }), &claims);
    assert_eq!(verify(&issuers, &keys, &mut cache, &token), Ok(()));
    // A set of the usual kind, as SPIRE's OIDC discovery provider has it, replaces the bundle.
    replace(&mut keys, &issuers, id(&issuers, "svid"), &set(&[key(Signs::P256(2), "k2")]));
    let header = json!({ "alg": "ES256", "kid": "k2" });
    assert_eq!(verify(&issuers, &keys, &mut cache, &sign(Signs::P256(2), &header, &claims)), Ok(()));
}
