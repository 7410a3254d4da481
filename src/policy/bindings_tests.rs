use serde_json::{Value, json};

use super::super::tests::{compile, with};
use crate::document::Findings;

/// Returns the findings of a policy with this rule for a header, whose agents have these attributes.
fn findings(rule: &Value) -> Findings {
    let other = json!({
        "owner": "o", "identity": { "issuer": "corp", "client_id": "b" },
        "attributes": { "root": ["/srv/a", "b"], "budget": "1,000", "limit": 5 }
    });
    let policy = with(&[
        ("/agents/a/attributes", json!({ "root": "/srv/", "budget": "99.50", "limit": 1000 })),
        ("/agents/b", other),
        ("/endpoints/1/bind", json!({ "header.x-a": rule })),
    ]);
    compile(policy).map_or_else(|findings| findings, |compiled| compiled.findings)
}

fn messages(rule: &Value) -> Vec<String> {
    findings(rule).errors.iter().map(ToString::to_string).collect()
}

#[test]
fn compiles_every_operator() {
    for rule in [
        json!("token.org"),
        json!({ "equals": "token./org/id" }),
        json!({ "equals": "agent.limit" }),
        json!({ "equals": 7 }),
        json!({ "equals": { "literal": -7 } }),
        json!({ "in": "agent.root" }),
        json!({ "in": ["EUR", 840] }),
        json!({ "prefix": "token.root" }),
        json!({ "prefix": { "literal": "/srv/acme" } }),
        json!({ "prefix": { "literal": "acme" } }),
        json!({ "at_most": "agent.limit" }),
        json!({ "at_most": "token.limit" }),
        json!({ "at_most": 0 }),
        json!({ "at_most": { "literal": "99.50" } }),
        json!({ "at_most": { "literal": "1e3" } }),
    ] {
        assert_eq!(findings(&rule), Findings::default(), "{rule}");
    }
}

#[test]
fn rejects_values_with_which_an_operator_never_holds() {
    for (rule, message) in [
        (json!({ "equals": "eu" }), "`eu` is not an attribute of the caller; expected `token.CLAIM`"),
        (json!({ "prefix": "/srv/acme" }), "`/srv/acme` is not an attribute of the caller"),
        (json!({ "at_most": "agent.limits" }), "no agent has the attribute `limits`; did you mean `limit`?"),
        (json!({ "at_most": "token." }), "invalid claim name"),
        (json!({ "equals": { "literal": "" } }), "`equals` never matches this value; expected text that is not empty"),
        (json!({ "equals": ["eu"] }), "a list of values belongs to the operator `in`"),
        (json!({ "prefix": ["/srv"] }), "a list of values belongs to the operator `in`"),
        (json!({ "at_most": [5] }), "a list of values belongs to the operator `in`"),
        (json!({ "in": 5 }), "`in` needs a list of values"),
        (json!({ "in": { "literal": "eu" } }), "`in` needs a list of values"),
        (json!({ "in": [] }), "the list is empty"),
        (json!({ "in": ["eu", ""] }), "`in` never matches this value"),
        (json!({ "prefix": 5 }), "`prefix` never matches this value; expected a path"),
        (json!({ "prefix": { "literal": "" } }), "`prefix` never matches this value"),
        (json!({ "prefix": { "literal": "/" } }), "`prefix` never matches this value"),
        (json!({ "prefix": { "literal": "/srv/" } }), "`prefix` never matches this value"),
        (json!({ "prefix": { "literal": "/srv//a" } }), "`prefix` never matches this value"),
        (json!({ "prefix": { "literal": "/srv/../a" } }), "`prefix` never matches this value"),
        (json!({ "prefix": { "literal": "./a" } }), "`prefix` never matches this value"),
        (json!({ "prefix": { "literal": "/a%20b" } }), "`prefix` never matches this value"),
        (json!({ "prefix": { "literal": "C:\\a" } }), "`prefix` never matches this value"),
        (json!({ "at_most": -1 }), "`at_most` never matches this value; expected a JSON number"),
        (json!({ "at_most": { "literal": "-1" } }), "`at_most` never matches this value"),
        (json!({ "at_most": { "literal": "+5" } }), "`at_most` never matches this value"),
        (json!({ "at_most": { "literal": "05" } }), "`at_most` never matches this value"),
        (json!({ "at_most": { "literal": "0x10" } }), "`at_most` never matches this value"),
        (json!({ "at_most": { "literal": "1,000" } }), "`at_most` never matches this value"),
        (json!({ "at_most": { "literal": "1".repeat(31) } }), "`at_most` never matches this value"),
    ] {
        let found = messages(&rule);
        let expected = format!("endpoints[1].bind[\"header.x-a\"]: {message}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{rule}: {found:?}");
    }
}

#[test]
fn an_unsuitable_attribute_is_reported_at_its_agent_with_the_binding() {
    for (rule, message) in [
        (
            json!({ "prefix": "agent.root" }),
            "agents.a.attributes.root: `prefix` never matches this value of agent `a` for `endpoints[1].bind[\"header.x-a\"]`; \
             expected a path",
        ),
        (
            json!({ "at_most": "agent.budget" }),
            "agents.b.attributes.budget: `at_most` never matches this value of agent `b` for `endpoints[1].bind[\"header.x-a\"]`; \
             expected a JSON number",
        ),
    ] {
        let found = messages(&rule);
        assert!(found.len() == 1 && found[0].starts_with(message), "{rule}: {found:?}");
    }
}

#[test]
fn each_agent_with_an_unsuitable_attribute_is_reported() {
    let policy = with(&[
        ("/agents/a/attributes", json!({ "limit": [5] })),
        (
            "/agents/b",
            json!({ "owner": "o", "identity": { "issuer": "corp", "client_id": "b" }, "attributes": { "limit": -5 } }),
        ),
        ("/endpoints/1/bind", json!({ "header.x-a": { "at_most": "agent.limit" } })),
    ]);
    let errors = compile(policy).unwrap_err().errors;
    let places: Vec<&str> = errors.iter().map(|error| error.place.as_str()).collect();
    assert_eq!(places, ["agents.a.attributes.limit", "agents.b.attributes.limit"]);
}

#[test]
fn reports_malformed_rules_at_their_place() {
    for (rule, message) in [
        (json!({}), "expected exactly one of `equals`, `in`, `prefix` and `at_most`"),
        (json!({ "equals": "token.a", "in": ["b"] }), "expected exactly one of"),
        (json!({ "matches": "x" }), "unknown operator `matches`; expected `equals`, `in`, `prefix` or `at_most`"),
        (
            json!({ "at_most": true }),
            "expected a reference such as `agent.limit`, a whole number, or `{ literal: \"99.50\" }`",
        ),
        (json!(5), "invalid type: integer `5`, expected a reference such as `token.org`"),
    ] {
        let found = messages(&rule);
        let expected = format!("endpoints[1].bind[\"header.x-a\"]: {message}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{rule}: {found:?}");
    }
    let fraction = messages(&json!({ "at_most": 99.5 }));
    assert!(fraction[0].contains("a fraction, or a whole number beyond 2^53; write it as text"), "{fraction:?}");
}

#[test]
fn text_without_literal_is_answered_with_the_literals_of_the_operator() {
    for (rule, literal) in [
        (json!("eu"), "`{ equals: { literal: eu } }` or `{ in: [eu, us] }`"),
        (json!({ "in": "eu" }), "`{ in: [eu, us] }`"),
        (json!({ "prefix": "/srv/acme" }), "`{ prefix: { literal: /srv/acme } }`"),
        (json!({ "at_most": "99.50" }), "`{ at_most: 1000 }` or `{ at_most: { literal: \"99.50\" } }`"),
    ] {
        let found = messages(&rule);
        assert!(
            found.len() == 1 && found[0].ends_with(&format!("or a fixed value such as {literal}")),
            "{rule}: {found:?}"
        );
    }
}

#[test]
fn warns_about_references_in_lists() {
    let found = findings(&json!({ "in": ["eu", "token.region"] }));
    assert!(found.errors.is_empty(), "{found:?}");
    assert!(found.warnings[0].message.contains("one of these looks like a reference"), "{found:?}");
    assert_eq!(findings(&json!({ "equals": { "literal": "token.region" } })), Findings::default());
}

#[test]
fn callers_with_api_keys_can_be_bound_to_literals() {
    let errors = |rule: &Value| {
        let mut policy = with(&[
            ("/api_keys", json!({ "header": "x-api-key" })),
            ("/endpoints/1/authenticate", json!("api-key")),
            ("/endpoints/1/bind", json!({ "header.x-a": rule })),
        ]);
        policy["agents"]["a"]["api_keys"] = json!([{ "sha256": "a".repeat(64), "not_after": "2099-12-31" }]);
        compile(policy).map_or_else(|findings| findings.errors, |_| Vec::new())
    };
    assert!(errors(&json!({ "at_most": 5 })).is_empty());
    assert!(errors(&json!({ "at_most": "token.limit" }))[0].message.contains("has no token, so `token.limit`"));
}
