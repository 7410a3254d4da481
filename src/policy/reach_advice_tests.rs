use serde_json::{Value, json};

use super::super::tests::{compile, with};

fn warnings(changes: &[(&str, Value)]) -> Vec<String> {
    compile(with(changes)).unwrap().findings.warnings.iter().map(ToString::to_string).collect()
}

fn agent(client: &str) -> Value {
    json!({ "owner": "o", "identity": { "issuer": "corp", "client_id": client } })
}

#[test]
fn warns_about_an_agent_that_can_reach_nothing() {
    let warning = "agents.a.at_most: this agent can reach no endpoint";
    for ceiling in [
        json!({ "effects": [] }),
        json!({ "endpoints": [] }),
        json!({ "effects": ["destructive"] }),
        // The one endpoint that it may use requires a scope that does not count.
        json!({ "endpoints": ["put"], "scopes": [] }),
        json!({ "endpoints": ["put"], "effects": ["read"] }),
    ] {
        // Another agent keeps the endpoints in use.
        let mut second = agent("b");
        second["attributes"] = json!({ "tenant": "t" });
        let found = warnings(&[("/agents/b", second), ("/agents/a/at_most", ceiling.clone())]);
        assert!(found.len() == 1 && found[0].starts_with(warning), "{ceiling} {found:#?}");
    }
    assert_eq!(warnings(&[("/agents/a/at_most", json!({ "effects": ["read", "write"] }))]), [""; 0]);
}

#[test]
fn warns_about_an_endpoint_that_no_agent_can_reach() {
    let found = warnings(&[("/agents/a/at_most", json!({ "effects": ["read"] }))]);
    assert!(found.len() == 1 && found[0].starts_with("endpoints[2]: no agent can reach this endpoint"), "{found:#?}");
    // Unregistered clients have no ceiling.
    let open = ("/unregistered", json!("allow"));
    assert_eq!(warnings(&[open.clone(), ("/agents/a/at_most", json!({ "effects": ["read"] }))]), [""; 0]);
    let listed = [open, ("/agents/a/at_most", json!({ "effects": ["read"] })), ("/endpoints/2/agents", json!(["a"]))];
    assert_eq!(warnings(&listed).len(), 1);
}

#[test]
fn warns_once_about_an_attribute_that_agents_lack() {
    assert_eq!(
        warnings(&[("/agents/b", agent("b"))]),
        [
            "agents.b.attributes: `b` has no attribute `tenant`, which bindings of `get` need, so such requests are denied; add the \
          attribute, or list in `agents` there who may use it"
        ]
    );
    let many: Vec<_> = ["b", "c", "d", "e", "f"].iter().map(|name| (format!("/agents/{name}"), agent(name))).collect();
    let mut changes: Vec<(&str, Value)> = many.iter().map(|(place, agent)| (place.as_str(), agent.clone())).collect();
    changes.push(("/endpoints/2/bind", json!({ "path.id": "agent.tenant", "query.tenant": "agent.tenant" })));
    let found = warnings(&changes);
    let expected = "agents: `b`, `c`, `d` and 2 more have no attribute `tenant`, which bindings of `get`, `put` need";
    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:#?}");
}

#[test]
fn agents_that_cannot_use_an_endpoint_need_no_attribute_for_it() {
    let with_b = |own: Value, more: &[(&'static str, Value)]| {
        let mut b = agent("b");
        b.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        warnings(&[&[("/agents/b", b)][..], more].concat())
    };
    assert_eq!(with_b(json!({}), &[]).len(), 1);
    assert_eq!(with_b(json!({ "attributes": { "tenant": "t" } }), &[]), [""; 0]);
    assert_eq!(with_b(json!({ "suspended": true }), &[]), [""; 0]);
    assert_eq!(with_b(json!({ "at_most": { "effects": ["write"] } }), &[]), [""; 0]);
    assert_eq!(with_b(json!({}), &[("/endpoints/1/agents", json!(["a"]))]), [""; 0]);
}

#[test]
fn attributes_of_operations_and_of_bodies_count_too() {
    let mcp = |tool: Value| {
        json!({
            "id": "mcp", "methods": ["POST"], "path": "/mcp", "effect": "read", "scopes": "none",
            "rpc": { "protocol": "mcp", "revisions": ["2025-11-25"], "tools": [tool] }
        })
    };
    let tool = |agents: Value| json!({ "name": "look", "effect": "read", "scopes": "none", "agents": agents, "bind": { "argument./team": "agent.tenant" } });
    let only = ("/endpoints/1/agents", json!(["a"]));
    let of = |endpoint: Value| warnings(&[("/agents/b", agent("b")), only.clone(), ("/endpoints/-", endpoint)]);
    let found = of(mcp(tool(json!(["a", "b"]))));
    assert!(found.len() == 1 && found[0].contains("which bindings of `mcp` need"), "{found:#?}");
    assert_eq!(of(mcp(tool(json!(["a"])))), [""; 0]);
    let body = json!({ "id": "post", "methods": ["POST"], "path": "/p", "effect": "read", "scopes": "none", "bind": { "body./t": "agent.tenant" } });
    assert_eq!(of(body).len(), 1);
}
