//! Tests of the printed policy schema, with the patterns that only editors use.

use std::path::{Path, PathBuf};

use callgate_kit::policy::{not_needed, schema};
use callgate_kit::{document, policy};
use jsonschema::Validator;
use serde_json::Value;

use crate::{callgate, json, quickstart};

fn printed() -> Validator {
    jsonschema::validator_for(&json(&callgate("schema policy").fine())).unwrap()
}

/// Returns the shipped policies: those of the examples, of the gateways' configurations, and of the corpus.
fn policies() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    let mut folders = ["examples", "envoy", "test-harness/corpus/policies"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_yaml = path.extension().is_some_and(|extension| extension == "yaml");
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("policy.yaml") || is_yaml && folder.ends_with("policies") {
                found.push(path);
            }
        }
    }
    found
}

fn value(text: &str) -> Value {
    document::parse("policy.yaml", text.as_bytes()).unwrap().value().clone()
}

/// Returns the quickstart policy with another value at this place, which may be a new member.
fn with(place: &str, other: Value) -> Value {
    let mut policy = value(&quickstart());
    match policy.pointer_mut(place) {
        Some(own) => *own = other,
        None => {
            let (parent, member) = place.rsplit_once('/').unwrap();
            policy.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(member.to_owned(), other);
        }
    }
    policy
}

/// Returns whether the engine accepts a policy.
fn compiles(policy: &Value) -> bool {
    let document = document::parse("policy.json", policy.to_string().as_bytes()).unwrap();
    policy::compile(document, &not_needed).is_ok()
}

#[test]
fn shipped_policies_match_the_printed_schema() {
    let printed = printed();
    let policies = policies();
    assert!(policies.len() >= 12, "{policies:?}");
    for path in policies {
        let policy = document::read(&path).unwrap_or_else(|wrong| panic!("{wrong}"));
        let faults: Vec<_> = printed.iter_errors(policy.value()).map(|error| error.to_string()).collect();
        assert_eq!(faults, [""; 0], "{}", path.display());
    }
}

/// A pattern that is stricter than the engine would mark valid policies as wrong.
#[test]
fn patterns_accept_what_the_engine_accepts() {
    let printed = printed();
    for (place, accepted) in [
        ("/name", "a.B_9-"),
        ("/resource", "https://api.example.com/v1?tenant=a"),
        ("/hosts", "[2001:db8::1]:8443"),
        ("/hosts", "[::ffff:10.0.0.1]"),
        ("/hosts", "under_score.example:1"),
        ("/external_url", "http://localhost:8080"),
        ("/external_url", "https://example.com/a.b/caf%C3%A9/!$&'()*+,:=@_~-9"),
        ("/override_headers", "x-forwarded-prefix"),
        ("/reject_query", "weiß[]"),
        ("/clock_skew", "0s"),
        ("/agents/coding-agent/expires", "2027-06-30t12:00:00.25-05:30"),
        ("/agents/coding-agent/scopes", "https://api.example.com/orders.write"),
        ("/endpoints/0/methods", "M-SEARCH"),
        ("/endpoints/0/methods", "X!#$%&'+.^_`|~"),
        ("/endpoints/0/path", "/"),
        ("/endpoints/0/path", "/v1/pre-{_a-1:slug}.json/{b}:run/%C3%A9/@(x)/{rest...}"),
        ("/endpoints/0/path", "/{a:uuid}/{b:text}/{c:int}/"),
        ("/endpoints/1/bind/query.a.b!\"$'(),:<>?@^`{|}~\\", "token./a~1b~0c/ d"),
        ("/endpoints/1/bind/header.x-tenant", "token.https://api.example.com/org"),
        ("/audit/include", "x!#$%&'*+.^_`|~"),
        ("/audit/headers/prefix", "x-a1-"),
        ("/issuers/corp/issuer", "http://idp.example.com:8080/a;b=(c)[d]/~e@f"),
    ] {
        let is_list = ["/hosts", "/override_headers", "/reject_query", "/scopes", "/methods", "/include"]
            .iter()
            .any(|list| place.ends_with(list));
        let policy = with(place, if is_list { serde_json::json!([accepted]) } else { accepted.into() });
        assert!(compiles(&policy), "{place}: {accepted}");
        let faults: Vec<_> = printed.iter_errors(&policy).map(|error| error.to_string()).collect();
        assert_eq!(faults, [""; 0], "{place}: {accepted}");
    }
}

#[test]
fn patterns_reject_malformed_values() {
    let printed = printed();
    for (place, wrong) in [
        ("/name", "a b"),
        ("/resource", "http://api.example.com"),
        ("/hosts/0", "https://api.example.com"),
        ("/hosts/0", "*.example.com"),
        ("/hosts/0", "API.example.com"),
        ("/external_url", "https://api.example.com/"),
        ("/external_url", "https://api.example.com/v1?a"),
        ("/clock_skew", "5 minutes"),
        ("/max_body", "1MB"),
        ("/limits/calls/rate", "60/m"),
        ("/issuers/corp/issuer", "idp.example.com"),
        ("/issuers/corp/max_lifetime", "1h30m"),
        ("/agents/coding-agent/expires", "30.06.2027"),
        ("/agents/coding-agent/identity/issuer", ""),
        ("/endpoints/0/id", "a/b"),
        ("/endpoints/0/methods/0", "get"),
        ("/endpoints/0/methods/0", "*"),
        ("/endpoints/0/path", "health"),
        ("/endpoints/0/path", "/health?full"),
        ("/endpoints/0/path", "/{id:number}"),
        ("/endpoints/0/path", "/{id"),
        ("/endpoints/1/bind/path.owner", "org"),
        ("/endpoints/1/bind/body.owner", "token.org"),
        ("/endpoints/1/max_json", "64KB"),
        ("/endpoints/1/bind/header.X-Tenant", "token.org"),
        ("/endpoints/2/scopes/0", "code:*"),
        ("/requirements/write/scopes/0", "two words"),
        ("/requirements/write/limits/0", "a b"),
        ("/audit/headers/prefix", "callgate"),
    ] {
        let policy = with(place, wrong.into());
        assert!(!printed.is_valid(&policy), "{place}: {wrong}");
        assert!(!compiles(&policy), "{place}: {wrong}");
    }
    for (place, member) in
        [("/issuers/a b", "/issuers/corp"), ("/agents/a b", "/agents/coding-agent"), ("/limits/a b", "/limits/calls")]
    {
        let same = value(&quickstart()).pointer(member).unwrap().clone();
        assert!(!printed.is_valid(&with(place, same)), "{place}");
    }
}

#[test]
fn rules_of_bindings_have_one_operator_with_a_fitting_value() {
    let printed = printed();
    let place = "/endpoints/1/bind/path.owner";
    for rule in [
        r#"{ "equals": "token.org" }"#,
        r#"{ "equals": { "literal": 7 } }"#,
        r#"{ "in": ["acme", 7] }"#,
        r#"{ "in": "token.orgs" }"#,
        r#"{ "prefix": { "literal": "/acme" } }"#,
        r#"{ "at_most": 1000 }"#,
        r#"{ "at_most": { "literal": "99.50" } }"#,
    ] {
        let policy = with(place, json(rule));
        assert!(printed.is_valid(&policy) && compiles(&policy), "{policy}");
    }
    for rule in [
        "{}",
        r#"{ "equals": "token.org", "in": ["acme"] }"#,
        r#"{ "matches": "token.org" }"#,
        r#"{ "equals": "org" }"#,
        r#"{ "equals": ["acme"] }"#,
        r#"{ "equals": { "literal": ["acme"] } }"#,
        r#"{ "in": [true] }"#,
        r#"{ "prefix": 7 }"#,
        r#"{ "at_most": true }"#,
        "7",
    ] {
        let policy = with(place, json(rule));
        assert!(!printed.is_valid(&policy) && !compiles(&policy), "{policy}");
    }
}

#[test]
fn the_quickstart_names_its_schema() {
    let text = quickstart();
    let (_, schema) = text.lines().next().unwrap().split_once("# yaml-language-server: $schema=").unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart").join(schema);
    assert_eq!(json(&std::fs::read_to_string(path).unwrap())["$id"], self::schema()["$id"]);
}
