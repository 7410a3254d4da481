//! A policy that needs a feature which its gateway lacks does not compile. Every other policy does.

use serde_json::{Value, json};

use super::super::tests::{compile, signed, with};
use super::{Numbers, must_accept};

const ALL: [&str; 7] = ["envoy", "envoy-module", "istio", "envoy-gateway", "higress", "kong", "portable"];

type Changes = Vec<(&'static str, Value)>;

fn limits() -> Changes {
    vec![
        ("/limits", json!({ "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } })),
        ("/endpoints/1/limits", json!(["calls"])),
    ]
}

fn key() -> Changes {
    vec![("/tables", json!({ "key": { "env": "TABLES_KEY" } }))]
}

fn errors(policy: Value) -> Vec<String> {
    compile(policy).map_or_else(|findings| findings.errors.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

fn warnings(policy: Value) -> Vec<String> {
    compile(policy).unwrap().findings.warnings.iter().map(ToString::to_string).collect()
}

/// Returns the gateways that reject these changes, with the beginnings of their messages.
fn refusals(document: impl Fn(&[(&str, Value)]) -> Value, changes: &Changes) -> Vec<(&'static str, Vec<String>)> {
    let told = |gateway| {
        let mut changes = changes.clone();
        changes.push(("/gateway", json!(gateway)));
        (gateway, errors(document(&changes)))
    };
    ALL.into_iter().map(told).filter(|(_, errors)| !errors.is_empty()).collect()
}

#[track_caller]
fn assert_refused(refused: &[(&str, Vec<String>)], expected: &[(&str, &str)]) {
    let gateways = |all: &[&str]| all.join(" ");
    let found: Vec<_> = refused.iter().map(|(gateway, _)| *gateway).collect();
    let wanted: Vec<_> = expected.iter().map(|(gateway, _)| *gateway).collect();
    assert_eq!(gateways(&found), gateways(&wanted), "{refused:#?}");
    for ((gateway, errors), (_, start)) in refused.iter().zip(expected) {
        assert!(errors.iter().any(|error| error.starts_with(start)), "{gateway}: {start}\n{errors:#?}");
    }
}

#[test]
fn a_policy_with_tokens_only_compiles_for_every_gateway() {
    assert_refused(&refusals(with, &vec![]), &[]);
}

#[test]
fn limits_require_shared_state_and_on_some_gateways_a_key() {
    let needs = [
        ("istio", "tables.key: other filters can write"),
        ("higress", "tables.key: other filters can write"),
        ("kong", "tables.key: the random numbers of this gateway are predictable"),
    ];
    let portable = |start| [needs[0], needs[1], needs[2], ("portable", start)];
    assert_refused(&refusals(with, &limits()), &portable("limits.calls: workers share no state on `portable`"));
    let failed = vec![("/auth_failure_limit", json!({ "rate": "10/1m", "burst": 5 }))];
    assert_refused(&refusals(with, &failed), &portable("auth_failure_limit: workers share no state"));
    let with_key: Changes = limits().into_iter().chain(key()).collect();
    assert_refused(&refusals(with, &with_key), &[("portable", "limits.calls: workers share no state")]);
    assert_refused(&refusals(with, &key()), &[]);
}

#[test]
fn tables_key_must_be_long_enough_and_used_nowhere_else() {
    use crate::identity::token::SecretLookup;
    use crate::policy::Policy;

    let environment = |value: &'static [u8]| {
        move |_: &str| if value.is_empty() { SecretLookup::Missing } else { SecretLookup::Found(value.to_vec()) }
    };
    let told = |document: Value, value| match Policy::from_value(document, &environment(value)) {
        Ok(compiled) => {
            let key = compiled.policy.tables_key.unwrap();
            assert_ne!(key.names(), key.seals());
            assert_eq!(format!("{key:?}"), "TablesKey(..)");
            Vec::new()
        }
        Err(findings) => findings.errors.iter().map(ToString::to_string).collect(),
    };
    let kong = |changes: &[(&str, Value)]| {
        let mut all: Changes = limits().into_iter().chain(key()).collect();
        all.extend([("/gateway", json!("kong"))]);
        with(&[&all[..], changes].concat())
    };
    let long = &[b'x'; 32];
    assert_eq!(told(kong(&[]), long), [""; 0]);
    assert!(
        told(kong(&[]), &long[1..])[0]
            .starts_with("tables.key.env: the key is too short; expected 32 random bytes or more")
    );
    assert!(told(kong(&[]), b"")[0].starts_with("tables.key.env: the environment variable `TABLES_KEY` is not set"));
    let mut shared = signed(&[("/gateway", json!("kong")), key()[0].clone()]);
    shared["agents"]["a"]["signing_keys"] = json!([{ "secret": { "env": "TABLES_KEY" }, "keyid": "k" }]);
    assert!(told(shared, long)[0].starts_with("tables.key.env: an issuer or an agent has this secret"));
}

#[test]
fn replay_protection_requires_shared_state() {
    let mut proven: Changes = limits().into_iter().chain(key()).collect();
    proven.push(("/dpop", json!({ "required": true, "algorithms": ["ES256"] })));
    proven.push(("/endpoints/2/limits", json!(["calls"])));
    assert_refused(
        &refusals(with, &proven),
        &[("portable", "dpop: workers share no state on `portable`, so replayed proofs cannot be rejected")],
    );
    let mut once: Changes = limits().into_iter().chain(key()).collect();
    once.extend([("/endpoints/1/signature", json!("required")), ("/endpoints/1/body", json!("stream"))]);
    assert_refused(
        &refusals(signed, &once),
        &[
            ("kong", "endpoints[1].body: `kong` buffers the whole body"),
            ("portable", "endpoints[1].replay: workers share no state on this gateway"),
        ],
    );
    let unlimited = vec![
        ("/endpoints/1/signature", json!("required")),
        ("/endpoints/1/body", json!("stream")),
        ("/endpoints/1/replay", json!(false)),
    ];
    assert_refused(&refusals(signed, &unlimited), &[("kong", "endpoints[1].body: `kong` buffers the whole body")]);
}

#[test]
fn signed_bodies_require_a_gateway_that_shows_bodies() {
    let mut changes: Changes = limits().into_iter().chain(key()).collect();
    changes.push(("/endpoints/1/signature", json!("required")));
    let late = "body_check: this gateway forwards the headers of a request before it has the body";
    let unseen = ("portable", "endpoints[1].body: this gateway does not pass bodies to the filter");
    assert_refused(
        &refusals(signed, &changes),
        &[("istio", late), ("envoy-gateway", late), ("higress", late), ("kong", late), unseen],
    );
    changes.push(("/body_check", json!("after_headers")));
    assert_refused(&refusals(signed, &changes), &[unseen]);
}

#[test]
fn warns_about_settings_without_effect_on_the_gateway() {
    let told = |gateway: &str, changes: &Changes| {
        let mut changes = changes.clone();
        changes.push(("/gateway", json!(gateway)));
        // Where the gateway does not verify signatures, the policy's algorithm causes another warning, which is filtered out.
        warnings(with(&changes)).into_iter().filter(|warning| !warning.starts_with("issuers.")).collect::<Vec<_>>()
    };
    let log = vec![("/audit", json!({ "log": { "allow": false, "deny": true }, "outcome": true }))];
    let found = told("portable", &log);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("audit.log.allow: `portable` can write records only"), "{found:#?}");
    assert!(found[1].starts_with("audit.outcome: `portable` does not report"), "{found:#?}");
    assert_eq!(told("kong", &log), Vec::<String>::new());
    let late = vec![("/body_check", json!("after_headers"))];
    assert!(told("envoy", &late)[0].starts_with("body_check: this gateway holds requests until"));
    assert!(
        told("portable", &late).iter().any(|warning| warning.starts_with("body_check: this gateway does not pass"))
    );
    assert!(told("portable", &key()).iter().any(|warning| warning.starts_with("tables.key: workers share no state")));
}

#[test]
fn reads_numbers_in_binary_or_decimal_form() {
    for (property, count) in [
        (&b"200"[..], Some(200)),
        (b"0", Some(0)),
        (b"-1", None),
        (b"", None),
        (b"2 ", None),
        (b"\xff", None),
        (b"99999999999999999999", None),
    ] {
        assert_eq!(Numbers::Decimal.count(property), count, "{}", property.escape_ascii());
    }
    assert_eq!(Numbers::Binary.count(&200u64.to_le_bytes()), Some(200));
    assert_eq!(Numbers::Binary.count(&(-1i64).to_le_bytes()), None);
    assert_eq!(Numbers::Binary.count(b"200"), None);
    for (property, nanoseconds) in [
        (&b"0.005"[..], Some(5_000_000)),
        (b"12.345", Some(12_345_000_000)),
        (b"12", None),
        (b"1.5", None),
        (b"-0.001", None),
        (b"99999999999999999.000", None),
    ] {
        assert_eq!(Numbers::Decimal.nanoseconds(property), nanoseconds, "{}", property.escape_ascii());
    }
    assert_eq!(Numbers::Binary.nanoseconds(&5u64.to_le_bytes()), Some(5));
}

#[test]
fn recognizes_a_kong_policy_even_if_it_is_invalid() {
    for (configuration, stops) in [
        (&br#"{"gateway":"kong"}"#[..], true),
        (br#"{"gateway" : "kong", "callgate": "v1", "x": 1}"#, true),
        (br#"{"gateway":"kong","#, true),
        (br#"{"a":1,"a":2,"gateway": "kong"}"#, true),
        (br#"{"gateway":"envoy"}"#, false),
        (br#"{"gateway":"envoy","attributes":{"gateway":"kong"}}"#, false),
        (br#"{"gateway":"envoy","#, false),
        (br#""gateway""#, false),
        (b"kong", false),
        (b"\xff\x00", false),
        (b"", false),
    ] {
        assert_eq!(must_accept(configuration, None), stops, "{}", configuration.escape_ascii());
        // The variable overrides the configuration.
        for (variable, accepted) in [("kong", true), ("portable", true), ("Kong", true), ("", true), ("envoy", false)] {
            assert_eq!(must_accept(configuration, Some(variable.as_bytes())), accepted, "{variable}");
        }
        assert!(must_accept(configuration, Some(b"\xff")));
    }
}
