use serde_json::{Value, json};

use super::super::tests::{compile, with};
use crate::text::time::Timestamp;

/// Returns the warnings of the policy with these changes.
fn warnings(changes: &[(&str, Value)]) -> Vec<String> {
    compile(with(changes)).unwrap().findings.warnings.iter().map(ToString::to_string).collect()
}

/// Asserts that the changed policy has one warning, and that its neighbor, which differs in one property, has no warning.
#[track_caller]
fn warns(changes: &[(&str, Value)], warning: &str, neighbor: &[(&str, Value)]) {
    let found = warnings(changes);
    let [only] = &found[..] else { panic!("one warning, not {found:#?}") };
    assert!(only.starts_with(warning), "{only}");
    assert_eq!(warnings(neighbor), [""; 0]);
}

#[test]
fn warns_about_a_pattern_in_an_identity() {
    for field in ["client_id", "subject"] {
        let identity = |value: &str| {
            let mut identity = json!({ "issuer": "corp", "client_id": "a" });
            identity[field] = json!(value);
            [("/agents/a/identity", identity)]
        };
        let place = format!("agents.a.identity.{field}: `*` is compared literally");
        warns(&identity("ci-*"), &place, &identity("ci-"));
    }
}

#[test]
fn warns_about_an_agent_identified_only_by_its_subject() {
    let subject = json!({ "issuer": "corp", "subject": "robot" });
    let both = json!({ "issuer": "corp", "subject": "robot", "client_id": "a" });
    warns(
        &[("/agents/a/identity", subject.clone())],
        "agents.a.identity.subject: every client of the issuer",
        &[("/agents/a/identity", both)],
    );
    // If tokens name no client, there is no better identity to recommend.
    let token = json!({ "typ": ["JWT"], "distinguished_by": "claims", "claims": { "repository": [] }, "scopes": [] });
    let jwt =
        [("/issuers/corp/profile", json!("jwt")), ("/issuers/corp/token", token), ("/agents/a/identity", subject)];
    assert_eq!(warnings(&jwt), [""; 0]);
}

/// Returns the changes to a policy for an agent with this identity, and for a class of clients with these claims.
fn with_class(identity: Value, claims: Value) -> [(&'static str, Value); 2] {
    let class = json!({
        "owner": "o", "identity": { "issuer": "corp", "claims": claims, "each": "client" }, "attributes": { "tenant": "t2" }
    });
    [("/agents/a/identity", identity), ("/agents/tools", class)]
}

#[test]
fn warns_about_a_client_that_can_belong_to_a_class() {
    let client = |claims: Value| json!({ "issuer": "corp", "client_id": "a", "claims": claims });
    let warning =
        "agents.a.identity: a token that matches this and has the claims of agent `tools` identifies two agents";
    let reviewed = || json!({ "reviewed": ["true"] });
    let manual = || client(json!({ "reviewed": ["false"] }));
    for (identity, claims) in [
        (client(json!({})), reviewed()),
        (client(json!({ "env": ["prod"] })), reviewed()),
        (client(json!({ "reviewed": ["false", "true"] })), reviewed()),
        (client(json!({})), json!({ "client_id": ["b", "a"] })),
        (client(json!({})), json!({ "/client_id": ["a"], "env": ["prod"] })),
        (client(json!({})), json!({ "sub": ["robot"] })),
        (json!({ "issuer": "corp", "client_id": "a", "subject": "robot" }), json!({ "sub": ["robot"] })),
    ] {
        warns(&with_class(identity, claims), warning, &with_class(manual(), reviewed()));
    }
}

#[test]
fn a_client_that_cannot_belong_to_a_class_causes_no_warning() {
    let client = || json!({ "issuer": "corp", "client_id": "a" });
    for (identity, claims) in [
        (client(), json!({ "client_id": ["b", "ab"] })),
        (client(), json!({ "/client_id": ["A"], "env": ["prod"] })),
        (json!({ "issuer": "corp", "client_id": "a", "subject": "robot" }), json!({ "sub": ["other"] })),
        (
            json!({ "issuer": "corp", "client_id": "a", "claims": { "reviewed": ["false"], "env": ["prod"] } }),
            json!({ "env": ["prod"], "reviewed": ["true"] }),
        ),
    ] {
        assert_eq!(warnings(&with_class(identity.clone(), claims.clone())), [""; 0], "{identity} {claims}");
    }
    // The client claim of this issuer has another name.
    let token = json!({
        "typ": ["JWT"], "distinguished_by": "claims", "claims": { "token_use": ["access"] }, "client": "azp", "scopes": [],
    });
    let jwt = |claims: Value| {
        let shape = [("/issuers/corp/profile", json!("jwt")), ("/issuers/corp/token", token.clone())];
        warnings(&[&shape[..], &with_class(client(), claims)].concat())
    };
    assert_eq!(jwt(json!({ "azp": ["b"] })), [""; 0]);
    assert_eq!(jwt(json!({ "client_id": ["b"] })).len(), 1);
}

#[test]
fn warns_about_an_issuer_over_plain_http() {
    warns(
        &[("/issuers/corp/issuer", json!("http://idp.example.com"))],
        "issuers.corp.issuer: clients get tokens from this issuer over plain `http`",
        &[("/issuers/corp/issuer", json!("https://idp.example.com/http://"))],
    );
}

#[test]
fn warns_about_an_audience_that_is_a_client_id() {
    let issuer = |audience: &str, by: &str| {
        let claims = json!({ "cid": [] });
        let token = json!({ "typ": ["JWT"], "distinguished_by": by, "claims": claims, "client": "cid", "scopes": [] });
        [
            ("/issuers/corp/profile", json!("jwt")),
            ("/issuers/corp/audience", json!(audience)),
            ("/issuers/corp/token", token),
        ]
    };
    let warning = "issuers.corp.audience: this is the `client_id` of agent `a`";
    warns(&issuer("a", "audience"), warning, &issuer("api", "audience"));
    assert_eq!(warnings(&issuer("a", "claims")), [""; 0]);
}

#[test]
fn warns_about_destructive_endpoints_that_are_observed_or_public() {
    let destructive = ("/endpoints/2/effect", json!("destructive"));
    let scopes = ("/endpoints/2/scopes", json!(["w"]));
    let observed = ("/endpoints/2/mode", json!("observe"));
    warns(
        &[destructive.clone(), scopes.clone(), observed.clone()],
        "endpoints[2].mode: `observe` denies nothing on this destructive endpoint; with `enforce` the requests that records \
         show as observed are denied, and `Authorization` no longer reaches the upstream",
        &[scopes.clone(), observed],
    );
    let keep = ("/upstream/authorization", json!("keep"));
    warns(
        &[destructive.clone(), scopes.clone(), ("/mode", json!("observe")), keep],
        "mode: `observe` denies nothing, not even on destructive endpoints (`put`); with `enforce` the requests that records \
         show as observed are denied",
        &[("/mode", json!("observe"))],
    );
    assert_eq!(warnings(&[destructive, scopes]), [""; 0]);
    warns(
        &[("/endpoints/0/effect", json!("destructive"))],
        "endpoints[0].access: anyone can use this destructive endpoint",
        &[("/endpoints/0/effect", json!("read"))],
    );
}

#[test]
fn warns_about_expensive_signatures_without_a_limit() {
    let higress = || vec![("/gateway", json!("higress")), ("/tables", json!({ "key": { "env": "KEY" } }))];
    let also = |more: &[(&'static str, Value)]| [higress(), more.to_vec()].concat();
    let limited = ("/auth_failure_limit", json!({ "rate": "10/1m", "burst": 10 }));
    let warning = "issuers.corp.algorithms: the filter itself computes `ES256` signatures on `higress`";
    warns(&also(&[]), warning, &also(&[limited]));
    // Envoy verifies these signatures itself.
    assert_eq!(warnings(&[]), [""; 0]);
    let ed25519 = [
        ("/issuers/corp/algorithms", json!(["Ed25519"])),
        (
            "/issuers/corp/keys/jwks/keys/0",
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }),
        ),
    ];
    assert_eq!(warnings(&also(&ed25519)), [""; 0]);
    let rsa = json!([{ "keyid": "k", "algorithm": "ecdsa-p256-sha256", "jwk": {
        "kty": "EC", "crv": "P-256", "kid": "k",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    } }]);
    let signing = also(&[&ed25519[..], &[("/agents/a/signing_keys", rsa)]].concat());
    assert_eq!(
        warnings(&signing)
            .iter()
            .filter(|warning| warning.starts_with("agents.a.signing_keys: the filter itself"))
            .count(),
        1
    );
    let portable = warnings(&[("/gateway", json!("portable")), ("/audit/log/allow", json!(true))]);
    assert!(portable.iter().any(|warning| warning.ends_with("; use `Ed25519` keys")), "{portable:#?}");
}

#[test]
fn warns_about_agents_that_expire_within_30_days() {
    const DAY: u64 = 86_400;
    // The first moment of 2027-07-01.
    const END: u64 = 1_814_400_000;
    let policy = |expires: Value| compile(with(&[("/agents/a/expires", expires)])).unwrap().policy;
    let at = |seconds: u64| {
        let warnings = policy(json!("2027-06-30")).warnings_at(Timestamp::from_secs(seconds));
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (moment, warning) in [
        (END - 30 * DAY - 1, None),
        (END - 30 * DAY, Some("agents.a.expires: this agent expires in 30 days; extend")),
        (END - 2 * DAY + 1, Some("agents.a.expires: this agent expires in 1 day; extend")),
        (END - 1, Some("agents.a.expires: this agent expires within a day; extend")),
        (END, Some("agents.a.expires: this agent has expired and")),
        (END + 400 * DAY, Some("agents.a.expires: this agent has expired and")),
    ] {
        let found = at(moment);
        assert_eq!(found.len(), usize::from(warning.is_some()), "{moment} {found:#?}");
        assert!(found.iter().all(|found| warning.is_some_and(|warning| found.starts_with(warning))), "{found:#?}");
    }
    assert_eq!(policy(Value::Null).warnings_at(Timestamp::from_secs(END)), []);
}
