use serde_json::{Value, json};

use super::*;
use crate::testing::{self, NOW, with};

const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn document(changes: Value) -> Value {
    let document = testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": testing::agent("a") },
        "endpoints": [{ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none" }],
    }));
    with(document, changes)
}

fn compile(changes: Value) -> (Option<Policy>, Findings) {
    match Policy::from_value(document(changes), &testing::one_secret) {
        Ok(compiled) => (Some(compiled.policy), compiled.findings),
        Err(findings) => (None, findings),
    }
}

/// Returns the places and messages of the errors.
fn errors(changes: Value) -> Vec<String> {
    compile(changes).1.errors.iter().map(ToString::to_string).collect()
}

fn remote(changes: Value) -> Value {
    let usual = json!({ "url": "https://r.example.com/list", "cluster": "r" });
    json!({ "remote": with(usual, changes), "trusted": true, "on_stale": "keep" })
}

fn source(policy: &Policy) -> &Source {
    let (index, _) = policy.revocation_list().unwrap();
    &policy.documents[index].source
}

#[test]
fn a_policy_that_revokes_nothing_has_nothing_to_look_up() {
    assert!(compile(json!({})).0.unwrap().revocation.is_none());
    let suspended = with(testing::issuer(), json!({ "suspended": true }));
    for changes in [
        json!({ "revoked": [{ "agent": "a" }] }),
        json!({ "revocations": remote(json!({})) }),
        json!({ "issuers": { "corp": suspended } }),
    ] {
        assert!(compile(changes.clone()).0.unwrap().revocation.is_some(), "{changes}");
    }
}

#[test]
fn entries_have_their_errors_at_their_places() {
    for (entry, place, message) in [
        (json!({}), "revoked[0]", "names nothing"),
        (json!({ "agent": "b" }), "revoked[0].agent", "unknown agent `b`"),
        (json!({ "actor": "b" }), "revoked[0].actor", "unknown agent `b`"),
        (json!({ "issuer": "crop" }), "revoked[0].issuer", "did you mean `corp`?"),
        (json!({ "issuer": "crop", "kid": "k" }), "revoked[0].issuer", "unknown issuer `crop`"),
        (json!({ "issuer": "corp", "tenant": "acme" }), "revoked[0].tenant", "has no `tenants`"),
        (json!({ "token_sha256": "x" }), "revoked[0].token_sha256", "invalid hash"),
    ] {
        let errors = errors(json!({ "revoked": [entry] }));
        assert!(
            errors.len() == 1 && errors[0].starts_with(place) && errors[0].contains(message),
            "{entry}: {errors:?}"
        );
    }
}

#[test]
fn a_key_is_revoked_outright() {
    for (entry, warns) in [
        (json!({ "thumbprint": HASH, "issued_before": "2026-11-30" }), true),
        (json!({ "issuer": "corp", "kid": "k", "issued_before": "2026-11-30" }), true),
        (json!({ "agent": "a", "issued_before": "2026-11-30" }), false),
    ] {
        let (policy, findings) = compile(json!({ "revoked": [entry] }));
        assert!(policy.is_some());
        let warned = findings.warnings.iter().any(|finding| finding.to_string().contains("no effect"));
        assert_eq!(warned, warns, "{entry}");
    }
}

#[test]
fn an_entry_about_an_actor_needs_an_agent_that_can_be_one() {
    for (actor, warns) in [(json!(null), true), (json!({ "issuer": "corp", "sub": "a" }), false)] {
        let mut agent = testing::agent("a");
        agent["identity"] = with(agent["identity"].clone(), json!({ "actor": actor }));
        let (policy, findings) = compile(json!({ "agents": { "a": agent }, "revoked": [{ "actor": "a" }] }));
        assert!(policy.is_some(), "{:?}", findings.errors);
        let warned = findings.warnings.iter().any(|finding| finding.to_string().starts_with("revoked[0].actor: "));
        assert_eq!(warned, warns, "{actor}");
    }
}

#[test]
fn an_entry_that_has_ended_is_reported() {
    let revoked = json!([{ "agent": "a" }, { "agent": "a", "until": "2026-11-30T14:00:00Z" }]);
    let policy = compile(json!({ "revoked": revoked })).0.unwrap();
    let at = |seconds| {
        let warnings = policy.warnings_at(Timestamp::from_secs(seconds));
        warnings.iter().map(|finding| finding.place.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(at(1_796_047_199), [""; 0]);
    assert_eq!(at(1_796_047_200), ["revoked[1].until"]);
    assert_eq!(at(NOW), ["revoked[1].until"]);
}

#[test]
fn a_list_is_signed_or_trusted() {
    let jwk = with(crate::identity::token::testing::Signs::P256(1).jwk(), json!({ "kid": "k" }));
    let base = |changes: Value| with(remote(json!({})), changes);
    for (revocations, place, message) in [
        (base(json!({ "trusted": null })), "revocations.signed_by", "write the public key"),
        (base(json!({ "trusted": false })), "revocations.signed_by", "write the public key"),
        (base(json!({ "signed_by": jwk })), "revocations.trusted", "remove one of them"),
        (
            base(json!({ "trusted": null, "signed_by": with(jwk.clone(), json!({ "kid": null })) })),
            "revocations.signed_by.kid",
            "no `kid`",
        ),
        (
            base(json!({ "trusted": null, "signed_by": with(jwk.clone(), json!({ "d": "AA" })) })),
            "revocations.signed_by.d",
            "private",
        ),
        (
            base(json!({ "trusted": null, "signed_by": { "kty": "oct", "kid": "k" } })),
            "revocations.signed_by",
            "not supported",
        ),
    ] {
        let errors = errors(json!({ "revocations": revocations }));
        assert!(
            errors.len() == 1 && errors[0].starts_with(place) && errors[0].contains(message),
            "{revocations}: {errors:?}"
        );
    }
    assert!(compile(json!({ "revocations": base(json!({ "trusted": null, "signed_by": jwk })) })).0.is_some());
}

#[test]
fn times_have_defaults_and_bounds() {
    let policy = compile(json!({ "revocations": remote(json!({})) })).0.unwrap();
    let own = source(&policy);
    assert_eq!((own.refresh, own.timeout), (Duration::from_secs(10), Duration::from_secs(5)));
    for (changes, place) in [
        (json!({ "refresh": "0s" }), "revocations.remote.refresh"),
        (json!({ "refresh": "61m" }), "revocations.remote.refresh"),
        (json!({ "timeout": "0s" }), "revocations.remote.timeout"),
        (json!({ "timeout": "31s" }), "revocations.remote.timeout"),
    ] {
        let errors = errors(json!({ "revocations": remote(changes) }));
        assert!(errors.len() == 1 && errors[0].starts_with(place), "{errors:?}");
    }
    for (refresh, timeout) in [("1s", 1), ("3s", 3), ("5s", 5), ("1h", 5)] {
        let policy = compile(json!({ "revocations": remote(json!({ "refresh": refresh })) })).0.unwrap();
        assert_eq!(source(&policy).timeout, Duration::from_secs(timeout), "{refresh}");
    }
    for (timeout, is_valid) in [("9s", true), ("10s", true), ("11s", false)] {
        let errors = errors(json!({ "revocations": remote(json!({ "timeout": timeout })) }));
        assert_eq!(errors.is_empty(), is_valid, "{errors:?}");
        assert!(is_valid || errors[0].starts_with("revocations.remote.timeout: this is longer than `refresh`"));
    }
    for (stale, is_valid) in [("10s", true), ("9s", false), ("24h", true), ("25h", false)] {
        let revocations = with(remote(json!({})), json!({ "stale_after": stale }));
        assert_eq!(errors(json!({ "revocations": revocations })).is_empty(), is_valid, "{stale}");
    }
}

#[test]
fn only_a_list_that_must_be_fresh_is_dropped() {
    for (on_stale, expected) in [("deny", Duration::from_secs(3_600)), ("keep", Duration::MAX)] {
        let revocations = with(remote(json!({})), json!({ "on_stale": on_stale }));
        let policy = compile(json!({ "revocations": revocations })).0.unwrap();
        assert_eq!(source(&policy).stale_for, expected, "{on_stale}");
        assert_eq!(policy.revocation_list().unwrap().1.stale_after, Duration::from_secs(3_600));
    }
}

#[test]
fn a_list_of_another_signer_is_another_document() {
    let signs = crate::identity::token::testing::Signs::P256;
    let with_key = |n| json!({ "trusted": null, "signed_by": with(signs(n).jwk(), json!({ "kid": "k" })) });
    let compiled = |changes| compile(json!({ "revocations": with(remote(json!({})), changes) })).0.unwrap();
    let (trusted, one, two) = (compiled(json!({})), compiled(with_key(1)), compiled(with_key(2)));
    assert!(!source(&trusted).is_same_as(source(&one)) && !source(&one).is_same_as(source(&two)));
    assert!(source(&one).is_same_as(source(&compiled(with_key(1)))));
}

#[test]
fn gateways_differ_in_what_they_can_fetch_and_end() {
    let on = |gateway: &str, changes: Value| {
        let key = json!({ "gateway": gateway, "tables": { "key": { "env": "K" } } });
        errors(with(key, changes))
    };
    let found = on("portable", json!({ "revocations": remote(json!({})) }));
    assert!(
        found.iter().any(|error| error.starts_with("revocations:") && error.contains("no means to fetch")),
        "{found:?}"
    );
    let found = on("kong", json!({ "revocations": remote(json!({})) }));
    assert!(found.iter().any(|error| error.starts_with("revocations.remote.cluster")), "{found:?}");
    let address = json!({ "cluster": null, "address": "r.example.com:443" });
    assert_eq!(on("kong", json!({ "revocations": remote(address) })), [""; 0]);
    // Entries of the policy need nothing of the gateway.
    assert_eq!(on("portable", json!({ "revoked": [{ "agent": "a" }] })), [""; 0]);
    let streams = json!([{ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none", "streams": "recheck" }]);
    for (gateway, is_valid) in [("envoy", true), ("istio", true), ("kong", false), ("portable", false)] {
        let found = on(gateway, json!({ "endpoints": streams }));
        assert_eq!(
            !found.iter().any(|error| error.starts_with("endpoints[0].streams")),
            is_valid,
            "{gateway}: {found:?}"
        );
    }
}

#[test]
fn every_policy_publishes_what_it_revokes_where_the_gateway_can_pass_it_on() {
    let endpoint = json!({ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none" });
    let streams = json!([with(endpoint.clone(), json!({ "streams": "recheck" }))]);
    let compiled = |changes: Value| compile(changes).0.unwrap().published;
    let published = |changes: Value| compiled(changes).map(|published| published.entries.len());
    assert_eq!(published(json!({})), Some(0), "older policies learn that this one is newer");
    assert_eq!(published(json!({ "revoked": [{ "agent": "a" }] })), Some(1));
    assert_eq!(
        published(json!({ "revocations": remote(json!({})) })),
        Some(0),
        "entries of the fetched list are not its own"
    );
    let suspended = with(endpoint.clone(), json!({ "suspended": true }));
    assert_eq!(published(json!({ "endpoints": [suspended] })), Some(1));
    let agent = with(testing::agent("a"), json!({ "suspended": true }));
    assert_eq!(published(json!({ "agents": { "a": agent } })), Some(1));
    let issuer = with(testing::issuer(), json!({ "suspended": true }));
    assert_eq!(published(json!({ "issuers": { "corp": issuer } })), Some(1));
    assert_eq!(published(json!({ "endpoints": streams })), Some(0));
    let suspended = with(endpoint, json!({ "streams": "recheck", "suspended": true }));
    let all = json!({
        "endpoints": [suspended],
        "agents": { "a": with(testing::agent("a"), json!({ "suspended": true })) },
        "issuers": { "corp": with(testing::issuer(), json!({ "suspended": true })) },
        "revoked": [{ "agent": "a" }, { "issuer": "corp", "jti": "j" }],
    });
    assert_eq!(published(all), Some(4), "one entry for the agent is enough");
    // Other filters write into the same map there.
    for gateway in ["istio", "higress"] {
        let on = |changes: Value| published(with(json!({ "gateway": gateway }), changes));
        let key = json!({ "key": { "env": "K" } });
        assert_eq!(on(json!({})), None, "{gateway}");
        assert_eq!(on(json!({ "endpoints": streams })), None, "{gateway}");
        assert_eq!(on(json!({ "revoked": [{ "agent": "a" }] })), None, "{gateway}");
        assert_eq!(on(json!({ "tables": key })), Some(0), "{gateway}");
        assert_eq!(on(json!({ "tables": key, "revoked": [{ "agent": "a" }] })), Some(1), "{gateway}");
    }
    let kong = json!({ "gateway": "kong", "tables": { "key": { "env": "K" } }, "revoked": [{ "agent": "a" }] });
    assert_eq!(published(kong), None, "a zone could lose it");
    assert_eq!(published(json!({ "gateway": "portable", "revoked": [{ "agent": "a" }] })), None, "nothing is shared");
    // Policies that need no store for anything else must work without one.
    let is_required = |changes: Value| compiled(changes).unwrap().is_required;
    assert!(!is_required(json!({})));
    let needs = [
        json!({ "endpoints": streams }),
        json!({ "revoked": [{ "agent": "a" }] }),
        json!({ "revocations": remote(json!({})) }),
        json!({ "issuers": { "corp": with(testing::issuer(), json!({ "suspended": true })) } }),
    ];
    for policy in needs {
        assert!(is_required(policy.clone()), "{policy}");
    }
}

#[test]
fn a_zone_has_room_for_two_lists() {
    let address = json!({ "cluster": null, "address": "r.example.com:443" });
    let changes = json!({
        "gateway": "kong", "tables": { "key": { "env": "K" } }, "revocations": remote(address),
    });
    let policy = compile(changes).0.unwrap();
    assert!(policy.document_bytes().unwrap() >= 2 * MOST_PUBLISHED_BYTES as u64);
}

#[test]
fn a_list_for_another_audience_is_another_document() {
    let of = |audience: Value| {
        let changes = with(remote(json!({})), json!({ "audience": audience }));
        compile(json!({ "revocations": changes })).0.unwrap()
    };
    let (shop, desk, none) = (of(json!("shop")), of(json!("desk")), of(json!(null)));
    assert!(source(&shop).is_same_as(source(&of(json!("shop")))));
    assert!(!source(&shop).is_same_as(source(&desk)) && !source(&shop).is_same_as(source(&none)));
    let empty = with(remote(json!({})), json!({ "audience": "" }));
    let found = errors(json!({ "revocations": empty }));
    assert!(found.iter().any(|error| error.starts_with("revocations.audience: the audience is empty")), "{found:?}");
}
