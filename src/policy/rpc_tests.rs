use serde_json::{Value, json};

use super::super::tests::{compile, with};
use crate::allowlist::operations::{OperationKind, Rpc};
use crate::document::{Effect, Findings, McpRevision, RpcDenials, RpcList, RpcProtocol};
use crate::policy::Compiled;

/// Returns the endpoint of an MCP server with one tool. It is the fourth of the policy.
fn endpoint() -> Value {
    json!({
        "id": "mcp", "methods": ["POST"], "path": "/mcp", "effect": "read", "scopes": "none",
        "rpc": {
            "protocol": "mcp", "revisions": ["2025-11-25", "2026-07-28"],
            "tools": [{ "name": "pay", "effect": "write", "bind": { "argument./tenant": "agent.tenant" } }]
        }
    })
}

fn compiled(changes: &[(&str, Value)]) -> Result<Compiled, Findings> {
    let added = [("/endpoints/-", endpoint())];
    compile(with(&added.into_iter().chain(changes.iter().cloned()).collect::<Vec<_>>()))
}

fn errors(changes: &[(&str, Value)]) -> Vec<String> {
    compiled(changes).err().unwrap_or_default().errors.iter().map(ToString::to_string).collect()
}

fn warnings(changes: &[(&str, Value)]) -> Vec<String> {
    compiled(changes).unwrap().findings.warnings.iter().map(ToString::to_string).collect()
}

fn rpc(compiled: &Compiled) -> &Rpc {
    compiled.policy.endpoints.list[3].rpc.as_deref().unwrap()
}

#[test]
fn compiles_every_field() {
    let limit = |per: Value| json!({ "per": per, "rate": "60/1m", "burst": 10 });
    let pin = "0a".repeat(32);
    let compiled = compiled(&[
        ("/requirements/write", json!({ "scopes": ["w"], "limits": ["writes"] })),
        (
            "/limits",
            json!({ "all": limit(json!("agent")), "lifecycle": limit(json!("agent")), "tool": limit(json!(["agent", "tool"])),
                    "writes": limit(json!("agent")) }),
        ),
        ("/endpoints/3/methods", json!(["POST", "GET", "DELETE"])),
        ("/endpoints/3/limits", json!(["all"])),
        ("/endpoints/3/cost", json!(2)),
        (
            "/endpoints/3/rpc",
            json!({
                "protocol": "mcp", "revisions": ["2025-06-18", "2025-11-25", "2026-07-28"],
                "origins": ["https://chat.example.com"], "denials": "http", "client_responses": "allow", "list": "granted",
                "max_answer": "768KiB", "lifecycle_limits": ["lifecycle"],
                "tools": [{
                    "name": "pay", "effect": "write", "scopes": ["payments:write"], "limits": ["tool"], "cost": 5, "pin": [pin],
                    "bind": { "argument./owner": "token.org", "argument./amount": { "at_most": 1000 } },
                    "headers": { "Region": "/region" }
                }],
                "resources": [
                    { "uri": "file:///reports/{team}/{file...}", "effect": "read", "scopes": ["reports:read"],
                      "bind": { "uri.team": "token.team" } },
                    { "uri": "urn:isbn:1", "effect": "read", "scopes": "none" }
                ],
                "prompts": [{ "name": "summarize", "effect": "read", "scopes": "none", "bind": { "argument./team": "token.team" } }],
                "methods": [
                    { "name": "tasks/get", "effect": "read", "scopes": "none", "bind": { "params./taskId": "token.task" } },
                    { "name": "notifications/acme", "effect": "destructive", "scopes": "none" }
                ]
            }),
        ),
    ])
    .unwrap();
    assert_eq!(compiled.findings, Findings::default());
    let rpc = rpc(&compiled);
    let all = [McpRevision::V2025_06_18, McpRevision::V2025_11_25, McpRevision::V2026_07_28];
    assert_eq!((rpc.protocol, &rpc.revisions[..]), (RpcProtocol::Mcp, &all[..]));
    assert_eq!((rpc.denials, rpc.list, rpc.client_responses), (RpcDenials::Http, RpcList::Granted, true));
    assert_eq!((&*rpc.origins[0], rpc.max_answer), ("https://chat.example.com", 786_432));
    assert_eq!(
        (compiled.policy.endpoints.list[3].limits.as_slice(), rpc.lifecycle_limits.as_slice()),
        (&[0][..], &[1][..])
    );

    let tool = &rpc.tools[0];
    assert_eq!((tool.kind, &*tool.name, tool.effect), (OperationKind::Tool, "pay", Effect::Write));
    assert_eq!(tool.scopes.names(), ["w", "payments:write"]);
    assert_eq!((tool.limits.as_slice(), tool.cost, tool.bindings.len()), (&[3, 2][..], 5, 2));
    assert_eq!((&*tool.headers[0].0, tool.headers[0].1.steps().collect::<Vec<_>>()), ("Region", vec!["region"]));
    assert_eq!((tool.pins.as_slice(), &*tool.place), (&[[10; 32]][..], "endpoints[3].rpc.tools[0]"));

    let (report, captures) = rpc.resources.find("file:///reports/blue/a/b").unwrap();
    assert_eq!((&*report.place, captures.len()), ("endpoints[3].rpc.resources[0]", 2));
    assert_eq!((report.scopes.names(), report.cost, report.limits.len()), (vec!["reports:read"], 2, 0));
    let places: Vec<&str> = rpc.operations().skip(2).map(|operation| &*operation.place).collect();
    assert_eq!(
        places,
        [
            "endpoints[3].rpc.resources[1]",
            "endpoints[3].rpc.prompts[0]",
            "endpoints[3].rpc.methods[0]",
            "endpoints[3].rpc.methods[1]"
        ]
    );
}

#[test]
fn defaults_are_the_strict_forms() {
    let compiled = compiled(&[]).unwrap();
    assert_eq!(compiled.findings, Findings::default());
    let rpc = rpc(&compiled);
    assert_eq!((rpc.denials, rpc.list, rpc.client_responses), (RpcDenials::Rpc, RpcList::Reachable, false));
    assert_eq!((rpc.origins.len(), rpc.lifecycle_limits.len(), rpc.max_answer), (0, 0, 262_144));
    assert_eq!((rpc.tools[0].cost, rpc.tools[0].pins.len(), rpc.tools[0].headers.len()), (1, 0, 0));
    assert!(compiled.policy.endpoints.list[0].rpc.is_none());
}

#[test]
fn the_shares_of_held_bytes_hold_an_answer() {
    let held = |agent: &str, list: &str| {
        errors(&[
            ("/max_body", json!("1KiB")),
            ("/held_bodies", json!({ "agent_bytes": agent })),
            ("/endpoints/3/rpc/max_answer", json!("768KiB")),
            ("/endpoints/3/rpc/list", json!(list)),
        ])
    };
    assert_eq!(held("768KiB", "reachable"), [""; 0]);
    assert_eq!(
        held("767KiB", "granted"),
        [
            "held_bodies.agent_bytes: `767KiB` cannot hold an answer of `max_answer`; expected at least `768KiB`, or a smaller \
          `max_answer`"
        ]
    );
}

#[test]
fn rejects_fields_that_contradict_messages() {
    let json_rpc = json!({ "protocol": "json-rpc", "methods": [{ "name": "a", "effect": "read", "scopes": "none" }] });
    assert_eq!(errors(&[("/endpoints/3/rpc", json_rpc.clone())]), [""; 0]);
    for (changes, expected) in [
        (
            vec![("/gateway", json!("portable"))],
            "endpoints[3].rpc: the gateway `portable` does not pass bodies to the filter",
        ),
        (vec![("/gateway", json!("istio"))], "endpoints[3].rpc: the gateway `istio` forwards headers before the body"),
        (vec![("/gateway", json!("kong"))], "endpoints[3].rpc: the gateway `kong` forwards headers before the body"),
        (
            vec![("/endpoints/3/access", json!("public"))],
            "endpoints[3].access: operations are allowed to known clients",
        ),
        (vec![("/endpoints/3/upgrade", json!("websocket"))], "endpoints[3].upgrade: an upgraded connection"),
        (vec![("/endpoints/3/body", json!("stream"))], "endpoints[3].body: a message is held until it is decided"),
        (vec![("/endpoints/3/form_bodies", json!("allow"))], "endpoints[3].form_bodies: every message is JSON"),
        (
            vec![("/endpoints/3/form_bodies", json!("reject")), ("/upstream/merges", json!(["form", "json"]))],
            "endpoints[3].rpc: `upstream.merges` lists `json`",
        ),
        (
            vec![("/endpoints/3/methods", json!(["GET"]))],
            "endpoints[3].methods: messages are sent with `POST`; add this",
        ),
        (vec![("/endpoints/3/methods", json!(["POST", "PUT"]))], "endpoints[3].methods[1]: MCP uses only"),
        (
            vec![
                ("/endpoints/3/methods", json!(["POST", "GET"])),
                ("/endpoints/3/rpc/revisions", json!(["2026-07-28"])),
            ],
            "endpoints[3].methods[1]: revisions from 2026-07-28 on have no sessions",
        ),
        (
            vec![("/endpoints/3/methods", json!(["GET", "POST"])), ("/endpoints/3/rpc", json_rpc.clone())],
            "endpoints[3].methods[0]: messages are sent with `POST` alone; remove `GET`",
        ),
        (
            vec![("/endpoints/3/rpc/revisions", json!([]))],
            "endpoints[3].rpc.revisions: `revisions` is required for `mcp`",
        ),
        (
            vec![("/endpoints/3/rpc/revisions", json!(["2025-11-25", "2025-11-25"]))],
            "endpoints[3].rpc.revisions[1]: `2025-11-25` is listed twice",
        ),
        (
            vec![
                ("/endpoints/3/rpc/client_responses", json!("allow")),
                ("/endpoints/3/rpc/revisions", json!(["2026-07-28"])),
            ],
            "endpoints[3].rpc.client_responses: servers send no requests to clients",
        ),
        (vec![("/endpoints/3/rpc/max_answer", json!("769KiB"))], "endpoints[3].rpc.max_answer: invalid size"),
        (vec![("/endpoints/3/rpc/max_answer", json!("0KiB"))], "endpoints[3].rpc.max_answer: invalid size"),
        (
            vec![
                ("/endpoints/3/rpc/list", json!("unfiltered")),
                ("/endpoints/3/rpc/tools/0/pin", json!(["0a".repeat(32)])),
            ],
            "endpoints[3].rpc.tools[0].pin: pins are compared with the server's lists",
        ),
    ] {
        let found = errors(&changes);
        assert!(found.iter().any(|error| error.starts_with(expected)), "{expected}: {found:#?}");
    }
    for (field, value, expected) in [
        ("revisions", json!(["2026-07-28"]), "only `mcp` has revisions"),
        ("list", json!("granted"), "this applies only to `protocol: mcp`"),
        ("max_answer", json!("64KiB"), "this applies only to `protocol: mcp`"),
        ("client_responses", json!("allow"), "this applies only to `protocol: mcp`"),
        ("tools", json!([{ "name": "a", "effect": "read", "scopes": "none" }]), "`json-rpc` has no tools"),
        ("resources", json!([{ "uri": "urn:a", "effect": "read", "scopes": "none" }]), "`json-rpc` has no resources"),
        ("prompts", json!([{ "name": "a", "effect": "read", "scopes": "none" }]), "`json-rpc` has no prompts"),
    ] {
        let pointer = format!("/endpoints/3/rpc/{field}");
        let found = errors(&[("/endpoints/3/rpc", json_rpc.clone()), (pointer.as_str(), value)]);
        assert!(
            found.iter().any(|error| error.starts_with(&format!("endpoints[3].rpc.{field}: {expected}"))),
            "{found:#?}"
        );
    }
    // Unknown revisions are errors of the document's form.
    assert!(errors(&[("/endpoints/3/rpc/revisions", json!(["2025-03-26"]))])[0].contains("2025-03-26"));
}

#[test]
fn origins_are_written_as_browsers_send_them() {
    let of = |origin: &str| errors(&[("/endpoints/3/rpc/origins", json!([origin]))]);
    for origin in [
        "https://chat.example.com",
        "http://localhost:6274",
        "http://127.0.0.1",
        "http://[::1]:8080",
        "http://[::1]",
        "https://chat.example.com:8443",
        "https://chat.example.com:80",
        "chrome-extension://abcdefgh",
    ] {
        assert_eq!(of(origin), [""; 0], "{origin}");
    }
    for (origin, expected) in [
        ("null", "every sandboxed page sends the origin `null`"),
        ("*", "origins are compared exactly"),
        ("https://*.example.com", "origins are compared exactly"),
        ("", "invalid origin ``"),
        ("chat.example.com", "invalid origin `chat.example.com`"),
        ("https://", "invalid origin"),
        ("://chat.example.com", "invalid origin"),
        ("HTTPS://chat.example.com", "invalid origin"),
        ("https://Chat.example.com", "invalid origin"),
        ("https://chat.example.com/", "invalid origin"),
        ("https://chat.example.com/a", "invalid origin"),
        ("https://chat.example.com?a", "invalid origin"),
        ("https://me@chat.example.com", "invalid origin"),
        ("https://chat.example.com.", "invalid origin"),
        ("https://chat.example.com:443", "invalid origin"),
        ("http://chat.example.com:80", "invalid origin"),
        ("https://chat.example.com:", "invalid origin"),
        ("https://chat.example.com:08443", "invalid origin"),
        ("https://chat.example.com:99999", "invalid origin"),
        ("https://chat.example.com:8443:1", "invalid origin"),
        ("https://ch\u{e4}t.example.com", "invalid origin"),
    ] {
        let found = of(origin);
        let expected = format!("endpoints[3].rpc.origins[0]: {expected}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{origin}: {found:#?}");
    }
    let twice = errors(&[("/endpoints/3/rpc/origins", json!(["https://a.example", "https://a.example"]))]);
    assert_eq!(twice, ["endpoints[3].rpc.origins[1]: origin `https://a.example` is listed twice; remove one"]);
}

#[test]
fn reports_each_error_in_an_entry_at_its_place() {
    let tool =
        |changes: Value| crate::testing::with(json!({ "name": "pay", "effect": "read", "scopes": "none" }), changes);
    let uri = |uri: &str| json!({ "uri": uri, "effect": "read", "scopes": "none" });
    let hash = "0a".repeat(32);
    for (list, entries, expected) in [
        ("tools", json!([tool(json!({ "name": "" }))]), "[0].name: invalid name ``"),
        ("tools", json!([tool(json!({ "name": "a\u{1b}[0m" }))]), "[0].name: invalid name `a\\u{1b}[0m`"),
        ("tools", json!([tool(json!({ "name": "a\u{85}" }))]), "[0].name: invalid name"),
        ("tools", json!([tool(json!({})), tool(json!({}))]), "[1].name: the tool `pay` is listed twice"),
        ("prompts", json!([tool(json!({})), tool(json!({}))]), "[1].name: the prompt `pay` is listed twice"),
        ("methods", json!([tool(json!({})), tool(json!({}))]), "[1].name: the method `pay` is listed twice"),
        ("tools", json!([tool(json!({ "scopes": null }))]), "[0].scopes: `scopes` is required"),
        ("tools", json!([tool(json!({ "scopes": [] }))]), "[0].scopes: an empty list requires nothing"),
        ("tools", json!([tool(json!({ "scopes": ["a*"] }))]), "[0].scopes: `a*` looks like a pattern"),
        ("tools", json!([tool(json!({ "limits": ["calls"] }))]), "[0].limits[0]: unknown limit `calls`"),
        ("tools", json!([tool(json!({ "cost": 0 }))]), "[0].cost: requests without a cost are not limited"),
        ("tools", json!([tool(json!({ "cost": 2 }))]), "[0].cost: no limit is charged here"),
        ("tools", json!([tool(json!({ "pin": ["0A".repeat(32)] }))]), "[0].pin[0]: invalid hash"),
        ("tools", json!([tool(json!({ "pin": ["0a".repeat(31)] }))]), "[0].pin[0]: invalid hash"),
        ("tools", json!([tool(json!({ "pin": ["0g".repeat(32)] }))]), "[0].pin[0]: invalid hash"),
        ("tools", json!([tool(json!({ "pin": [hash, hash] }))]), "[0].pin[1]: hash `0a0a"),
        ("tools", json!([tool(json!({ "headers": { "a b": "/a" } }))]), "[0].headers[\"a b\"]: invalid name `a b`"),
        ("tools", json!([tool(json!({ "headers": { "": "/a" } }))]), "[0].headers[\"\"]: invalid name ``"),
        (
            "tools",
            json!([tool(json!({ "headers": { "Mcp-Param-A": "/a" } }))]),
            "[0].headers.Mcp-Param-A: `Mcp-Param-` is added",
        ),
        (
            "tools",
            json!([tool(json!({ "headers": { "A-B": "/a", "a_b": "/b" } }))]),
            "[0].headers.a_b: some servers read this header as `A-B`",
        ),
        ("tools", json!([tool(json!({ "headers": { "A": "a" } }))]), "[0].headers.A: invalid pointer `a`"),
        ("tools", json!([tool(json!({ "headers": { "A": "" } }))]), "[0].headers.A: the pointer is empty"),
        (
            "tools",
            json!([tool(json!({ "bind": { "argument./a~2": "token.a" } }))]),
            "[0].bind[\"argument./a~2\"]: invalid pointer",
        ),
        (
            "tools",
            json!([tool(json!({ "bind": { "argument.a": "token.a" } }))]),
            "[0].bind[\"argument.a\"]: invalid pointer `a`",
        ),
        (
            "tools",
            json!([tool(json!({ "bind": { "argument.": "token.a" } }))]),
            "[0].bind[\"argument.\"]: the pointer is empty",
        ),
        (
            "tools",
            json!([tool(json!({ "bind": { "argument./\u{e4}": "token.a" } }))]),
            "[0].bind[\"argument./\u{e4}\"]: invalid pointer",
        ),
        (
            "tools",
            json!([tool(json!({ "bind": { "path.a": "token.a" } }))]),
            "[0].bind[\"path.a\"]: `path.a` is not a part of a tool",
        ),
        (
            "tools",
            json!([tool(json!({ "bind": { "params./a": "token.a" } }))]),
            "[0].bind[\"params./a\"]: `params./a` is not a part of a tool",
        ),
        (
            "prompts",
            json!([tool(json!({ "bind": { "uri.a": "token.a" } }))]),
            "[0].bind[\"uri.a\"]: `uri.a` is not a part of a prompt",
        ),
        (
            "methods",
            json!([tool(json!({ "bind": { "argument./a": "token.a" } }))]),
            "[0].bind[\"argument./a\"]: `argument./a` is not a part of a method",
        ),
        (
            "tools",
            json!([tool(json!({ "bind": { "argument./a": "agent.tenants" } }))]),
            "[0].bind[\"argument./a\"]: no agent has the attribute `tenants`; did you mean `tenant`?",
        ),
        (
            "tools",
            json!([tool(json!({ "bind": { "argument./a": { "at_most": -1 } } }))]),
            "[0].bind[\"argument./a\"]: `at_most` never matches",
        ),
        ("resources", json!([uri("reports/{a}")]), "[0].uri: `reports/{a}` has no scheme"),
        ("resources", json!([uri("https://{host}/a")]), "[0].uri: a variable cannot take the host"),
        (
            "resources",
            json!([uri("db://a/{x}"), uri("db://a/{y}")]),
            "[1].uri: `endpoints[3].rpc.resources[0]` matches the same URIs",
        ),
        (
            "resources",
            json!([uri("urn:a"), uri("urn:a")]),
            "[1].uri: `endpoints[3].rpc.resources[0]` matches the same URIs",
        ),
        ("resources", json!([uri("db://a/{x}/b"), uri("db://a/{y:int}/c")]), "[1].uri: conflicting variable types"),
        ("resources", json!([uri("db://a/x-{x}"), uri("db://a/{y}-x")]), "[1].uri: this path and"),
        (
            "methods",
            json!([tool(json!({ "name": "tools/call" }))]),
            "[0].name: `tools/call` needs the tool that it names; list it under `tools`",
        ),
        (
            "methods",
            json!([tool(json!({ "name": "Tools/Call" }))]),
            "[0].name: some servers could read `Tools/Call` as `tools/call`",
        ),
        (
            "methods",
            json!([tool(json!({ "name": "tools/list" }))]),
            "[0].name: every client that may use an operation may send `tools/list`",
        ),
        ("methods", json!([tool(json!({ "name": "ping" }))]), "[0].name: every client"),
        (
            "methods",
            json!([tool(json!({ "name": "resources/subscribe" }))]),
            "[0].name: `resources/subscribe` needs the resources",
        ),
        (
            "methods",
            json!([tool(json!({ "name": "completion/complete" }))]),
            "[0].name: `completion/complete` needs the prompt or resource",
        ),
        ("methods", json!([tool(json!({ "name": "prompts/get" }))]), "[0].name: `prompts/get` needs the prompt"),
        (
            "methods",
            json!([tool(json!({ "name": "sampling/createMessage" }))]),
            "[0].name: only servers send `sampling/createMessage`",
        ),
    ] {
        let pointer = format!("/endpoints/3/rpc/{list}");
        let found = errors(&[(pointer.as_str(), entries)]);
        let expected = format!("endpoints[3].rpc.{list}{expected}");
        assert!(found.iter().any(|error| error.starts_with(&expected)), "{expected}: {found:#?}");
    }
    let bound = crate::testing::with(uri("db://a/{team}"), json!({ "bind": { "uri.tem": "token.a" } }));
    let found = errors(&[("/endpoints/3/rpc/resources", json!([bound]))]);
    assert_eq!(
        found,
        ["endpoints[3].rpc.resources[0].bind[\"uri.tem\"]: unknown variable `tem`; did you mean `team`?"]
    );
    let whole = crate::testing::with(uri("urn:a"), json!({ "bind": { "path.a": "token.a" } }));
    let found = errors(&[("/endpoints/3/rpc/resources", json!([whole]))]);
    assert!(found[0].contains("`path.a` is not a part of a resource; expected `uri.VARIABLE`"), "{found:#?}");
}

#[test]
fn methods_of_other_protocols_may_have_any_name() {
    let method = |name: &str| json!({ "name": name, "effect": "read", "scopes": "none" });
    let rpc = json!({ "protocol": "json-rpc", "methods": [method("tools/call"), method("message/send"), method("tasks/get")] });
    assert_eq!(errors(&[("/endpoints/3/rpc", rpc)]), [""; 0]);
    for name in ["tasks/get", "tasks/result", "notifications/tasks/status", "acme/search"] {
        assert_eq!(errors(&[("/endpoints/3/rpc/methods", json!([method(name)]))]), [""; 0], "{name}");
    }
}

#[test]
fn warns_about_names_in_two_letter_cases_and_about_no_operation() {
    let tools = json!([{ "name": "pay", "effect": "write" }, { "name": "Pay", "effect": "write" }, { "name": "pays", "effect": "write" }]);
    let found = warnings(&[("/endpoints/3/rpc/tools", tools)]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("endpoints[3].rpc.tools[1].name: `Pay` differs from another tool only in letter case")
    );
    let found = warnings(&[("/endpoints/3/rpc/tools", Value::Null)]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("endpoints[3].rpc: no operation is listed"));
    // A tool and a prompt may have the same name.
    let prompts = json!([{ "name": "PAY", "effect": "read", "scopes": "none" }]);
    assert_eq!(warnings(&[("/endpoints/3/rpc/prompts", prompts)]), [""; 0]);
}

#[test]
fn the_endpoint_must_meet_what_the_headers_decide() {
    let place = "endpoints[3].rpc.tools[0].effect: the requirements of this effect have";
    let signer = json!({
        "owner": "o", "identity": { "issuer": "corp", "client_id": "b" },
        "signing_keys": [{ "jwk": { "kty": "OKP", "crv": "Ed25519", "kid": "b", "x": "T_fISurtb_bV44oK-cxhkG8L-R_BjAIb79upJ23lU30" } }]
    });
    let base = [
        ("/agents/b", signer),
        ("/dpop", json!({ "required": false, "algorithms": ["ES256"] })),
        ("/limits", json!({ "calls": { "per": "agent", "rate": "60/1m", "burst": 10 } })),
    ];
    for (field, value) in [
        ("token", json!("bound")),
        ("signature", json!("required")),
        ("signature", json!("optional")),
        ("authenticate", json!("signature")),
        ("form_bodies", json!("reject")),
    ] {
        let own = format!("/endpoints/3/{field}");
        let mut changes = base.to_vec();
        changes.push(("/requirements/write", json!({ "scopes": ["w"], (field): value })));
        let found = errors(&changes);
        let expected = format!("{place} `{field}`");
        assert!(found.iter().any(|error| error.starts_with(&expected)), "{field}: {found:#?}");
        changes.push((own.as_str(), value));
        let found = errors(&changes);
        assert!(!found.iter().any(|error| error.starts_with(place)), "{field}: {found:#?}");
    }
    // The effect of the endpoint has its own requirements.
    let mut changes = base.to_vec();
    changes.push(("/requirements/write", json!({ "scopes": ["w"], "form_bodies": "reject" })));
    changes.push(("/requirements/read", json!({ "form_bodies": "reject" })));
    let found = errors(&changes);
    assert!(!found.iter().any(|error| error.starts_with(place)), "{found:#?}");
}

#[test]
fn each_limit_is_charged_once() {
    let limit = |per: Value| json!({ "per": per, "rate": "60/1m", "burst": 10 });
    let limits = json!({ "all": limit(json!("agent")), "tool": limit(json!("tool")), "small": limit(json!("agent")) });
    let base =
        [("/limits", limits), ("/endpoints/3/limits", json!(["all"])), ("/endpoints/1/limits", json!(["small"]))];
    let found =
        |changes: &[(&str, Value)]| errors(&base.iter().cloned().chain(changes.iter().cloned()).collect::<Vec<_>>());
    let tool = "/endpoints/3/rpc/tools/0/limits";
    assert_eq!(found(&[(tool, json!(["tool"])), ("/endpoints/3/rpc/lifecycle_limits", json!(["small"]))]), [""; 0]);
    assert_eq!(found(&[("/endpoints/3/limits", json!(["all", "tool"]))]), [""; 0]);
    for (changes, expected) in [
        (vec![(tool, json!(["all"]))], "endpoints[3].rpc.tools[0].limits[0]: the endpoint already charges `all`"),
        (vec![(tool, json!(["tool", "tool"]))], "endpoints[3].rpc.tools[0].limits[1]: limit `tool` is listed twice"),
        (
            vec![(tool, json!(["small"])), ("/requirements/write", json!({ "scopes": ["w"], "limits": ["small"] }))],
            "endpoints[3].rpc.tools[0].limits[0]: the requirements of this effect already charge `small`",
        ),
        (
            vec![("/endpoints/3/rpc/tools/0/cost", json!(11))],
            "endpoints[3].rpc.tools[0].cost: the burst of `all` is 10",
        ),
        (
            vec![(tool, json!(["tool"])), ("/endpoints/3/cost", json!(11))],
            "endpoints[3].rpc.tools[0].limits: the burst of `tool` is 10",
        ),
        (
            vec![("/endpoints/3/rpc/lifecycle_limits", json!(["all"]))],
            "endpoints[3].rpc.lifecycle_limits[0]: the endpoint already charges `all`",
        ),
        (
            vec![("/endpoints/3/rpc/lifecycle_limits", json!(["tool"]))],
            "endpoints[3].rpc.lifecycle_limits[0]: `tool` counts by tool",
        ),
        (
            vec![("/endpoints/3/rpc/lifecycle_limits", json!(["smal"]))],
            "endpoints[3].rpc.lifecycle_limits[0]: unknown limit `smal`; did you mean `small`?",
        ),
        (
            vec![("/endpoints/1/limits", json!(["tool"]))],
            "endpoints[1].limits[0]: `tool` counts by tool, but this endpoint has no `rpc`",
        ),
        (
            vec![("/requirements/write", json!({ "scopes": ["w"], "limits": ["tool"] }))],
            "endpoints[2].effect: `tool` in the requirements of this effect counts by tool",
        ),
    ] {
        let found = found(&changes);
        assert!(found.iter().any(|error| error.starts_with(expected)), "{expected}: {found:#?}");
    }
    // The limit of the tool's effect is that of the endpoint too, and a request counts once.
    let shared = [
        ("/requirements/write", json!({ "scopes": ["w"], "limits": ["small"] })),
        ("/endpoints/3/limits", json!(["small", "tool"])),
        ("/limits/all", Value::Null),
    ];
    let all: Vec<_> = base.iter().cloned().chain(shared).collect();
    let compiled = compiled(&all).unwrap();
    assert_eq!(rpc(&compiled).tools[0].limits, [0; 0]);
}

#[test]
fn scopes_of_operations_can_be_included_in_others() {
    let implies = ("/scope_implies", json!({ "admin": ["tools:use"] }));
    let found = errors(std::slice::from_ref(&implies));
    assert!(
        found.iter().any(|error| error.contains("nothing in the policy requires the scope `tools:use`")),
        "{found:#?}"
    );
    assert_eq!(errors(&[implies, ("/endpoints/3/rpc/tools/0/scopes", json!(["tools:use"]))]), [""; 0]);
}

#[test]
fn a_caller_with_an_api_key_has_no_claims_to_bind() {
    let found = errors(&[
        ("/api_keys", json!({ "bearer_prefix": "cgk_" })),
        ("/agents/a/api_keys", json!([{ "sha256": "0a".repeat(32), "not_after": "2099-01-01" }])),
        ("/endpoints/3/authenticate", json!(["token", "api-key"])),
        ("/endpoints/3/rpc/tools/0/bind", json!({ "argument./owner": "token.org" })),
    ]);
    let expected = "endpoints[3].rpc.tools[0].bind[\"argument./owner\"]: a caller with an API key has no token";
    assert!(found.iter().any(|error| error.starts_with(expected)), "{found:#?}");
}
