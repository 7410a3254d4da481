//! The requests of the demo of MCP: what the payments agent of `examples/mcp` may do, mistakes, and what a text could persuade it to try.

use std::fs;

use anyhow::{Context as _, Result};
use callgate_kit::mint::SigningKey;
use serde_json::{Value, json};

use crate::client::Request;
use crate::demo::calls::Call;
use crate::paths;
use crate::quickstart::{now, set};

/// The server's host in the policy.
pub(super) const HOST: &str = "payments.example.com";
const REVISION: &str = "2026-07-28";

/// Returns all requests, in the order of the table.
///
/// # Errors
/// When the key of the example's issuer cannot be read.
pub(super) fn requests() -> Result<Vec<Call>> {
    let issuer = Issuer::new()?;
    let first = issuer.token("payments:read payments:write");
    let second = issuer.token("payments:read payments:refund");
    let tool = |name: &str, arguments: Value, token: &str| {
        rpc("tools/call", Some(name), json!({ "name": name, "arguments": arguments }), token)
    };
    let read = |uri: &str| rpc("resources/read", Some(uri), json!({ "uri": uri }), &first);
    let list = |tenant: &str| tool("list_payments", json!({ "tenant": tenant }), &first);
    let pay = |amount: Value| {
        tool("create_payment", json!({ "tenant": "acme", "payee": "Paper Ltd", "amount": amount }), &first)
    };
    let refund = |token: &str| tool("refund_payment", json!({ "tenant": "acme", "payment": "p-1" }), token);
    let call = |title, request, status, reason| Call { title, request, earlier: 0, status, reason };
    Ok(vec![
        call("a client without a token", message(json!({})), 401, "credentials_missing"),
        call("the agent lists the tools", rpc("tools/list", None, json!({}), &first), 200, "allowed"),
        call("it lists the payments of its tenant", list("acme"), 200, "allowed"),
        call("the payments of another tenant", list("globex"), 200, "binding_mismatch"),
        call(
            "a tool that is not in the policy",
            tool("export_ledger", json!({}), &first),
            200,
            "operation_not_allowed",
        ),
        call("it starts a payment of 250", pay(json!(250)), 200, "allowed"),
        call("a payment of 5000", pay(json!(5000)), 200, "binding_mismatch"),
        call("an amount that is a text", pay(json!("5000")), 200, "binding_mismatch"),
        Call { earlier: 2, ..call("its fourth payment in a row", pay(json!(250)), 200, "rate_limited") },
        call("a receipt of its tenant", read("payments://ledger/acme/p-1"), 200, "allowed"),
        call("a receipt of another tenant", read("payments://ledger/globex/p-9"), 200, "binding_mismatch"),
        call(
            "a header that names another tool",
            rpc("tools/call", Some("get_payment"), json!({ "name": "export_ledger", "arguments": {} }), &first),
            400,
            "rpc_header_mismatch",
        ),
        call("two messages in one request", message(json!([{}, {}])).bearer(&first), 400, "rpc_malformed"),
        call("a refund, without the scope for it", refund(&first), 403, "insufficient_scope"),
        call("a refund, with another token", refund(&second), 200, "allowed"),
    ])
}

/// Returns a request with a token, and with the headers that repeat what its message says.
fn rpc(method: &str, name: Option<&str>, mut params: Value, token: &str) -> Request {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "payments-agent", "version": "1" },
    });
    set(&mut params, "_meta", meta);
    let request = message(json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }));
    let request = request.bearer(token).header("Mcp-Method", method);
    match name {
        Some(name) => request.header("Mcp-Name", name),
        None => request,
    }
}

fn message(message: Value) -> Request {
    Request::post("/mcp")
        .host(HOST)
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", REVISION)
        .body(message.to_string())
}

/// Mints tokens as the issuer of `examples/mcp` does.
struct Issuer {
    key: SigningKey,
    now: u64,
}

impl Issuer {
    fn new() -> Result<Self> {
        let file = paths::root().join("examples/mcp/keys/es256.jwk.json");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let jwk = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
        let key = SigningKey::from_jwk(&jwk).with_context(|| format!("{} cannot sign", file.display()))?;
        Ok(Self { key, now: now()? })
    }

    /// Mints an access token of the payments agent, for the tenant `acme`.
    fn token(&self, scopes: &str) -> String {
        let mut header = self.key.header();
        set(&mut header, "typ", "at+jwt");
        let claims = json!({
            "iss": "https://idp.example.com",
            "aud": "https://payments.example.com/mcp",
            "sub": "payments-agent",
            "client_id": "payments-agent",
            "tenant": "acme",
            "scope": scopes,
            "iat": self.now,
            "exp": self.now + 600,
            "jti": scopes,
        });
        self.key.sign(&header, &claims)
    }
}
