use serde_json::{Value, json};

use super::super::tests::{compile, errors, signed, with};
use crate::document::Findings;
use crate::policy::{Compiled, Policy};

const PUT: &str = "/endpoints/2";

/// Returns a policy whose endpoint `put` binds a part of the body, and has these fields.
fn bound(fields: Value) -> Vec<(String, Value)> {
    let mut changes = vec![(format!("{PUT}/bind"), json!({ "body./owner": "token.org" }))];
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    changes.extend(fields.into_iter().map(|(name, value)| (format!("{PUT}/{name}"), value)));
    changes
}

fn borrowed(changes: &[(String, Value)]) -> Vec<(&str, Value)> {
    changes.iter().map(|(place, value)| (place.as_str(), value.clone())).collect()
}

fn of(fields: Value) -> Vec<String> {
    errors(&borrowed(&bound(fields)))
}

fn policy(changes: &[(String, Value)]) -> Policy {
    compile(with(&borrowed(changes))).unwrap_or_else(|findings| panic!("{findings:?}")).policy
}

#[test]
fn binds_parts_of_the_body_apart_from_other_parts() {
    let mut changes = bound(json!({}));
    changes[0].1 = json!({
        "body./owner": "token.org", "body./items/0/price": { "at_most": 10 }, "body./a~1b/~0c": { "in": ["x"] },
        "path.id": "token.id", "header.x-org": "token.org"
    });
    let policy = policy(&changes);
    let [first, _, put] = policy.endpoints() else { panic!("there are three") };
    assert!(first.content.is_none());
    let content = put.content.as_ref().unwrap();
    assert_eq!((content.bindings.len(), put.bindings.len()), (3, 2));
    assert_eq!(content.max_json, 64 * 1024);
    assert_eq!((policy.largest_held_body(), policy.times_out_held_bodies()), (Some(64 * 1024), true));
    assert_eq!(compile(with(&[])).unwrap().policy.largest_held_body(), None);
}

#[test]
fn bodies_have_a_maximum_size() {
    for (size, bytes) in [("1KiB", 1024), ("64KiB", 65_536), ("1MiB", 1_048_576), ("1024KiB", 1_048_576)] {
        let policy = policy(&bound(json!({ "max_json": size })));
        assert_eq!(policy.endpoints()[2].content.as_ref().unwrap().max_json, bytes);
        assert_eq!(policy.largest_held_body(), Some(bytes as u64));
    }
    for size in ["0KiB", "1025KiB", "2MiB"] {
        let found = of(json!({ "max_json": size }));
        assert_eq!(
            found,
            [
                "endpoints[2].max_json: invalid size; expected `1KiB` to `1MiB`, which the gateway and the filter hold for each request"
            ]
        );
    }
}

#[test]
fn a_maximum_size_needs_a_bound_part() {
    for changes in [
        vec![("/endpoints/2/max_json", json!("64KiB"))],
        vec![("/endpoints/1/max_json", json!("64KiB"))],
        vec![("/endpoints/2/max_json", json!("64KiB")), ("/endpoints/2/bind", json!({ "path.id": "token.org" }))],
    ] {
        let found = errors(&changes);
        assert!(found.len() == 1 && found[0].contains("max_json: no part of the body is bound"), "{found:?}");
    }
}

#[test]
fn rejects_malformed_pointers() {
    for (pointer, expected) in [
        ("body.", "the whole body cannot be bound; write a pointer to a part of it, such as `body./owner`"),
        ("body.owner", "invalid JSON pointer `owner`; expected at most 16 steps in printable ASCII"),
        ("body.#/owner", "invalid JSON pointer `#/owner`"),
        ("body./a~2", "invalid JSON pointer `/a~2`"),
        ("body./a~", "invalid JSON pointer `/a~`"),
        ("body./caf\u{e9}", "invalid character in the JSON pointer `/caf\u{e9}`"),
        ("body./\u{212a}ey", "invalid character in the JSON pointer"),
        (&format!("body.{}", "/a".repeat(17)), "too many steps in the JSON pointer"),
        (
            "body",
            "`body` is not a part of a request; expected `path.NAME`, `query.NAME`, `header.NAME` or `body./POINTER`",
        ),
        ("Body./owner", "`Body./owner` is not a part of a request"),
    ] {
        let mut changes = bound(json!({ "max_json": "1KiB" }));
        changes[0].1 = json!({ pointer: "token.org" });
        let found = errors(&borrowed(&changes));
        // A binding that does not compile is no reason to report its maximum size too.
        let own = found.iter().filter(|error| !error.contains("max_json: no part")).collect::<Vec<_>>();
        assert!(own.len() == 1 && own[0].contains(expected), "{pointer}: {found:?}");
    }
}

#[test]
fn rejects_fields_that_contradict_a_bound_body() {
    for (fields, expected) in [
        (
            json!({ "body": "stream" }),
            "endpoints[2].body: a bound part of the body is checked before the body is forwarded",
        ),
        (
            json!({ "form_bodies": "allow" }),
            "endpoints[2].form_bodies: where a part of the body is bound, only JSON is accepted",
        ),
        (
            json!({ "upgrade": "websocket", "methods": ["GET", "PUT"] }),
            "endpoints[2].upgrade: an upgrade has no body, so its bound part would always be missing",
        ),
        (json!({ "methods": ["PUT", "GET"], "path": "/y" }), "endpoints[2].methods[1]: a `GET` request has no body"),
        (json!({ "methods": ["HEAD"] }), "endpoints[2].methods[0]: a `HEAD` request has no body"),
        (
            json!({ "access": "public", "effect": "read" }),
            "endpoints[2].bind: a public endpoint does not identify clients; remove `bind` or `access: public`",
        ),
    ] {
        let found = of(fields.clone());
        assert!(found.iter().any(|error| error.starts_with(expected)), "{fields}: {found:?}");
    }
    for method in ["POST", "PATCH", "DELETE", "QUERY"] {
        assert_eq!(of(json!({ "methods": [method] })), [""; 0], "{method}");
    }
}

#[test]
fn rejects_a_bound_body_where_json_is_rejected() {
    let merges = ("/upstream/merges".to_owned(), json!(["form", "json"]));
    for (fields, because) in [
        (json!({ "form_bodies": "reject" }), "it has `form_bodies: reject`"),
        (
            json!({ "bind": { "body./owner": "token.org", "query.tenant": "token.org" } }),
            "it binds a query parameter, which a JSON body could replace",
        ),
    ] {
        let mut changes = bound(fields);
        let without = errors(&borrowed(&changes));
        assert_eq!(without, [""; 0]);
        changes.push(merges.clone());
        let found = errors(&borrowed(&changes));
        assert!(found.len() == 1 && found[0].starts_with("endpoints[2].bind[\"body./owner\"]: "), "{found:?}");
        assert!(found[0].contains(because), "{found:?}");
    }
    let mut changes = bound(json!({}));
    changes.extend([merges.clone(), ("/requirements/write/form_bodies".to_owned(), json!("reject"))]);
    let found = errors(&borrowed(&changes));
    assert!(found.len() == 1 && found[0].contains("its effect has `form_bodies: reject`"), "{found:?}");
    // Without a bound query parameter, the upstream may merge JSON bodies.
    assert_eq!(errors(&borrowed(&[bound(json!({})), vec![merges]].concat())), [""; 0]);
}

#[test]
fn needs_a_gateway_that_holds_requests() {
    for (gateway, why) in [
        ("istio", "forwards the headers of a request before it has the body"),
        ("envoy-gateway", "forwards the headers of a request before it has the body"),
        ("higress", "forwards the headers of a request before it has the body"),
        ("kong", "forwards the headers of a request before it has the body"),
        ("portable", "does not pass bodies to the filter"),
    ] {
        let mut changes = bound(json!({}));
        changes[0].1 = json!({ "body./owner": "token.org", "body./id": "token.id", "path.id": "token.id" });
        changes.push(("/gateway".to_owned(), json!(gateway)));
        let found = errors(&borrowed(&changes));
        for part in ["body./owner", "body./id"] {
            let expected = format!("endpoints[2].bind[\"{part}\"]: the gateway `{gateway}` {why}");
            assert!(found.iter().any(|error| error.starts_with(&expected)), "{found:?}");
        }
    }
}

#[test]
fn values_of_a_body_follow_the_same_rules_as_others() {
    let found = |rule: Value| {
        let mut changes = bound(json!({}));
        changes[0].1 = json!({ "body./owner": rule });
        errors(&borrowed(&changes))
    };
    assert_eq!(found(json!({ "prefix": { "literal": "/srv" } })), [""; 0]);
    assert!(found(json!({ "prefix": { "literal": "/srv/" } }))[0].contains("`prefix` never matches this value"));
    assert!(found(json!("agent.team"))[0].contains("no agent has the attribute `team`"));
    let mut changes = bound(json!({ "authenticate": ["token", "api-key"] }));
    changes.push(("/api_keys".to_owned(), json!({ "header": "x-api-key" })));
    changes.push(("/agents/a/api_keys".to_owned(), json!([{ "sha256": "a".repeat(64), "not_after": "2099-12-31" }])));
    let keys = errors(&borrowed(&changes));
    assert!(keys.iter().any(|error| error.contains("has no token, so `token.org`")), "{keys:?}");
}

/// Returns the compiled policy in which requests to `put` are signed and a part of their body is bound, or its errors.
fn signing(changes: &[(&str, Value)]) -> Result<Compiled, Vec<String>> {
    let mut all = vec![
        ("/limits", json!({ "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } })),
        ("/endpoints/2/limits", json!(["calls"])),
        ("/endpoints/2/signature", json!("required")),
        ("/endpoints/2/bind", json!({ "body./owner": "token.org" })),
    ];
    all.extend(changes.iter().cloned());
    compile(signed(&all)).map_err(|Findings { errors, .. }| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn a_signed_body_has_at_most_both_sizes() {
    for (changes, most, held) in [
        (vec![], 65_536, 1_048_576),
        (vec![("/max_body", json!("16KiB"))], 16_384, 16_384),
        (vec![("/max_body", json!("16KiB")), ("/endpoints/2/max_json", json!("16KiB"))], 16_384, 16_384),
        (vec![("/endpoints/2/max_json", json!("1MiB"))], 1_048_576, 1_048_576),
    ] {
        let policy = signing(&changes).unwrap().policy;
        assert_eq!(policy.endpoints()[2].content.as_ref().unwrap().max_json, most, "{changes:?}");
        assert_eq!(policy.largest_held_body(), Some(held), "{changes:?}");
    }
    let found = signing(&[("/max_body", json!("16KiB")), ("/endpoints/2/max_json", json!("17KiB"))]).unwrap_err();
    assert_eq!(
        found,
        [
            "endpoints[2].max_json: requests to this endpoint are signed, and a signed body has at most `16KiB` (`max_body`); write at \
          most that, or raise `max_body`"
        ]
    );
}

#[test]
fn held_bytes_count_a_body_twice() {
    let held = |size: &str, agent: &str| {
        let mut changes = bound(json!({ "max_json": size }));
        changes.push(("/held_bodies".to_owned(), json!({ "agent_bytes": agent })));
        compile(with(&borrowed(&changes)))
    };
    let compiled = held("1MiB", "2112KiB").unwrap();
    assert_eq!(compiled.findings, Findings::default(), "the bounds have an effect");
    let found = held("1MiB", "2111KiB").unwrap_err().errors;
    assert_eq!(found.len(), 1, "{found:?}");
    let expected = "held_bodies.agent_bytes: `2111KiB` cannot hold a request with a body of `max_json`, which counts twice, and 64 KiB \
                    of headers; expected at least `2112KiB`, or a smaller `max_json`";
    assert_eq!(found[0].to_string(), expected);
    assert!(held("64KiB", "2MiB").is_ok());
}
