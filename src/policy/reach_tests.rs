use std::time::Duration;

use serde_json::{Value, json};

use super::super::tests::{compile, errors, with};
use super::*;

fn warnings(changes: &[(&str, Value)]) -> Vec<String> {
    compile(with(changes)).unwrap().findings.warnings.iter().map(ToString::to_string).collect()
}

/// Returns another agent, which has everything that bindings need.
fn other(client: &str) -> Value {
    json!({
        "owner": "o", "identity": { "issuer": "corp", "client_id": client }, "attributes": { "tenant": "t2" }
    })
}

#[test]
fn compiles_ceilings_lists_and_freshness() {
    let mcp = json!({
        "id": "mcp", "methods": ["POST"], "path": "/mcp", "effect": "read", "scopes": "none", "agents": ["a", "b"], "max_age": "2m",
        "rpc": { "protocol": "mcp", "revisions": ["2025-11-25"], "tools": [
            { "name": "look", "effect": "read", "scopes": "none" },
            { "name": "make", "effect": "write", "agents": ["both"] },
        ] }
    });
    let compiled = compile(with(&[
        (
            "/agents/a/at_most",
            json!({ "scopes": ["w", "s"], "effects": ["write", "read"], "endpoints": ["put", "get"] }),
        ),
        ("/agents/b", other("b")),
        ("/agents/c", other("c")),
        ("/groups", json!({ "both": ["c", "a"] })),
        ("/requirements/read", json!({ "max_age": "10m" })),
        ("/requirements/write", json!({ "scopes": ["w"], "max_age": "5m", "max_lifetime": "6m" })),
        (
            "/endpoints/0",
            json!({ "id": "del", "methods": ["DELETE"], "path": "/x/{id}", "effect": "destructive", "scopes": ["s"] }),
        ),
        ("/endpoints/2/agents", json!(["b", "both"])),
        ("/endpoints/-", mcp),
    ]))
    .unwrap();
    assert_eq!(compiled.findings, Findings::default());
    let policy = compiled.policy;
    let ceiling = policy.agents.get(0).unwrap().at_most.as_deref().unwrap();
    let scopes: Vec<&str> = ceiling.scopes.as_deref().unwrap().iter().map(|scope| &**scope).collect();
    assert_eq!((scopes, ceiling.endpoints.as_deref()), (vec!["s", "w"], Some(&[1, 2][..])));
    assert_eq!(ceiling.effects.as_deref(), Some(&[Effect::Write, Effect::Read][..]));
    assert!(policy.agents.get(1).unwrap().at_most.is_none());

    let span = |seconds, origin| Some(Span { most: Duration::from_secs(seconds), origin });
    let [del, get, put, mcp] = &policy.endpoints.list[..] else { panic!("four endpoints") };
    assert!(del.reach.is_none());
    let get = get.reach.as_ref().unwrap();
    assert_eq!((get.agents.as_deref(), get.max_age), (None, span(600, Origin::Effect(Effect::Read))));
    let put = put.reach.as_ref().unwrap();
    assert_eq!(put.agents.as_deref(), Some(&[0, 1, 2][..]));
    assert_eq!(put.max_lifetime, span(360, Origin::Effect(Effect::Write)));
    // Its own value replaces that of the effect.
    let reach = mcp.reach.as_ref().unwrap();
    assert_eq!((reach.agents.as_deref(), reach.max_age), (Some(&[0, 1][..]), span(120, Origin::Endpoint)));
    let [look, make] = &mcp.rpc.as_deref().unwrap().tools[..] else { panic!("two tools") };
    assert!(look.reach.is_none(), "the endpoint has the same effect");
    let make = make.reach.as_ref().unwrap();
    assert_eq!(make.agents.as_deref(), Some(&[0, 2][..]));
    assert_eq!(make.max_age, span(300, Origin::Effect(Effect::Write)));
    assert_eq!(make.max_lifetime, span(360, Origin::Effect(Effect::Write)));
}

#[test]
fn reports_each_error_about_reach_at_its_location() {
    let rows: &[(&[(&str, Value)], &str)] = &[
        (&[("/agents/a/at_most", json!({}))], "agents.a.at_most: nothing is restricted"),
        (
            &[("/agents/a/at_most", json!({ "scopes": ["w", "w"] }))],
            "agents.a.at_most.scopes[1]: scope `w` is listed twice",
        ),
        (
            &[("/agents/a/at_most", json!({ "scopes": ["w*"] }))],
            "agents.a.at_most.scopes[0]: `w*` looks like a pattern",
        ),
        (
            &[("/agents/a/at_most", json!({ "effects": ["read", "read"] }))],
            "agents.a.at_most.effects[1]: `read` is listed twice",
        ),
        (&[("/agents/a/at_most", json!({ "effects": ["delete"] }))], "agents.a.at_most.effects[0]: unknown variant"),
        (
            &[("/agents/a/at_most", json!({ "endpoints": ["gett"] }))],
            "agents.a.at_most.endpoints[0]: unknown endpoint `gett`; did you mean `get`?",
        ),
        (
            &[("/agents/a/at_most", json!({ "endpoints": ["get", "get"] }))],
            "agents.a.at_most.endpoints[1]: endpoint `get` is listed twice",
        ),
        (&[("/agents/a/at_most", json!({ "tools": [] }))], "agents.a.at_most.tools: unknown field `tools`"),
        (&[("/endpoints/1/agents", json!([]))], "endpoints[1].agents: the list is empty, so nobody could use this"),
        (
            &[("/agents/writer", other("w")), ("/endpoints/1/agents", json!(["a", "writers"]))],
            "endpoints[1].agents[1]: unknown agent or group `writers`; did you mean `writer`?",
        ),
        (
            &[("/groups", json!({ "readers": ["a"] })), ("/endpoints/1/agents", json!(["reader"]))],
            "endpoints[1].agents[0]: unknown agent or group `reader`; did you mean `readers`?",
        ),
        (&[("/endpoints/1/agents", json!(["a", "a"]))], "endpoints[1].agents[1]: agent `a` is listed twice"),
        (
            &[("/endpoints/0/agents", json!(["a"]))],
            "endpoints[0].agents: a public endpoint does not identify clients; remove `agents`",
        ),
        (&[("/endpoints/0/max_age", json!("5m"))], "endpoints[0].max_age: a public endpoint does not identify clients"),
        (
            &[("/endpoints/0/max_lifetime", json!("5m"))],
            "endpoints[0].max_lifetime: a public endpoint does not identify clients",
        ),
        (
            &[("/requirements/read", json!({ "max_age": "5m" }))],
            "endpoints[0].effect: this effect has `max_age`, but a public endpoint needs no token",
        ),
        (
            &[("/requirements/read", json!({ "max_lifetime": "5m" }))],
            "endpoints[0].effect: this effect has `max_lifetime`, but a public endpoint needs no token",
        ),
        (&[("/endpoints/1/max_age", json!("0s"))], "endpoints[1].max_age: invalid duration `0`"),
        (
            &[("/requirements/write", json!({ "scopes": ["w"], "max_lifetime": "0m" }))],
            "requirements.write.max_lifetime: invalid duration `0`",
        ),
        (&[("/endpoints/1/max_age", json!(300))], "endpoints[1].max_age: invalid"),
        (
            &[("/groups", json!({ "a": ["a"] })), ("/endpoints/1/agents", json!(["a"]))],
            "groups.a: an agent has the same name",
        ),
        (&[("/groups", json!({ "g": [] })), ("/endpoints/1/agents", json!(["g"]))], "groups.g: the list is empty"),
        (
            &[("/groups", json!({ "g": ["b"] })), ("/endpoints/1/agents", json!(["g"]))],
            "groups.g[0]: unknown agent `b`; did you mean `a`?",
        ),
        (
            &[("/groups", json!({ "g": ["a"], "h": ["g"] })), ("/endpoints/1/agents", json!(["g", "h"]))],
            "groups.h[0]: `g` is a group, and groups contain only agents",
        ),
        (
            &[("/groups", json!({ "g": ["a", "a"] })), ("/endpoints/1/agents", json!(["g"]))],
            "groups.g[1]: agent `a` is listed twice",
        ),
        (
            &[("/groups", json!({ "g h": ["a"] })), ("/endpoints/1/agents", json!(["g h"]))],
            "groups[\"g h\"]: `g h` is not a valid name for a group",
        ),
    ];
    for (changes, expected) in rows {
        let found = errors(changes);
        assert!(found.iter().any(|error| error.starts_with(expected)), "expected {expected}\n  got {found:#?}");
    }
}

#[test]
fn credentials_without_times_contradict_freshness() {
    let key = json!([{ "sha256": "04f1d14a3bb0ec2a1ddf5acb6a9ce58bc4a0ebb1b2b3e5fe07b7f2bd1d1fd3ee", "not_after": "2100-01-01" }]);
    let keyed = |changes: &[(&'static str, Value)]| {
        let base = [
            ("/agents/a/api_keys", key.clone()),
            ("/api_keys", json!({ "header": "x-api-key" })),
            ("/endpoints/2/authenticate", json!(["token", "api-key"])),
        ];
        errors(&[&base[..], changes].concat())
    };
    assert_eq!(keyed(&[]), [""; 0]);
    for (changes, field) in [
        (("/endpoints/2/max_age", json!("5m")), "max_age"),
        (("/endpoints/2/max_lifetime", json!("5m")), "max_lifetime"),
        (("/requirements/write", json!({ "scopes": ["w"], "max_age": "5m" })), "max_age"),
    ] {
        let found = keyed(&[changes]);
        let expected = format!(
            "endpoints[2].authenticate: a caller with `api-key` has no token, so its requests would always be denied by `{field}`"
        );
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:#?}");
    }
}

#[test]
fn warns_about_what_has_no_effect() {
    let limited = |ceiling: Value| warnings(&[("/agents/a/at_most", ceiling)]);
    assert_eq!(limited(json!({ "scopes": ["w"] })), [""; 0]);
    assert_eq!(
        limited(json!({ "scopes": ["w", "x"] })),
        ["agents.a.at_most.scopes[1]: nothing requires the scope `x`; did you mean `w`?"]
    );
    let far = limited(json!({ "scopes": ["w", "payments:write"] }));
    assert!(
        far.len() == 1
            && far[0].ends_with("remove it, or list the scopes that endpoints, operations and effects require")
    );
    let unused = warnings(&[("/groups", json!({ "g": ["a"] }))]);
    assert!(unused.len() == 1 && unused[0].starts_with("groups.g: no field names this group"), "{unused:?}");
    assert_eq!(warnings(&[("/groups", json!({ "g": ["a"] })), ("/endpoints/1/agents", json!(["g"]))]), [""; 0]);
    // The issuer accepts tokens of 15 minutes.
    for field in ["max_age", "max_lifetime"] {
        let own = format!("/endpoints/1/{field}");
        assert_eq!(warnings(&[(own.as_str(), json!("899s"))]), [""; 0]);
        let found = warnings(&[(own.as_str(), json!("15m"))]);
        let expected = format!("endpoints[1].{field}: no issuer accepts tokens that exceed this");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}");
    }
}

#[test]
fn warns_about_an_endpoint_that_accepts_more_than_its_effect_permits() {
    for field in ["max_age", "max_lifetime"] {
        let with_own = |own: &str| {
            let requirement = ("/requirements/write", json!({ "scopes": ["w"], field: "5m" }));
            let pointer = format!("/endpoints/2/{field}");
            warnings(&[requirement, (pointer.as_str(), json!(own))])
        };
        assert_eq!((with_own("5m"), with_own("1m")), (Vec::new(), Vec::new()));
        let found = with_own("301s");
        let expected = format!("endpoints[2].{field}: this is more than the requirements of this effect permit");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}");
    }
}

#[test]
fn warns_about_an_operation_that_nobody_can_use() {
    let mcp = |own: &str| {
        json!({
            "id": "mcp", "methods": ["POST"], "path": "/mcp", "effect": "read", "scopes": "none", "agents": ["a"],
            "rpc": { "protocol": "mcp", "revisions": ["2025-11-25"],
                     "tools": [{ "name": "look", "effect": "read", "scopes": "none", "agents": [own] }] }
        })
    };
    let found = warnings(&[("/agents/b", other("b")), ("/endpoints/-", mcp("b"))]);
    assert!(found.len() == 1, "{found:?}");
    assert!(found[0].starts_with("endpoints[3].rpc.tools[0].agents: none of these agents may use the endpoint"));
    assert_eq!(warnings(&[("/agents/b", other("b")), ("/endpoints/-", mcp("a"))]), [""; 0]);
}
