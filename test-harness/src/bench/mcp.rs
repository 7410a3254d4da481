//! The cost of MCP: a request for a tool with a body of 2 KiB, and a list of fifty tools from which half are removed.
//!
//! All listeners hold a request until its body is complete, because they answer it themselves. Envoy's own filter for MCP is measured with
//! the same request for a tool: it parses the request for routes and other filters, and decides nothing.

use anyhow::{Context as _, Result, ensure};
use callgate_kit::mint::SigningKey;
use serde_json::{Value, json};

use super::callee::Callee;
use super::compared::{self, Row};
use super::load::Clients;
use super::report::Measured;
use super::{Built, Size, native, policies, rows};
use crate::client::{self, Request};
use crate::envoy::{Bootstrap, Envoy, Options};
use crate::paths;
use crate::quickstart::{now, set};

const HOST: &str = "payments.example.com";
const REVISION: &str = "2025-11-25";
/// The size of a request for a tool.
const BODY: usize = 2 << 10;
/// The number of tools of the server, and of those that the policy allows.
const TOOLS: usize = 50;
const ALLOWED: usize = 25;

/// The rows, with the methods of their requests.
const ROWS: [Row<&str>; 7] = [
    row("mcp_bare_call", "", "bare", CALL, ""),
    row("mcp_native", "Envoy's filter for MCP, a tool with a body of 2 KiB", "native", CALL, "mcp_bare_call"),
    row("mcp_call", "Wasm, a tool with a body of 2 KiB", "callgate", CALL, "mcp_bare_call"),
    row("module_mcp_call", "module, a tool with a body of 2 KiB", "module", CALL, "mcp_bare_call"),
    row("mcp_bare_list", "", "bare", LIST, ""),
    row("mcp_list", "Wasm, a list of 50 tools of which 25 are allowed", "callgate", LIST, "mcp_bare_list"),
    row("module_mcp_list", "module, a list of 50 tools of which 25 are allowed", "module", LIST, "mcp_bare_list"),
];
const CALL: &str = "tools/call";
const LIST: &str = "tools/list";

const fn row(
    name: &'static str,
    what: &'static str,
    listener: &'static str,
    calls: &'static str,
    over: &'static str,
) -> Row<&'static str> {
    Row { name, what, listener, calls, over }
}

/// Measures requests for a tool and for the list of tools, in addition to a listener that only holds them until their bodies are complete.
pub(super) fn measure(built: &Built, size: &Size) -> Result<Vec<Measured>> {
    let callee = Callee::start()?;
    let token = token()?;
    let envoy = start(built, &callee)?;
    check_that_they_decide(&envoy, &token)?;
    compared::measure(
        "MCP, round",
        &envoy,
        size,
        &ROWS,
        |row| Clients::connect(envoy.listener(row.listener)?, size.connections),
        |row| Ok(vec![request(row.calls, &token).to_bytes(); size.calls]),
    )
}

fn start(built: &Built, callee: &Callee) -> Result<Envoy> {
    let mut base = rows::base(&built.filter, callee)?;
    answer_as_server(&mut base)?;
    let mut module_base = rows::base(&built.module, callee)?;
    answer_as_server(&mut module_base)?;
    let policy = policy()?;
    let bootstrap = Bootstrap::joined(vec![
        ("bare", base.with_filters(vec![native::buffer()])?),
        ("native", base.with_filters(vec![native::buffer(), native::mcp()])?),
        ("callgate", rows::buffered(rows::gate(&base, "callgate", &policy)?)?),
        ("module", rows::buffered(rows::gate(&module_base, "module", &policy)?)?),
    ])?;
    Envoy::start(&bootstrap, &Options::default())
}

/// Lets the listener answer as an MCP server does, by the method that the headers name.
fn answer_as_server(base: &mut Bootstrap) -> Result<()> {
    let host = base.virtual_hosts()?.first_mut().context("there is no virtual host")?;
    set(host, "domains", vec![HOST]);
    let json = json!([{
        "header": { "key": "content-type", "value": "application/json" },
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }]);
    let route = |method: &str, answer: &Value| {
        json!({
            "match": { "prefix": "/", "headers": [{ "name": "mcp-method", "string_match": { "exact": method } }] },
            "direct_response": { "status": 200, "body": { "inline_string": answer.to_string() } },
            "response_headers_to_add": json,
        })
    };
    let content = json!([{ "type": "text", "text": "The payment was started." }]);
    let called = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": content, "isError": false } });
    let listed = (0..TOOLS).map(definition).collect::<Vec<_>>();
    let listed = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": listed } });
    let others = host.pointer("/routes/0").context("there is no route")?.clone();
    set(host, "routes", vec![route(CALL, &called), route(LIST, &listed), others]);
    let routes = base.manager()?.get_mut("route_config").context("there are no routes")?;
    set(routes, "max_direct_response_body_size_bytes", 1 << 16);
    Ok(())
}

/// Returns the policy of `examples/mcp` with limits that are never reached, and with half of the tools in the list.
fn policy() -> Result<Value> {
    let file = paths::root().join("examples/mcp/policy.yaml");
    let policy = callgate_kit::document::read(file).context("the policy of examples/mcp cannot be read")?;
    let mut policy = policy.value().clone();
    policies::raise_limits(&mut policy);
    let tools = policy.pointer_mut("/endpoints/0/rpc/tools").and_then(Value::as_array_mut);
    let allowed = (0..ALLOWED).map(|number| {
        let bindings = json!({ "argument./tenant": "token.tenant" });
        json!({ "name": tool(number * 2), "effect": "read", "scopes": "none", "bind": bindings })
    });
    tools.context("the policy has no tools")?.extend(allowed);
    Ok(policy)
}

fn tool(number: usize) -> String {
    format!("get_report_{number:02}")
}

/// Returns the definition of a tool, as long as a short one of a real server.
fn definition(number: usize) -> Value {
    json!({
        "name": tool(number),
        "description": "Returns a report about the payments of a tenant.",
        "inputSchema": {
            "type": "object",
            "properties": { "tenant": { "type": "string" }, "month": { "type": "string" } },
            "required": ["tenant"],
        },
    })
}

fn token() -> Result<String> {
    let file = paths::root().join("examples/mcp/keys/es256.jwk.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let jwk = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let key = SigningKey::from_jwk(&jwk).with_context(|| format!("{} cannot sign", file.display()))?;
    let mut header = key.header();
    set(&mut header, "typ", "at+jwt");
    let now = now()?;
    let claims = json!({
        "iss": "https://idp.example.com",
        "aud": "https://payments.example.com/mcp",
        "sub": "payments-agent",
        "client_id": "payments-agent",
        "tenant": "acme",
        "scope": "payments:read payments:write",
        "iat": now,
        "exp": now + 600,
        "jti": "1",
    });
    Ok(key.sign(&header, &claims))
}

/// Returns the request with this method. That for a tool is padded to its size with an argument that the policy does not bind.
fn request(method: &str, token: &str) -> Request {
    let message = |params: Value| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let request = Request::post("/mcp")
        .host(HOST)
        .bearer(token)
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json")
        .header("MCP-Protocol-Version", REVISION)
        .header("Mcp-Method", method);
    if method == LIST {
        return request.body(message(json!({})));
    }
    let call = |note: &str| {
        let arguments = json!({ "tenant": "acme", "payee": "Paper Ltd", "amount": 250, "note": note });
        message(json!({ "name": "create_payment", "arguments": arguments }))
    };
    let note = "n".repeat(BODY.saturating_sub(call("").len()));
    request.header("Mcp-Name", "create_payment").body(call(&note))
}

/// A row whose filter does not run would look cheap.
fn check_that_they_decide(envoy: &Envoy, token: &str) -> Result<()> {
    let forged = token.rsplit_once('.').map(|(signed, _)| format!("{signed}.{}", "A".repeat(86)));
    let forged = request(CALL, &forged.context("the token has no signature")?);
    let other = Request::post("/mcp").host(HOST).header("Content-Type", "application/json").body("{}");
    for (listener, request, expected) in [("callgate", &forged, 401), ("module", &forged, 401), ("native", &other, 400)]
    {
        let status = client::call(envoy.listener(listener)?, request)?.status;
        ensure!(status == expected, "listener `{listener}`: the response to a request that is rejected is {status}");
    }
    for (listener, expected) in [("bare", TOOLS), ("callgate", ALLOWED), ("module", ALLOWED)] {
        let answer = client::call(envoy.listener(listener)?, &request(LIST, token))?;
        let listed = answer.json().pointer("/result/tools").and_then(Value::as_array).map_or(0, Vec::len);
        ensure!(listed == expected, "listener `{listener}`: the client sees {listed} tools: {}", answer.text());
    }
    Ok(())
}
