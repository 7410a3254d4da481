//! Fetched key sets and metadata: what is accepted, and what workers share.

use serde_json::{Value, json};

use super::super::testing::{Signs, with};
use super::*;

fn key(signs: Signs, kid: &str) -> Value {
    with(signs.jwk(), json!({ "kid": kid }))
}

fn set(keys: &[Value]) -> FetchedSet {
    FetchedSet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn jwks(set: &FetchedSet) -> Vec<Value> {
    set.keys.iter().map(|key| key.jwk.clone().into()).collect()
}

fn since(set: &FetchedSet) -> Vec<u64> {
    set.keys.iter().map(|key| key.since.as_millis()).collect()
}

#[test]
fn a_key_keeps_its_time_while_it_stays_in_the_set() {
    let of = |numbers: &[u8]| set(&numbers.iter().map(|n| key(Signs::P256(*n), &format!("k{n}"))).collect::<Vec<_>>());
    let at = Monotonic::from_millis;
    let first = of(&[1, 2]).dated(at(10), [None, None]);
    assert_eq!(since(&first), [10, 10]);
    let published = FetchedSet::parse_published(&first.to_json()).unwrap();
    assert_eq!(published, first);
    // A new name does not make it a new key.
    let renamed =
        set(&[key(Signs::P256(3), "k3"), key(Signs::P256(1), "renamed")]).dated(at(20), [Some(&published), None]);
    assert_eq!(since(&renamed), [20, 10]);
    // The earlier of two times counts, from whichever set.
    for before in [[Some(&first), Some(&renamed)], [Some(&renamed), Some(&first)]] {
        assert_eq!(since(&of(&[1, 2, 3, 4]).dated(at(30), before)), [10, 10, 20, 30]);
    }
    // A key that returns counts as new, and a set that has not changed has the same bytes.
    assert_eq!(since(&of(&[2]).dated(at(30), [Some(&renamed), None])), [30]);
    assert_eq!(of(&[1, 2]).dated(at(40), [Some(&first), None]).to_json(), first.to_json());
}

#[test]
fn an_issuer_does_not_decide_since_when_it_has_a_key() {
    let own = json!({ "keys": [with(key(Signs::P256(1), "k"), json!({ "since": 0 }))], "since": [0] }).to_string();
    let parsed = FetchedSet::parse(own.as_bytes()).unwrap().dated(Monotonic::from_millis(10), [None, None]);
    assert_eq!((since(&parsed), jwks(&parsed)), (vec![10], vec![key(Signs::P256(1), "k")]));
}

#[test]
fn a_published_set_states_a_time_for_each_key() {
    let keys = json!([key(Signs::P256(1), "1"), key(Signs::P256(2), "2")]);
    let of = |since: Value| json!({ "keys": keys, "since": since }).to_string();
    assert_eq!(since(&FetchedSet::parse_published(of(json!([1, 2])).as_bytes()).unwrap()), [1, 2]);
    for other in [json!(null), json!([]), json!([1]), json!([1, 2, 3]), json!([1, -2]), json!([1, "2"]), json!({})] {
        let refused = FetchedSet::parse_published(of(other.clone()).as_bytes());
        assert_eq!(refused, Err(DocumentFault::Member("since")), "{other}");
    }
    let unusable = json!({ "keys": [key(Signs::P256(1), "1"), {}], "since": [1, 2] }).to_string();
    assert_eq!(FetchedSet::parse_published(unusable.as_bytes()), Err(DocumentFault::Member("since")));
    assert_eq!(FetchedSet::parse_published(b"{}"), Err(DocumentFault::Member("keys")));
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
    assert_eq!(jwks(&parsed), [key(Signs::P256(1), "k")]);
    assert_eq!(FetchedSet::parse_published(&parsed.to_json()).unwrap(), FetchedSet { dropped: 0, ..parsed });
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
    assert_eq!(jwks(&parsed(1)), [of(Signs::P256(2), "j", "jwt-svid")]);
    assert_eq!(FetchedSet::parse_published(&parsed(1).to_json()).unwrap(), FetchedSet { dropped: 0, ..parsed(1) });
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
    let kids: Vec<_> = jwks(&usual).iter().map(|jwk| jwk["kid"].clone()).collect();
    assert_eq!(kids, [json!("s"), json!("n")]);
}
