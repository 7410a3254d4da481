//! The gateway that the suite checks: Callgate in an Envoy that the suite starts, or another one at an address.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use serde_json::{Value, json};

use super::messages::{PROMPT, SCOPED_TOOL, SCOPES, SQL_TOOL, TOOL, UNICODE_TOOL};
use super::scenario::Need;
use crate::build::Flavor;
use crate::envoy::{Adapter, Bootstrap, Envoy, Options};
use crate::quickstart::{self, HOST, Issuer, set};

/// The identifier of the MCP server behind Callgate.
const RESOURCE_ID: &str = "https://api.example.com/stream/mcp";
/// The endpoint for all revisions. The shipped configuration of Envoy has no time limit for routes below `/stream/`.
const PATH: &str = "/stream/mcp";
/// The endpoint for 2026-07-28 only.
const MODERN_PATH: &str = "/stream/mcp/modern";
/// The origin whose pages may send requests.
const ORIGIN: &str = "https://chat.example.com";
const AGENT: &str = "suite";

/// The tokens that the suite sends.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// A valid token with all scopes.
    pub full: Option<String>,
    /// A valid token without scopes.
    pub narrow: Option<String>,
    /// A token that was issued for another resource.
    pub foreign: Option<String>,
    /// A token that was valid once.
    pub expired: Option<String>,
}

/// Another gateway than Callgate.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The MCP endpoint for all revisions: an `http` URL.
    pub url: String,
    /// The value of `Host`, if it is not the one of the URL.
    pub host: Option<String>,
    /// The path of an endpoint for 2026-07-28 only.
    pub modern_path: Option<String>,
    /// The resource identifier of the MCP server (RFC 9728), if it is not the URL.
    pub resource: Option<String>,
    /// An origin that the gateway accepts.
    pub origin: Option<String>,
    /// The tokens.
    pub tokens: Tokens,
    /// Where the suite's server listens, for the gateway to forward to.
    pub upstream: SocketAddr,
    /// What the gateway does not do.
    pub without: Vec<Need>,
}

/// Where and how the suite sends requests.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) host: String,
    /// The path of the endpoint for all revisions.
    pub(super) path: String,
    /// The path of the endpoint for 2026-07-28 only.
    pub(super) modern_path: Option<String>,
    pub(super) resource: String,
    pub(super) origin: String,
    pub(super) tokens: Tokens,
    /// What the gateway does not do, and what is not known about it.
    pub(super) lacks: Vec<Need>,
}

impl Target {
    /// Returns the gateway at an address.
    pub(super) fn remote(remote: &Remote) -> Result<Self> {
        let Remote { url, host, modern_path, resource, origin, tokens, without, .. } = remote;
        let rest = url.strip_prefix("http://");
        let rest = rest.with_context(|| format!("invalid URL `{url}`; expected an `http` URL, without TLS"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        ensure!(!authority.is_empty(), "invalid URL `{url}`; expected a host");
        let with_port = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let address = with_port.to_socket_addrs().with_context(|| format!("cannot resolve `{authority}`"))?.next();
        let mut lacks = without.clone();
        let given = [
            (Need::Tokens, tokens.full.is_some()),
            (Need::NarrowToken, tokens.narrow.is_some()),
            (Need::ForeignToken, tokens.foreign.is_some()),
            (Need::ExpiredToken, tokens.expired.is_some()),
            (Need::ModernPath, modern_path.is_some()),
        ];
        lacks.extend(given.into_iter().filter(|(_, is_given)| !is_given).map(|(need, _)| need));
        Ok(Self {
            address: address.with_context(|| format!("`{authority}` has no address"))?,
            host: host.clone().unwrap_or_else(|| authority.to_owned()),
            path: format!("/{path}"),
            modern_path: modern_path.clone(),
            resource: resource.clone().unwrap_or_else(|| url.clone()),
            origin: origin.clone().unwrap_or_else(|| ORIGIN.to_owned()),
            tokens: tokens.clone(),
            lacks,
        })
    }

    /// Returns a target at this address without a gateway, to test the suite itself.
    pub(super) fn bare(address: SocketAddr, without: &[Need]) -> Self {
        let token = |name: &str| Some(format!("{name}.{name}.{name}"));
        let tokens = Tokens {
            full: token("full"),
            narrow: token("narrow"),
            foreign: token("foreign"),
            expired: token("expired"),
        };
        Self { lacks: without.to_vec(), ..Self::callgate_at(address, tokens) }
    }

    /// Starts Callgate with this policy in front of a server.
    pub(super) fn callgate(policy: &Value, upstream: SocketAddr) -> Result<(Self, Envoy)> {
        let module = Adapter::chosen()?.build(Flavor::Release)?;
        let bootstrap = Bootstrap::new(&module, &policy.to_string(), upstream)?;
        let envoy = Envoy::start(&bootstrap, &Options::default())?;
        let issuer = Issuer::new()?;
        let issued_for = |resource: &'static str| move |_: &mut Value, claims: &mut Value| set(claims, "aud", resource);
        let full = SCOPES.join(" ");
        let tokens = Tokens {
            full: Some(issuer.with(AGENT, &full, issued_for(RESOURCE_ID))),
            narrow: Some(issuer.with(AGENT, "", issued_for(RESOURCE_ID))),
            foreign: Some(issuer.with(AGENT, &full, issued_for("https://other.example.com"))),
            expired: Some(issuer.with(AGENT, &full, |_, claims| {
                set(claims, "aud", RESOURCE_ID);
                set(claims, "iat", issuer.now.saturating_sub(1200));
                set(claims, "exp", issuer.now.saturating_sub(600));
            })),
        };
        let target = Self::callgate_at(envoy.api()?, tokens);
        Ok((target, envoy))
    }

    /// Describes Callgate as somebody describes another gateway, which forwards to this address.
    pub(super) fn as_remote(&self, upstream: SocketAddr) -> Remote {
        Remote {
            url: format!("http://{}{}", self.address, self.path),
            host: Some(self.host.clone()),
            modern_path: self.modern_path.clone(),
            resource: Some(self.resource.clone()),
            origin: Some(self.origin.clone()),
            tokens: self.tokens.clone(),
            upstream,
            without: self.lacks.clone(),
        }
    }

    fn callgate_at(address: SocketAddr, tokens: Tokens) -> Self {
        Self {
            address,
            host: HOST.to_owned(),
            path: PATH.to_owned(),
            modern_path: Some(MODERN_PATH.to_owned()),
            resource: RESOURCE_ID.to_owned(),
            origin: ORIGIN.to_owned(),
            tokens,
            lacks: Vec::new(),
        }
    }

    /// Returns why a scenario with these needs cannot run, or `None` if it can.
    pub(super) fn lacks(&self, needs: &[Need]) -> Option<String> {
        let missing: Vec<_> = Need::value_variants()
            .iter()
            .filter(|need| needs.contains(need) && self.lacks.contains(need))
            .map(ToString::to_string)
            .collect();
        (!missing.is_empty()).then(|| format!("without {}", missing.join(", ")))
    }
}

/// What the policy allows.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    pub(super) tools: Vec<Value>,
    pub(super) prompts: Vec<String>,
    /// The URI, or the template of URIs, of the resources.
    pub(super) resources: &'static str,
    pub(super) list: &'static str,
}

impl Allowed {
    /// Returns what the scenarios assume, as `docs/reference/mcp-conformance.md` describes it.
    pub(super) fn standard() -> Self {
        let mut sql = free_tool(SQL_TOOL);
        set(&mut sql, "headers", json!({ "Region": "/region", "Limit": "/limit", "Dry-Run": "/dry_run" }));
        let mut scoped = free_tool(SCOPED_TOOL);
        set(&mut scoped, "effect", "write");
        set(&mut scoped, "scopes", json!(SCOPES));
        Self {
            tools: vec![free_tool(TOOL), sql, free_tool(UNICODE_TOOL), scoped],
            prompts: vec![PROMPT.to_owned()],
            resources: "file:///project/{path...}",
            list: "reachable",
        }
    }
}

/// Returns the policy's entry for a tool that every client may use.
pub(super) fn free_tool(name: &str) -> Value {
    json!({ "name": name, "effect": "read", "scopes": "none" })
}

/// Returns the policy of Callgate for the suite.
pub(super) fn policy(allowed: &Allowed) -> Result<Value> {
    let issuers = quickstart::policy_with_keys()?.get("issuers").cloned();
    let issuers = issuers.context("the quickstart's policy has no issuers")?;
    let prompts = allowed.prompts.iter().map(|name| json!({ "name": name, "effect": "read", "scopes": "none" }));
    let rpc = json!({
        "protocol": "mcp",
        "revisions": ["2025-06-18", "2025-11-25", "2026-07-28"],
        "origins": [ORIGIN],
        "client_responses": "allow",
        "list": allowed.list,
        "tools": allowed.tools,
        "resources": [{ "uri": allowed.resources, "effect": "read", "scopes": "none" }],
        "prompts": prompts.collect::<Vec<_>>(),
    });
    let mut modern = rpc.clone();
    set(&mut modern, "revisions", json!(["2026-07-28"]));
    if let Some(rpc) = modern.as_object_mut() {
        rpc.remove("client_responses");
    }
    let endpoint = |id: &str, methods: Value, path: &str, rpc: Value| {
        json!({
            "id": id, "methods": methods, "path": path, "effect": "read", "scopes": "none",
            "max_json": "256KiB", "rpc": rpc,
        })
    };
    Ok(json!({
        "callgate": "v1",
        "name": "mcp-conformance",
        "mode": "enforce",
        "gateway": "envoy",
        "resource": "https://api.example.com",
        "hosts": [HOST],
        "resources": [{
            "base": PATH,
            "resource": RESOURCE_ID,
            "metadata": {
                "authorization_servers": ["https://idp.example.com"],
                "scopes": SCOPES,
                "initial_scopes": ["reports:read"],
            },
        }],
        "issuers": issuers,
        "agents": {
            AGENT: { "owner": "platform@example.com", "identity": { "issuer": "corp", "client_id": AGENT } },
        },
        "endpoints": [
            endpoint("mcp", json!(["POST", "GET", "DELETE"]), PATH, rpc),
            endpoint("mcp.modern", json!(["POST"]), MODERN_PATH, modern),
        ],
        "upstream": { "authorization": "remove" },
        "audit": { "headers": { "prefix": "x-callgate-" }, "log": { "allow": false, "deny": false } },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(url: &str) -> Remote {
        Remote {
            url: url.to_owned(),
            host: None,
            modern_path: None,
            resource: None,
            origin: None,
            tokens: Tokens::default(),
            upstream: ([127, 0, 0, 1], 0).into(),
            without: vec![Need::Lists],
        }
    }

    #[test]
    fn reads_the_url_of_a_gateway() {
        let target = Target::remote(&remote("http://127.0.0.1:9000/a/mcp")).unwrap();
        assert_eq!((target.address, target.path.as_str()), (([127, 0, 0, 1], 9000).into(), "/a/mcp"));
        assert_eq!((target.host.as_str(), target.resource.as_str()), ("127.0.0.1:9000", "http://127.0.0.1:9000/a/mcp"));
        assert_eq!(Target::remote(&remote("http://127.0.0.1")).unwrap().address.port(), 80);
        for wrong in ["https://127.0.0.1/mcp", "127.0.0.1/mcp", "http:///mcp"] {
            assert!(Target::remote(&remote(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_what_a_gateway_lacks() {
        let target = Target::remote(&remote("http://127.0.0.1/mcp")).unwrap();
        assert_eq!(target.lacks(&[Need::Bodies]), None);
        let lacks = target.lacks(&[Need::Tokens, Need::Lists, Need::Bodies]);
        assert_eq!(lacks.as_deref(), Some("without lists, tokens"));
    }
}
