//! Fetched key sets: what is accepted, which key verifies a token, and what a change of keys means for verified tokens.

use serde_json::{Value, json};

use super::super::testing::{Signs, at, compile, sign, with};
use super::super::{IssuerId, TokenCache};
use super::*;
use crate::identity::crypto::SoftwareVerifier;
use crate::reason::Reason;

fn key(signs: Signs, kid: &str) -> Value {
    with(signs.jwk(), json!({ "kid": kid }))
}

fn set(keys: &[Value]) -> FetchedSet {
    FetchedSet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
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
fn a_set_keeps_only_usable_keys_and_their_necessary_members() {
    let certified =
        with(key(Signs::P256(1), "k"), json!({ "x5c": ["MII"], "x5t": "t", "use": "sig", "key_ops": ["verify"] }));
    let parsed = set(&[
        certified,
        with(key(Signs::P256(2), "enc"), json!({ "use": "enc" })),
        with(key(Signs::P256(3), "weak"), json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" })),
        with(key(Signs::P256(4), "private"), json!({ "d": "x" })),
        json!("text"),
        json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "secret" }),
    ]);
    assert_eq!(parsed.dropped, 5);
    assert_eq!(parsed.keys, [key(Signs::P256(1), "k").as_object().unwrap().clone()]);
    assert_eq!(FetchedSet::parse(&parsed.to_json()).unwrap(), FetchedSet { dropped: 0, ..parsed });
}

#[test]
fn the_first_of_several_keys_with_one_name_counts() {
    let parsed = set(&[key(Signs::P256(1), "k"), key(Signs::P256(2), "k"), Signs::P256(3).jwk(), Signs::P256(3).jwk()]);
    assert_eq!((parsed.keys.len(), parsed.dropped), (2, 2));
    // The same key may have two names.
    assert_eq!(set(&[key(Signs::P256(1), "k"), key(Signs::P256(1), "l")]).dropped, 0);
}

#[test]
fn other_documents_are_not_key_sets() {
    let long = "k".repeat(300);
    let many: Vec<_> = (0..101).map(|number| key(Signs::Ed25519(number), &number.to_string())).collect();
    for (document, fault) in [
        ("", DocumentFault::Json(String::new())),
        ("<!DOCTYPE html><html></html>", DocumentFault::Json(String::new())),
        ("[]", DocumentFault::Member("keys")),
        ("{}", DocumentFault::Member("keys")),
        (r#"{"keys":{}}"#, DocumentFault::Member("keys")),
        (r#"{"keys":[]}"#, DocumentFault::NoKey),
        (r#"{"keys":[{}]}"#, DocumentFault::NoKey),
        (&json!({ "keys": [key(Signs::P256(1), &long)] }).to_string(), DocumentFault::NoKey),
        (&json!({ "keys": many }).to_string(), DocumentFault::Keys(101)),
        (&" ".repeat(MAX_FETCHED_BYTES + 1), DocumentFault::Size),
        (r#"{"keys":[],"keys":[]}"#, DocumentFault::Json(String::new())),
    ] {
        let refused = FetchedSet::parse(document.as_bytes()).unwrap_err();
        match fault {
            DocumentFault::Json(_) => assert!(matches!(refused, DocumentFault::Json(_)), "{document}: {refused:?}"),
            fault => assert_eq!(refused, fault),
        }
    }
    let most: Vec<_> = (0..100).map(|number| key(Signs::Ed25519(number), &number.to_string())).collect();
    assert_eq!(set(&most).keys.len(), 100);
}

#[test]
fn metadata_must_be_of_the_issuer() {
    let url = |metadata: Value| key_set_url(metadata.to_string().as_bytes(), "https://a.example.com");
    let good = json!({ "issuer": "https://a.example.com", "jwks_uri": "https://a.example.com/jwks" });
    assert_eq!(url(good.clone()), Ok("https://a.example.com/jwks".to_owned()));
    for issuer in ["https://a.example.com/", "https://A.example.com", "https://b.example.com", ""] {
        assert_eq!(url(with(good.clone(), json!({ "issuer": issuer }))), Err(DocumentFault::Issuer(issuer.to_owned())));
    }
    assert_eq!(
        url(with(good.clone(), json!({ "issuer": ["https://a.example.com"] }))),
        Err(DocumentFault::Member("issuer"))
    );
    assert_eq!(url(with(good.clone(), json!({ "issuer": null }))), Err(DocumentFault::Member("issuer")));
    // The variable of an issuer with tenants may have another name, and nothing else may differ.
    let of_template = |issuer: &str| {
        let metadata = json!({ "issuer": issuer, "jwks_uri": "https://a.example.com/jwks" });
        key_set_url(metadata.to_string().as_bytes(), "https://a.example.com/{tid}/v2.0").is_ok()
    };
    assert!(of_template("https://a.example.com/{tenantid}/v2.0") && of_template("https://a.example.com/{tid}/v2.0"));
    for other in
        ["https://a.example.com/acme/v2.0", "https://a.example.com/{tid}/v1.0", "https://b.example.com/{tid}/v2.0"]
    {
        assert!(!of_template(other), "{other}");
    }
    assert_eq!(url(with(good, json!({ "jwks_uri": 1 }))), Err(DocumentFault::Member("jwks_uri")));
}

#[test]
fn a_token_waits_until_its_key_is_there() {
    let (issuers, mut keys, mut cache) = (issuers(), FetchedKeys::new(), TokenCache::default());
    let token = token("a", Signs::P256(1), Some("k"));
    assert_eq!(verify(&issuers, &keys, &mut cache, &token), Err((Reason::KeysUnavailable, true)));
    keys.replace(&issuers, id(&issuers, "a"), &set(&[key(Signs::P256(2), "other")]));
    assert_eq!(verify(&issuers, &keys, &mut cache, &token), Err((Reason::TokenKey, true)));
    keys.replace(&issuers, id(&issuers, "a"), &set(&[key(Signs::P256(2), "other"), key(Signs::P256(1), "k")]));
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
    keys.replace(&issuers, id(&issuers, "a"), &set(&[key(Signs::P256(1), "k")]));
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
    keys.replace(&issuers, id(&issuers, "a"), &set(&of(1..6)));
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
    keys.replace(&issuers, id(&issuers, "a"), &set(&[key(Signs::P256(1), "k")]));
    keys.replace(&issuers, id(&issuers, "b"), &set(&[key(Signs::P256(2), "k")]));
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
    keys.replace(&issuers, a, &set(&[key(Signs::P256(1), "k")]));
    let change = keys.replace(&issuers, b, &set(&[key(Signs::P256(1), "stolen"), key(Signs::P256(2), "own")]));
    assert_eq!((change.of_others, change.added), (1, vec!["own".to_owned()]));
    assert_eq!(verify(&issuers, &keys, &mut cache, &token("a", Signs::P256(1), Some("k"))), Ok(()));
    assert_eq!(
        verify(&issuers, &keys, &mut cache, &token("b", Signs::P256(1), Some("stolen"))),
        Err((Reason::TokenKey, true))
    );
    // The same holds for a key in the policy itself.
    let inline = with(issuer("a"), json!({ "keys": { "jwks": { "keys": [key(Signs::P256(1), "k")] } } }));
    let issuers = compile(&json!({ "a": inline, "b": issuer("b") }));
    let change = FetchedKeys::new().replace(&issuers, id(&issuers, "b"), &set(&[key(Signs::P256(1), "stolen")]));
    assert_eq!(change.of_others, 1);
}

#[test]
fn issuers_that_share_their_keys_both_use_them() {
    let shares = |name: &str, other: &str| with(issuer(name), json!({ "shares_keys_with": [other] }));
    let issuers = compile(&json!({ "a": shares("a", "b"), "b": shares("b", "a") }));
    let mut keys = FetchedKeys::new();
    for name in ["a", "b"] {
        assert_eq!(keys.replace(&issuers, id(&issuers, name), &set(&[key(Signs::P256(1), "k")])).of_others, 0);
    }
}

#[test]
fn a_removed_key_verifies_nothing_any_more() {
    let (issuers, mut keys, mut cache) = (issuers(), FetchedKeys::new(), TokenCache::default());
    let a = id(&issuers, "a");
    let (one, two) = (key(Signs::P256(1), "1"), key(Signs::P256(2), "2"));
    keys.replace(&issuers, a, &set(&[one.clone(), two.clone()]));
    let tokens = [token("a", Signs::P256(1), Some("1")), token("a", Signs::P256(2), Some("2"))];
    for token in &tokens {
        assert_eq!(verify(&issuers, &keys, &mut cache, token), Ok(()));
    }
    let forget = |cache: &mut TokenCache, keys: &FetchedKeys| {
        cache.forget(|token| token.fetched_key().is_none_or(|key| !keys.contains(a, key)));
    };
    // A key is added: nothing is removed.
    assert!(!keys.replace(&issuers, a, &set(&[one.clone(), two.clone(), key(Signs::P256(3), "3")])).has_removed);
    let change = keys.replace(&issuers, a, &set(std::slice::from_ref(&two)));
    assert_eq!((change.has_removed, change.removed.len()), (true, 2));
    forget(&mut cache, &keys);
    assert_eq!(cache.len(), 1, "only the token of the removed key is forgotten");
    assert_eq!(verify(&issuers, &keys, &mut cache, &tokens[0]), Err((Reason::TokenKey, true)));
    assert_eq!(verify(&issuers, &keys, &mut cache, &tokens[1]), Ok(()));
    // The name now belongs to another key.
    assert!(keys.replace(&issuers, a, &set(&[key(Signs::P256(1), "2")])).has_removed);
    forget(&mut cache, &keys);
    assert_eq!(verify(&issuers, &keys, &mut cache, &tokens[1]), Err((Reason::TokenSignature, false)));
    // The keys are too old.
    assert!(keys.remove(a).has_removed);
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
    keys.replace(&issuers, a, &set(std::slice::from_ref(&any)));
    let restricted = with(any, json!({ "alg": "PS256" }));
    let change = keys.replace(&issuers, a, &set(&[restricted]));
    assert_eq!((change.has_narrowed, change.has_removed), (true, false));
}

#[test]
fn a_bundle_stays_a_bundle_and_loses_its_keys_for_certificates() {
    let of = |signs: Signs, kid: &str, usage: &str| with(key(signs, kid), json!({ "use": usage }));
    let certificate = with(of(Signs::P256(1), "x", "x509-svid"), json!({ "kid": null, "x5c": ["MII"] }));
    let document = |number: u64| {
        json!({
            "keys": [certificate, of(Signs::P256(2), "j", "jwt-svid"), of(Signs::P256(3), "s", "sig"), key(Signs::P256(4), "n")],
            "spiffe_sequence": number, "spiffe_refresh_hint": 300,
        })
    };
    let parsed = |number: u64| FetchedSet::parse(document(number).to_string().as_bytes()).unwrap();
    // The key for certificates is not reported as dropped, because every bundle has one.
    assert_eq!(parsed(1).dropped, 2);
    assert_eq!(parsed(1).keys, [of(Signs::P256(2), "j", "jwt-svid").as_object().unwrap().clone()]);
    assert_eq!(FetchedSet::parse(&parsed(1).to_json()).unwrap(), FetchedSet { dropped: 0, ..parsed(1) });
    // A new version with the same keys is no change.
    assert_eq!(parsed(1).to_json(), parsed(2).to_json());

    for (keys, fault) in [
        (json!([certificate]), DocumentFault::NoKey),
        (json!([key(Signs::P256(2), "j")]), DocumentFault::NoKey),
        (json!([with(of(Signs::P256(2), "j", "jwt-svid"), json!({ "kid": null }))]), DocumentFault::NoKey),
    ] {
        let bundle = json!({ "keys": keys, "spiffe_sequence": 1 });
        assert_eq!(FetchedSet::parse(bundle.to_string().as_bytes()), Err(fault), "{bundle}");
    }
    // Without the member that makes a bundle, the usual rules apply.
    let usual = with(document(1), json!({ "spiffe_sequence": null }));
    let usual = FetchedSet::parse(usual.to_string().as_bytes()).unwrap();
    let kids: Vec<_> = usual.keys.iter().map(|jwk| jwk["kid"].clone()).collect();
    assert_eq!(kids, [json!("s"), json!("n")]);
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
    keys.replace(&issuers, id(&issuers, "a"), &bundle);
    assert_eq!(
        verify(&issuers, &keys, &mut cache, &token("a", Signs::P256(1), Some("k"))),
        Err((Reason::TokenKey, true)),
        "an access token"
    );
    keys.replace(&issuers, id(&issuers, "svid"), &bundle);
    let claims = json!({
        "aud": "https://api.example.com", "sub": "spiffe://example.org/a", "iat": at(0).as_secs(), "exp": at(600).as_secs(),
    });
    let token = sign(Signs::P256(1), &json!({ "alg": "ES256", "kid": "k" }), &claims);
    assert_eq!(verify(&issuers, &keys, &mut cache, &token), Ok(()));
    // A set of the usual kind, as SPIRE's OIDC discovery provider has it, replaces the bundle.
    keys.replace(&issuers, id(&issuers, "svid"), &set(&[key(Signs::P256(2), "k2")]));
    let header = json!({ "alg": "ES256", "kid": "k2" });
    assert_eq!(verify(&issuers, &keys, &mut cache, &sign(Signs::P256(2), &header, &claims)), Ok(()));
}
