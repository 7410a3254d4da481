//! Tests of delegation in policies, and of the agents that are actors.

use serde_json::{Value, json};

use super::super::tests::{compile, with};
use super::Delegation;

/// Returns changes that make a policy with an endpoint for requests of agent `a` for others.
fn delegating() -> Vec<(&'static str, Value)> {
    vec![
        ("/delegation", json!({})),
        ("/agents/a/identity/actor", json!({ "issuer": "corp", "sub": "a" })),
        ("/endpoints/1/delegation", json!("allowed")),
    ]
}

fn changed(changes: &[(&'static str, Value)]) -> Value {
    let mut all = delegating();
    all.extend_from_slice(changes);
    with(&all)
}

fn errors(policy: Value) -> Vec<String> {
    compile(policy)
        .map_or_else(|findings| findings, |compiled| compiled.findings)
        .errors
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Returns the warnings about actors.
fn warnings(policy: Value) -> Vec<String> {
    let warnings = compile(policy).unwrap().findings.warnings;
    warnings.iter().map(ToString::to_string).filter(|warning| warning.contains("actor")).collect()
}

/// Expects exactly one error, at this place and with these words.
fn refused(policy: Value, place: &str, words: &str) {
    let errors = errors(policy);
    let [error] = &errors[..] else { panic!("expected one error at {place} with `{words}`, not {errors:?}") };
    assert!(error.starts_with(&format!("{place}: ")) && error.contains(words), "{error}");
}

fn rules(policy: Value) -> Option<Delegation> {
    compile(policy).unwrap().policy.delegation
}

fn other_agent(identity: Value) -> Value {
    json!({ "owner": "o@example.com", "identity": identity })
}

#[test]
fn compiles_the_section_with_its_defaults() {
    assert_eq!(rules(changed(&[])), Some(Delegation { max_depth: 2, checks_prior: false }));
    let all = json!({ "max_depth": 8, "prior_actors": "checked", "actors": ["a"] });
    assert_eq!(rules(changed(&[("/delegation", all)])), Some(Delegation { max_depth: 8, checks_prior: true }));
    assert_eq!(rules(with(&[])), None);
}

#[test]
fn the_endpoint_decides_before_its_effect() {
    use crate::allowlist::Origin;
    use crate::document::{DelegationAsked, Effect};
    let of = |policy: Value| compile(policy).unwrap().policy.endpoints.list[1].delegation;
    let read = ("/requirements/read", json!({ "delegation": "required" }));
    let list = json!({ "id": "list", "methods": ["GET"], "path": "/y", "effect": "read", "scopes": "none" });
    let list = ("/endpoints/0", list);
    let rule = of(changed(&[list.clone(), read.clone()]));
    assert_eq!((rule.asked, rule.origin), (DelegationAsked::Allowed, Origin::Endpoint));
    let of_effect = with(&[
        ("/delegation", json!({})),
        ("/agents/a/identity/actor", json!({ "issuer": "corp", "sub": "a" })),
        list,
        read,
    ]);
    let rule = of(of_effect);
    assert_eq!((rule.asked, rule.origin), (DelegationAsked::Required, Origin::Effect(Effect::Read)));
    let rule = of(with(&[]));
    assert_eq!((rule.asked, rule.origin), (DelegationAsked::None, Origin::Endpoint));
}

#[test]
fn rejects_depths_that_are_not_from_one_to_eight() {
    for depth in [0, 9, 255, 256, 257] {
        refused(changed(&[("/delegation", json!({ "max_depth": depth }))]), "delegation.max_depth", "expected 1 to 8");
    }
    for depth in [1, 8] {
        assert_eq!(errors(changed(&[("/delegation", json!({ "max_depth": depth }))])), [""; 0]);
    }
}

#[test]
fn rejects_lists_of_actors_that_cannot_act() {
    let actors = |names: Value| ("/delegation", json!({ "actors": names }));
    refused(changed(&[actors(json!([]))]), "delegation.actors", "the list is empty");
    refused(changed(&[actors(json!(["aa"]))]), "delegation.actors[0]", "unknown agent `aa`");
    refused(changed(&[actors(json!(["a", "a"]))]), "delegation.actors[1]", "listed twice");
    let other = ("/agents/b", other_agent(json!({ "issuer": "corp", "client_id": "b" })));
    let group = |members: Value| ("/groups", json!({ "team": members }));
    assert_eq!(errors(changed(&[actors(json!(["team"])), other.clone(), group(json!(["b", "a"]))])), [""; 0]);
    refused(
        changed(&[actors(json!(["team"])), other.clone(), group(json!(["b"]))]),
        "delegation.actors[0]",
        "an agent of group `team`",
    );
    refused(changed(&[actors(json!(["a", "b"])), other]), "delegation.actors[1]", "write its `identity.actor`");
}

#[test]
fn rejects_endpoints_that_accept_what_nobody_can_send() {
    let endpoint = ("/endpoints/1/delegation", json!("allowed"));
    let effect = ("/requirements/read", json!({ "delegation": "required" }));
    for (change, place) in [(endpoint, "endpoints[1].delegation"), (effect, "requirements.read.delegation")] {
        let public = ("/endpoints/0/effect", json!("write"));
        let scopes = ("/requirements/write", Value::Null);
        let own = ("/endpoints/2/scopes", json!("none"));
        let policy = |more: &[(&'static str, Value)]| {
            let mut all = vec![public.clone(), scopes.clone(), own.clone(), change.clone()];
            all.extend_from_slice(more);
            with(&all)
        };
        refused(policy(&[]), place, "add `delegation` at the top level");
        refused(policy(&[("/delegation", json!({}))]), place, "no agent can be an actor");
    }
}

#[test]
fn rejects_public_endpoints_with_delegation() {
    for asked in ["none", "allowed", "required"] {
        refused(
            changed(&[("/endpoints/0/delegation", json!(asked))]),
            "endpoints[0].delegation",
            "a public endpoint does not check for whom",
        );
    }
    let required = ("/requirements/read", json!({ "delegation": "required" }));
    refused(changed(&[required]), "endpoints[0].effect", "a public endpoint needs no token");
    assert_eq!(errors(changed(&[("/requirements/read", json!({ "delegation": "allowed" }))])), [""; 0]);
}

#[test]
fn rejects_required_actors_where_tokens_are_not_accepted() {
    // The policy has no keys for signatures, which is another error.
    let policy =
        changed(&[("/endpoints/1/authenticate", json!("signature")), ("/endpoints/1/delegation", json!("required"))]);
    let errors = errors(policy);
    assert!(
        errors.iter().any(|error| error.contains("endpoints[1].authenticate: this endpoint requires a token")),
        "{errors:?}"
    );
}

#[test]
fn rejects_actors_that_cannot_be_found() {
    let actor = |actor: Value| changed(&[("/agents/a/identity/actor", actor)]);
    let place = "agents.a.identity.actor";
    refused(actor(json!({ "issuer": "corpo", "sub": "a" })), &format!("{place}.issuer"), "did you mean `corp`?");
    for sub in [String::new(), "x".repeat(257)] {
        refused(actor(json!({ "issuer": "corp", "sub": sub })), &format!("{place}.sub"), "1 to 256 bytes");
    }
    for iss in [String::new(), "https://a#b".to_owned(), "x".repeat(257)] {
        let policy = actor(json!({ "issuer": "corp", "sub": "a", "iss": iss }));
        refused(policy, &format!("{place}.iss"), "expected the exact `act.iss`");
    }
    let own = actor(json!({ "issuer": "corp", "sub": "a", "iss": "https://idp.example.com" }));
    refused(own, &format!("{place}.iss"), "which is the default");
    let clients = |clients: Value| actor(json!({ "issuer": "corp", "sub": "a", "clients": clients }));
    refused(clients(json!(["b", "b"])), &format!("{place}.clients[1]"), "listed twice");
    refused(clients(json!(["a"])), &format!("{place}.clients[0]"), "accepted already");
    refused(clients(json!([""])), &format!("{place}.clients[0]"), "the value is empty");
}

#[test]
fn rejects_actors_without_a_client_of_their_issuer() {
    let actor = json!({ "issuer": "corp", "sub": "a" });
    let identity = |identity: Value| changed(&[("/agents/a/identity", identity)]);
    let place = "agents.a.identity.actor.clients";
    refused(identity(json!({ "issuer": "corp", "subject": "a", "actor": actor })), place, "no client could send");
    // An agent can be an actor and nothing else.
    let only = json!({ "issuer": "corp", "actor": { "issuer": "corp", "sub": "a", "clients": ["gateway"] } });
    assert_eq!(errors(identity(only)), [""; 0]);
    // A client of another issuer with the same identifier is somebody else.
    let mut policy = changed(&[("/agents/a/identity/actor/issuer", json!("other"))]);
    let mut other = policy["issuers"]["corp"].clone();
    other["issuer"] = json!("https://other.example.com");
    other["shares_keys_with"] = json!(["corp"]);
    policy["issuers"]["corp"]["shares_keys_with"] = json!(["other"]);
    policy["issuers"]["other"] = other;
    refused(policy, place, "no client could send");
}

#[test]
fn rejects_two_agents_with_one_actor() {
    let twin = json!({ "issuer": "corp", "client_id": "b", "actor": { "issuer": "corp", "sub": "a" } });
    refused(changed(&[("/agents/b", other_agent(twin))]), "agents.b.identity.actor", "agent `a` is the same actor");
    let of_other = json!({
        "issuer": "corp", "client_id": "b", "actor": { "issuer": "corp", "sub": "a", "iss": "https://other.example.com" },
    });
    assert_eq!(errors(changed(&[("/agents/b", other_agent(of_other))])), [""; 0]);
}

#[test]
fn a_class_of_clients_is_no_actor() {
    let class = json!({
        "issuer": "corp", "claims": { "kind": ["bot"] }, "each": "client",
        "actor": { "issuer": "corp", "sub": "a", "clients": ["a"] },
    });
    refused(changed(&[("/agents/a/identity", class)]), "agents.a.identity.actor", "remove `each`");
}

#[test]
fn a_class_of_workloads_is_no_actor() {
    let class = json!({
        "spiffe": "spiffe://example.org/jobs/*", "actor": { "issuer": "corp", "sub": "a", "clients": ["a"] },
    });
    let tls = json!({ "client_certificates": "validated", "trust_domains": ["example.org"] });
    let policy = changed(&[("/agents/a/identity", class), ("/tls", tls)]);
    refused(policy, "agents.a.identity.actor", "describes many workloads");
}

#[test]
fn issuers_whose_tokens_contain_no_client_have_no_actors() {
    let mut policy =
        changed(&[("/agents/a/identity/actor", json!({ "issuer": "spire", "sub": "a", "clients": ["a"] }))]);
    let mut spire = policy["issuers"]["corp"].clone();
    spire["profile"] = json!("jwt-svid");
    spire["trust_domain"] = json!("example.org");
    spire["issuer"] = json!("https://spire.example.com");
    spire["shares_keys_with"] = json!(["corp"]);
    policy["issuers"]["corp"]["shares_keys_with"] = json!(["spire"]);
    policy["issuers"]["spire"] = spire;
    refused(policy, "agents.a.identity.actor.issuer", "another profile than `jwt-svid`");
}

#[test]
fn warns_of_delegation_that_has_no_effect() {
    assert_eq!(warnings(changed(&[])), [""; 0]);
    let unused = warnings(changed(&[("/endpoints/1/delegation", json!("none"))]));
    let [unused] = &unused[..] else { panic!("{unused:?}") };
    assert!(unused.starts_with("delegation: ") && unused.contains("every token with an actor is rejected"), "{unused}");
    let policy = with(&[("/agents/a/identity/actor", json!({ "issuer": "corp", "sub": "a" }))]);
    let unused = warnings(policy);
    let [unused] = &unused[..] else { panic!("{unused:?}") };
    assert!(unused.starts_with("agents.a.identity.actor: ") && unused.contains("add `delegation`"), "{unused}");
}
