//! Tests of the reach of callers that the corpus cannot state: several exclusions at once, explanations, and the scopes for the upstream.

use serde_json::{Value, json};

use super::super::{Outcome, evaluate};
use super::*;
use crate::decision::trace::{Trace, Traced};
use crate::decision::upstream::Change;
use crate::decision::{Decision, Denial};
use crate::identity::crypto::sha256;
use crate::identity::token::TokenCache;
use crate::policy::Policy;
use crate::quota::Recent;
use crate::request::headers::Headers;
use crate::request::incoming::{DecisionId, Request};
use crate::testing::{self, NOW, alone, with};

const KEY: &str = "cgk_0123456789abcdefghijkl";

fn policy(members: Value) -> Policy {
    let hash: String = sha256(KEY.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    testing::policy(testing::document(with(
        json!({
            "issuers": { "corp": testing::issuer() },
            "api_keys": { "header": "x-api-key" },
            "agents": {
                "a": with(testing::agent("a"), json!({
                    "scopes": ["own", "more"], "at_most": { "scopes": ["r", "own"], "effects": ["read"] }
                })),
                "b": with(testing::agent("b"), json!({ "api_keys": [{ "sha256": hash, "not_after": "2100-01-01" }] }))
            },
            "requirements": { "write": { "max_lifetime": "10m" } },
            "endpoints": [
                { "id": "get", "methods": ["GET"], "path": "/get", "effect": "read", "scopes": { "any": ["r", "own", "x"] } },
                { "id": "put", "methods": ["GET"], "path": "/put", "effect": "write", "scopes": "none", "agents": ["b"],
                  "max_age": "5m" },
                { "id": "x", "methods": ["GET"], "path": "/x", "effect": "read", "scopes": ["x"] }
            ]
        }),
        members,
    )))
}

fn token(client: &str, issued: u64, scope: &str) -> String {
    testing::bearer(json!({ "client_id": client, "iat": issued, "exp": issued + 900, "scope": scope }))
}

/// Passes the decision about a request with this credential to `then`, with the checks of the trace.
fn decided<T>(
    policy: &Policy,
    path: &str,
    credential: (&str, &str),
    then: impl FnOnce(&Decision<'_>, Vec<Traced>) -> T,
) -> T {
    let headers: Headers =
        [(":method", "GET"), (":path", path), (":authority", "api.example.com"), credential].into_iter().collect();
    let now = Timestamp::from_secs(NOW);
    let request =
        Request { headers: &headers, end_of_stream: true, source: None, certificate: None, now, id: DecisionId(7) };
    let (mut cache, recent, mut trace) = (TokenCache::default(), Recent::default(), Trace::new());
    let context = alone(&mut cache, &recent, Some(&mut trace));
    let Outcome::Decided(decision) = evaluate(policy, request, None, context) else { panic!("nothing has a body") };
    then(&decision, trace)
}

fn denials(policy: &Policy, path: &str, credential: (&str, &str)) -> Vec<(Reason, String)> {
    decided(policy, path, credential, |decision, _| {
        let denials = decision.facts().denials().iter();
        denials.map(|Denial { reason, rule, .. }| (*reason, rule.to_string())).collect()
    })
}

#[test]
fn observation_records_every_exclusion() {
    let observed = policy(json!({ "mode": "observe" }));
    // Just after the maximum age and the clock skew.
    let old = token("a", NOW - 361, "");
    assert_eq!(
        denials(&observed, "/put", ("authorization", &old)),
        [
            (Reason::AgentNotListed, "endpoints[1].agents".to_owned()),
            (Reason::AgentCeiling, "agents.a.at_most".to_owned()),
            (Reason::TokenTooOld, "endpoints[1].max_age".to_owned()),
            (Reason::TokenTooLongLived, "requirements.write.max_lifetime".to_owned()),
        ]
    );
    let enforced = policy(json!({}));
    let first = decided(&enforced, "/put", ("authorization", &old), |decision, _| match decision {
        Decision::Deny(deny) => deny.reason(),
        Decision::Allow(_) | Decision::Serve(_) => panic!("it is allowed"),
    });
    assert_eq!(first, Reason::AgentNotListed);
}

#[test]
fn a_credential_that_states_no_time_is_not_fresh() {
    let observed = policy(json!({ "mode": "observe" }));
    let found = denials(&observed, "/put", ("x-api-key", KEY));
    let reasons: Vec<Reason> = found.iter().map(|(reason, _)| *reason).collect();
    // The endpoint does not accept API keys, which is only observed.
    assert_eq!(reasons, [Reason::CredentialsMissing, Reason::TokenTooOld, Reason::TokenTooLongLived]);
}

#[test]
fn explains_only_what_is_restricted() {
    let policy = policy(json!({}));
    let reach = |path: &str, credential: &str| {
        decided(&policy, path, ("authorization", credential), |_, trace| {
            let checks = trace.into_iter().filter(|traced| traced.check == Check::Reach);
            checks.map(|traced| (traced.denied, traced.rule, traced.facts)).collect::<Vec<_>>()
        })
    };
    assert_eq!(reach("/get", &token("b", NOW, "r")), []);
    assert_eq!(reach("/get", &token("a", NOW, "r")), [(None, "endpoints[0]".to_owned(), vec![])]);
    let (denied, rule, facts) = reach("/put", &token("a", NOW, "")).swap_remove(0);
    assert_eq!((denied, rule.as_str()), (Some(Reason::AgentNotListed), "endpoints[1].agents"));
    assert_eq!(facts, [("agent", "a".to_owned()), ("listed", "b".to_owned())]);
    let aged = reach("/put", &token("b", NOW - 400, ""));
    assert_eq!(aged[0].0, Some(Reason::TokenTooOld));
    assert!(aged[0].2.contains(&("max_age", "300 s".to_owned())), "{aged:?}");
    assert!(aged[1].2.contains(&("max_lifetime", "600 s".to_owned())), "{aged:?}");
}

#[test]
fn only_scopes_within_the_ceiling_count_and_reach_the_upstream() {
    let policy = policy(json!({}));
    let sent = token("a", NOW, "r x y");
    let scopes = decided(&policy, "/get", ("authorization", &sent), |decision, _| {
        let Decision::Allow(allow) = decision else { panic!("it is denied") };
        let mut lines = Vec::new();
        allow.changes().iter().for_each(|change: &Change<'_>| change.apply(&mut lines));
        let line = lines.iter().find(|(name, _)| name == b"x-callgate-scopes").map(|(_, value)| value.clone());
        let record: Value = serde_json::from_slice(&decision.record().to_json()).unwrap();
        (String::from_utf8(line.unwrap()).unwrap(), record["scopes"].clone())
    });
    assert_eq!(scopes.0, "r own");
    assert_eq!(scopes.1, json!(["r", "x", "y", "own", "more"]), "the record has all");

    let answer = |path: &str, scope: &str| {
        decided(&policy, path, ("authorization", &token("a", NOW, scope)), |decision, _| match decision {
            Decision::Deny(deny) => Some((deny.reason(), deny.answer().headers)),
            Decision::Allow(_) | Decision::Serve(_) => None,
        })
    };
    assert!(answer("/get", "").is_none(), "the agent has `own` itself");
    // A new token with `x` would not help.
    for scope in ["x", ""] {
        let (reason, headers) = answer("/x", scope).unwrap();
        assert_eq!(reason, Reason::AgentCeiling);
        assert!(headers.iter().all(|(name, _)| *name != "www-authenticate"), "{headers:?}");
    }
}

#[test]
fn explains_which_scopes_count_for_own_requests_only() {
    let identity = json!({ "issuer": "corp", "client_id": "a", "actor": { "issuer": "corp", "sub": "a" } });
    let policy = testing::policy(testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": { "owner": "o", "identity": identity, "scopes": ["r", "x"] } },
        "delegation": {},
        "endpoints": [{
            "id": "get", "methods": ["GET"], "path": "/get", "effect": "read", "scopes": ["x"], "delegation": "allowed"
        }]
    })));
    let explained = |claims: Value| {
        let sent = testing::bearer(with(json!({ "client_id": "a", "scope": "r" }), claims));
        decided(&policy, "/get", ("authorization", &sent), |_, trace| {
            let scopes = trace.into_iter().find(|traced| traced.check == Check::Scopes).unwrap();
            (scopes.denied, scopes.facts)
        })
    };
    let requires = ("requires", "x".to_owned());
    assert_eq!(explained(json!({})), (None, vec![requires.clone(), ("has", "r x".to_owned())]));
    let withheld = ("only for own requests", "x".to_owned());
    assert_eq!(
        explained(json!({ "act": { "sub": "a" } })),
        (Some(Reason::InsufficientScope), vec![requires, ("has", "r".to_owned()), withheld])
    );
}
