use std::time::Duration;

use serde_json::{Value, json};

use crate::document::{Authenticate, Effect, SignatureAsked};
use crate::policy::{Agent, Endpoint, Policy, Reachable};
use crate::testing;

fn policy() -> Policy {
    let limit = json!({ "per": "agent", "rate": "1/1m", "burst": 5 });
    testing::policy(testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "unregistered": "allow",
        "agents": {
            "a": testing::with(testing::agent("a"), json!({ "at_most": { "scopes": ["r"], "effects": ["read"] }, "scopes": ["own"] })),
            "b": testing::agent("b"),
            "c": testing::with(testing::agent("c"), json!({ "at_most": { "endpoints": ["put"] } }))
        },
        "groups": { "writers": ["b"] },
        "limits": { "calls": limit },
        "requirements": { "write": { "scopes": ["w"], "max_lifetime": "10m" } },
        "endpoints": [
            { "id": "open", "methods": ["GET"], "path": "/open", "effect": "read", "access": "public" },
            { "id": "get", "methods": ["GET", "HEAD"], "path": "/x/{id}", "effect": "read", "scopes": { "all": ["r"], "any": ["r", "s"] },
              "bind": { "path.id": "token.org" }, "limits": ["calls"], "max_age": "5m" },
            { "id": "other", "methods": ["GET"], "path": "/other", "effect": "read", "scopes": ["s"] },
            { "id": "put", "methods": ["PUT"], "path": "/x/{id}", "effect": "write", "scopes": "none", "agents": ["writers", "c"] },
            { "id": "mcp", "methods": ["POST"], "path": "/mcp", "effect": "read", "scopes": "none", "rpc": {
                "protocol": "mcp", "revisions": ["2025-11-25"],
                "tools": [
                    { "name": "look", "effect": "read", "scopes": "none", "bind": { "argument./org": "token.org" } },
                    { "name": "make", "effect": "write", "scopes": "none" },
                    { "name": "listed", "effect": "read", "scopes": ["s"], "agents": ["writers"] },
                    { "name": "scoped", "effect": "read", "scopes": ["s"] }
                ]
            } }
        ]
    })))
}

fn agent<'p>(policy: &'p Policy, name: &str) -> &'p Agent {
    policy.registered_agents().find(|agent| *agent.name == *name).unwrap()
}

fn endpoint<'p>(policy: &'p Policy, id: &str) -> &'p Endpoint {
    policy.endpoints().iter().find(|endpoint| *endpoint.id == *id).unwrap()
}

#[test]
fn agents_reach_what_lists_and_ceilings_leave() {
    let policy = policy();
    for (name, reaches) in [
        ("a", [Reachable::Yes, Reachable::Yes, Reachable::Ceiling, Reachable::NotListed, Reachable::Yes]),
        ("b", [Reachable::Yes, Reachable::Yes, Reachable::Yes, Reachable::Yes, Reachable::Yes]),
        ("c", [Reachable::Yes, Reachable::Ceiling, Reachable::Ceiling, Reachable::Yes, Reachable::Ceiling]),
    ] {
        let found: Vec<_> =
            policy.endpoints().iter().map(|endpoint| policy.reach_of(agent(&policy, name), endpoint)).collect();
        assert_eq!(found, reaches, "{name}");
    }
    let unregistered: Vec<_> =
        policy.endpoints().iter().map(|endpoint| policy.reach_of_unregistered(endpoint)).collect();
    assert_eq!(unregistered, [Reachable::Yes, Reachable::Yes, Reachable::Yes, Reachable::NotListed, Reachable::Yes]);
    assert!(policy.accepts_unregistered());
}

#[test]
fn operations_are_reached_only_with_their_endpoint() {
    let policy = policy();
    let reached = |name: Option<&str>| {
        let agent = name.map(|name| agent(&policy, name));
        let operations = policy.operations_of(agent, endpoint(&policy, "mcp"));
        operations.iter().map(|operation| operation.reachable).collect::<Vec<_>>()
    };
    assert_eq!(reached(Some("a")), [Reachable::Yes, Reachable::Ceiling, Reachable::NotListed, Reachable::Ceiling]);
    assert_eq!(reached(Some("b")), [Reachable::Yes; 4]);
    assert_eq!(reached(Some("c")), [Reachable::Ceiling; 4]);
    assert_eq!(reached(None), [Reachable::Yes, Reachable::Yes, Reachable::NotListed, Reachable::Yes]);
    let look = &policy.operations_of(None, endpoint(&policy, "mcp"))[0];
    assert_eq!((look.kind, look.name, look.effect), ("tool", "look", Effect::Read));
    assert_eq!(look.bindings, [("argument./org", "equals", "token.org")]);
    let make = &policy.operations_of(None, endpoint(&policy, "mcp"))[1];
    assert_eq!(make.scopes, (vec!["w"], vec![]));
    assert_eq!(policy.operations_of(None, endpoint(&policy, "get")), []);
}

#[test]
fn endpoints_state_what_they_require() {
    let policy = policy();
    let get = endpoint(&policy, "get");
    assert_eq!(get.methods().collect::<Vec<_>>(), ["GET", "HEAD"]);
    assert_eq!((get.path(), get.effect(), get.is_public(), get.observes()), ("/x/{id}", Effect::Read, false, false));
    assert_eq!(get.required_scopes(), (vec!["r"], vec![vec!["r", "s"]]));
    assert_eq!(get.bindings().collect::<Vec<_>>(), [("path.id", "equals", "token.org")]);
    assert_eq!(get.accepted_credentials(), [Authenticate::Token]);
    assert_eq!((get.requires_bound_token(), get.asks_signature()), (false, None::<SignatureAsked>));
    assert_eq!(get.limits(&policy).collect::<Vec<_>>(), ["calls"]);
    assert_eq!((get.max_age(), get.max_lifetime()), (Some(Duration::from_secs(300)), None));
    assert!(!get.lists_agents() && endpoint(&policy, "open").is_public());
    let put = endpoint(&policy, "put");
    assert_eq!((put.max_age(), put.max_lifetime()), (None, Some(Duration::from_secs(600))));
    assert_eq!(put.required_scopes(), (vec!["w"], Vec::new()));
    assert!(put.lists_agents());
    let a = agent(&policy, "a");
    assert_eq!(a.own_scopes().collect::<Vec<_>>(), ["own"]);
    assert!(a.has_ceiling() && a.permits_scope("r") && !a.permits_scope("own"));
    assert!(!agent(&policy, "b").has_ceiling() && agent(&policy, "b").permits_scope("anything"));
}

#[test]
fn a_body_binding_is_among_the_bindings() {
    let document: Value = testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": testing::agent("a") },
        "endpoints": [{ "id": "post", "methods": ["POST"], "path": "/x", "effect": "write", "scopes": "none",
                        "bind": { "body./owner": "token.org", "query.n": { "at_most": 9 } } }]
    }));
    let policy = testing::policy(document);
    let bindings: Vec<_> = policy.endpoints()[0].bindings().collect();
    assert_eq!(bindings, [("query.n", "at_most", "9"), ("body./owner", "equals", "token.org")]);
}
