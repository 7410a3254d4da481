use serde_json::{Value, json};

use crate::document::Finding;
use crate::policy::{Compiled, Policy};
use crate::testing::{self, NOW};
use crate::text::time::Timestamp;

const HASH: &str = "04f1d14a3bb0ec2a1ddf5acb6a9ce58bc4a0ebb1b2b3e5fe07b7f2bd1d1fd3ee";
const OTHER: &str = "14f1d14a3bb0ec2a1ddf5acb6a9ce58bc4a0ebb1b2b3e5fe07b7f2bd1d1fd3ee";

fn key(hash: &str) -> Value {
    json!({ "sha256": hash, "not_after": "2028-01-01" })
}

fn agent(keys: Value) -> Value {
    json!({ "owner": "o", "attributes": { "team": "core" }, "api_keys": keys })
}

/// Compiles a valid policy with these changes, each at a JSON pointer.
fn compile(changes: &[(&str, Value)]) -> Result<Compiled, Vec<String>> {
    let mut document = testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "api_keys": { "header": "x-api-key" },
        "agents": { "a": agent(json!([key(HASH)])), "b": testing::agent("b") },
        "requirements": {},
        "dpop": { "required": false, "algorithms": ["ES256"] },
        "limits": { "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } },
        "endpoints": [{ "id": "e", "methods": ["GET"], "path": "/{team}", "effect": "read", "scopes": "none",
                        "authenticate": ["token", "api-key"], "limits": ["calls"] }]
    }));
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap();
        match (parent, value) {
            (Value::Object(members), Value::Null) => drop(members.remove(name)),
            (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value.clone(),
            (parent, value) => parent[name] = value.clone(),
        }
    }
    let texts = |findings: &[Finding]| findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    Policy::from_value(document, &testing::one_secret).map_err(|findings| texts(&findings.errors))
}

fn warnings(changes: &[(&str, Value)]) -> Vec<String> {
    compile(changes).unwrap().findings.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_policy_with_api_keys_compiles_without_warnings() {
    assert_eq!(warnings(&[]), [""; 0]);
    let bearer = ("/api_keys", json!({ "bearer_prefix": "cgk_" }));
    assert_eq!(
        warnings(&[bearer, ("/issuers", json!({})), ("/agents/b", Value::Null), ("/dpop", Value::Null)]),
        [""; 0]
    );
    // Two keys of one agent allow rotation, and hashes can have capitals.
    assert_eq!(warnings(&[("/agents/a/api_keys", json!([key(HASH), key(&OTHER.to_uppercase())]))]), [""; 0]);
}

#[test]
fn reports_each_error_about_api_keys_at_its_location() {
    let rows: &[(&[(&str, Value)], &str)] = &[
        (&[("/api_keys", Value::Null)], "api_keys: agent `a` has API keys"),
        (&[("/api_keys", json!({}))], "api_keys: clients send all keys in one place"),
        (
            &[("/api_keys", json!({ "header": "x-api-key", "bearer_prefix": "cgk_" }))],
            "api_keys: clients send all keys in one place",
        ),
        (&[("/api_keys/header", json!("X-Api-Key"))], "api_keys.header: invalid header name `X-Api-Key`"),
        (&[("/api_keys/header", json!("x_api_key"))], "api_keys.header: invalid header name `x_api_key`"),
        (&[("/api_keys/header", json!(""))], "api_keys.header: invalid header name ``"),
        (&[("/api_keys/header", json!("authorization"))], "api_keys.header: keys in `Authorization` need a prefix"),
        (&[("/api_keys/header", json!("cookie"))], "api_keys.header: `cookie` has another meaning"),
        (&[("/api_keys/header", json!("content-type"))], "api_keys.header: `content-type` has another meaning"),
        (&[("/api_keys/header", json!("x-callgate-key"))], "api_keys.header: `x-callgate-key` has another meaning"),
        (&[("/api_keys/header", json!("script-name"))], "api_keys.header: `script-name` has another meaning"),
        (
            &[("/api_keys/header", json!("x-team")), ("/audit/include", json!(["x_team"]))],
            "audit.include[0]: `x-team` contains API keys",
        ),
        (
            &[("/api_keys/header", json!("x-team")), ("/endpoints/0/bind", json!({ "header.x-team": "agent.team" }))],
            "endpoints[0].bind[\"header.x-team\"]: `x-team` contains API keys",
        ),
        (&[("/api_keys", json!({ "bearer_prefix": "cgk" }))], "api_keys.bearer_prefix: invalid prefix `cgk`"),
        (&[("/api_keys", json!({ "bearer_prefix": "_" }))], "api_keys.bearer_prefix: invalid prefix `_`"),
        (&[("/api_keys", json!({ "bearer_prefix": "a.b_" }))], "api_keys.bearer_prefix: invalid prefix `a.b_`"),
        (&[("/api_keys", json!({ "bearer_prefix": "ey_" }))], "api_keys.bearer_prefix: a token can begin with `ey_`"),
        (&[("/agents/a/api_keys", json!([]))], "agents.a.api_keys: the list is empty"),
        (&[("/agents/a/api_keys/0/sha256", json!("secret"))], "agents.a.api_keys[0].sha256: invalid hash"),
        (&[("/agents/a/api_keys/0/sha256", json!(format!("{HASH}0")))], "agents.a.api_keys[0].sha256: invalid hash"),
        (
            &[("/agents/a/api_keys/0/sha256", json!(HASH.replace('f', "g")))],
            "agents.a.api_keys[0].sha256: invalid hash",
        ),
        (&[("/agents/a/api_keys/0/not_after", json!("soon"))], "agents.a.api_keys[0].not_after: invalid date `soon`"),
        (
            &[("/agents/a/api_keys", json!([key(HASH), key(&HASH.to_uppercase())]))],
            "agents.a.api_keys[1].sha256: `agents.a.api_keys[0]` has the same hash",
        ),
        (
            &[("/agents/b", agent(json!([key(HASH)])))],
            "agents.b.api_keys[0].sha256: `agents.a.api_keys[0]` has the same hash",
        ),
        (
            &[("/agents/a", testing::agent("a"))],
            "endpoints[0].authenticate: this endpoint accepts API keys, but no agent",
        ),
        (&[("/endpoints/0/token", json!("bound"))], "endpoints[0].authenticate: an API key proves no possession"),
        (
            &[("/requirements/read", json!({ "token": "bound" }))],
            "endpoints[0].authenticate: an API key proves no possession",
        ),
        (
            &[("/endpoints/0/bind", json!({ "path.team": "token.team" }))],
            "endpoints[0].bind[\"path.team\"]: a caller with an API key has no token, so `token.team` does not exist",
        ),
        (&[("/endpoints/0/authenticate", json!([]))], "endpoints[0].authenticate: the list is empty"),
        (
            &[("/endpoints/0/authenticate", json!(["api-key", "api-key"]))],
            "endpoints[0].authenticate[1]: `api-key` is listed twice",
        ),
        (
            &[
                ("/endpoints/0/authenticate", json!(["signature", "token", "web-bot-auth"])),
                ("/agents/b", testing::signer()),
            ],
            "endpoints[0].authenticate[2]: an endpoint accepts only one kind of signature, and `signature` is listed",
        ),
        (
            &[("/requirements/read", json!({ "authenticate": ["token", "signature"] }))],
            "endpoints[0].authenticate: this contradicts the requirements of this effect",
        ),
        (
            &[("/requirements/write", json!({ "authenticate": [] }))],
            "requirements.write.authenticate: the list is empty",
        ),
        (&[("/endpoints/0/authenticate", json!("api_key"))], "endpoints[0].authenticate: invalid value `api_key`"),
    ];
    for (changes, expected) in rows {
        let errors = compile(changes).map(|_| ()).unwrap_err();
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{expected}: {errors:#?}");
    }
}

#[test]
fn the_list_of_an_effect_may_be_repeated_in_any_order() {
    let requirement = ("/requirements/read", json!({ "authenticate": ["api-key", "token"] }));
    assert_eq!(warnings(&[requirement]), [""; 0]);
}

#[test]
fn warns_about_api_keys_that_nothing_uses() {
    let unused = "api_keys: no endpoint accepts API keys";
    assert!(warnings(&[("/endpoints/0/authenticate", Value::Null)])[0].starts_with(unused));
    let changes = [("/endpoints/0/authenticate", Value::Null), ("/agents/a", testing::agent("a"))];
    assert!(warnings(&changes)[0].starts_with("api_keys: no agent has API keys"));
}

#[test]
fn warns_about_keys_that_have_expired_or_expire_soon() {
    let policy = compile(&[(
        "/agents/a/api_keys",
        json!([
            { "sha256": HASH, "not_after": "2027-01-29T08:00:00Z" },
            { "sha256": OTHER, "not_after": "2027-01-15T08:00:00Z" },
        ]),
    )])
    .unwrap()
    .policy;
    let at = |seconds| -> Vec<String> {
        policy.warnings_at(Timestamp::from_secs(seconds)).iter().map(ToString::to_string).collect()
    };
    // `NOW` is 2027-01-15T08:00:00Z.
    let [first, second] = &at(NOW)[..] else { panic!("{:?}", at(NOW)) };
    assert!(first.starts_with("agents.a.api_keys[0].not_after: this API key expires in 14 days"), "{first}");
    assert!(second.starts_with("agents.a.api_keys[1].not_after: this API key has expired"), "{second}");
    let [only] = &at(NOW - 1)[..] else { panic!("{:?}", at(NOW - 1)) };
    assert!(only.starts_with("agents.a.api_keys[1].not_after: this API key expires within a day"), "{only}");
    assert_eq!(at(NOW - 15 * 86_400), [""; 0]);
}
