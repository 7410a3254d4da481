//! The field `rpc` of an endpoint: the operations of JSON-RPC and of the Model Context Protocol (MCP).

use std::collections::BTreeMap;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "schema")]
use super::form;
use super::scalar::{ScopesAsked, Size};
use super::{Bindings, Effect};

/// The allowlist of the operations of an endpoint whose requests are JSON-RPC 2.0 messages. The body of each `POST` must be one message in
/// `application/json` without a content coding. Batches and all operations that are not listed are denied.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rpc {
    /// The protocol of the messages.
    pub protocol: RpcProtocol,
    /// The revisions of MCP that clients may speak. Required for `mcp`, and not used for `json-rpc`. A request in another revision is
    /// denied. An `initialize` that proposes another one, and a request without `MCP-Protocol-Version`, count as the newest listed revision
    /// before 2026, and are denied if none is listed.
    #[serde(default)]
    pub revisions: Vec<McpRevision>,
    /// The origins of web pages whose requests are accepted, such as `https://chat.example.com`. Default: none, and every request
    /// with `Origin` is denied. Requests without `Origin` do not come from web pages.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::WebOrigin>"))]
    pub origins: Vec<String>,
    /// How denials are answered. Default: `rpc`.
    #[serde(default)]
    pub denials: RpcDenials,
    /// Whether clients may send responses to requests of the server. Revisions from 2026-07-28 on have no such requests. Default:
    /// `reject`.
    #[serde(default)]
    pub client_responses: ClientResponses,
    /// Which tools, resources and prompts a client sees in the server's lists. Only for `mcp`. Default: `reachable`.
    #[serde(default)]
    pub list: Option<RpcList>,
    /// The maximum size of a JSON answer, or of an event in an event stream, from `1KiB` to `768KiB`. It applies to every answer of the
    /// endpoint, also to results of tools, resources and prompts, unless `list` is `unfiltered`. The client gets an error instead of a larger
    /// one, although the server has executed the request. Only for `mcp`. Default: `256KiB`.
    #[serde(default)]
    pub max_answer: Option<Size>,
    /// The names of the limits that apply to each request which names no operation, in addition to those of the endpoint: lifecycle and
    /// list requests, notifications and session requests. Only for `mcp`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Name>"))]
    pub lifecycle_limits: Vec<String>,
    /// The tools that clients may use. Only for `mcp`.
    #[serde(default)]
    pub tools: Vec<RpcTool>,
    /// The resources that clients may read and subscribe to. Only for `mcp`.
    #[serde(default)]
    pub resources: Vec<RpcResource>,
    /// The prompts that clients may get. Only for `mcp`.
    #[serde(default)]
    pub prompts: Vec<RpcOperation>,
    /// The methods that clients may use. For `json-rpc`, these are all operations. For `mcp`, they are `tasks/*` and methods that MCP does
    /// not define.
    #[serde(default)]
    pub methods: Vec<RpcOperation>,
}

/// The protocol of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RpcProtocol {
    /// Any protocol of JSON-RPC 2.0 messages, such as A2A. Each message names its operation in `method`.
    JsonRpc,
    /// The Model Context Protocol over Streamable HTTP.
    Mcp,
}

impl RpcProtocol {
    /// Returns the protocol's name in the document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonRpc => "json-rpc",
            Self::Mcp => "mcp",
        }
    }
}

/// A revision of MCP. Earlier revisions are not supported, because they allow several messages in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum McpRevision {
    /// The revision of June 18, 2025.
    #[serde(rename = "2025-06-18")]
    V2025_06_18,
    /// The revision of November 25, 2025.
    #[serde(rename = "2025-11-25")]
    V2025_11_25,
    /// The revision of July 28, 2026: without sessions, and with headers that must agree with the body.
    #[serde(rename = "2026-07-28")]
    V2026_07_28,
}

impl McpRevision {
    /// Returns the revision as clients and policies write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Returns whether the revision has no sessions. Each of its requests names its revision, and its headers repeat parts of the body.
    #[must_use]
    pub fn is_stateless(self) -> bool {
        self >= Self::V2026_07_28
    }
}

/// How the denials of an endpoint with `rpc` are answered. The body is a JSON-RPC error in either case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RpcDenials {
    /// With the HTTP status of the reason. Several MCP clients then end the session and do not show the reason.
    Http,
    /// With HTTP status 200 if the message could be read. Clients then show the reason and keep the session. Invalid credentials,
    /// missing scopes, origins, revisions and headers that disagree with the body keep their status.
    #[default]
    Rpc,
}

/// Whether clients may send responses to requests of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClientResponses {
    /// They are forwarded. Their contents are not checked.
    Allow,
    /// They are denied.
    #[default]
    Reject,
}

/// Which entries of the server's lists a client sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RpcList {
    /// Those that the agent may use with the scopes that it has now.
    Granted,
    /// Those that the policy lists and that the agent may use, now or with further scopes: what `agents` and `at_most` exclude is hidden,
    /// and what does not accept the `delegation` of the token.
    #[default]
    Reachable,
    /// All of them. Lists are not filtered, and pins are not checked.
    Unfiltered,
}

/// A tool of an MCP server.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RpcTool {
    /// The tool's name, compared byte for byte.
    pub name: String,
    /// What the tool does to the API's data.
    pub effect: Effect,
    /// The scopes that the tool needs, in addition to those of the endpoint. Required, unless the requirement of the effect has scopes.
    #[serde(default)]
    pub scopes: Option<ScopesAsked>,
    /// The agents that may use the tool, by their names or the names of `groups`. They must be allowed to use the endpoint as well. Default:
    /// every agent that may use the endpoint.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<form::Name>>"))]
    pub agents: Option<Vec<String>>,
    /// The arguments that must fit a claim of the token, an attribute of the agent or a fixed value, such as `argument./owner:
    /// token.org`. An argument that is missing fits nothing.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::OperationBindingKey, super::BindingRule>"))]
    pub bind: Bindings,
    /// The names of the limits that apply to each use of the tool, in addition to those of the endpoint.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Name>"))]
    pub limits: Vec<String>,
    /// The number of requests that one use counts as. Default: the endpoint's `cost`.
    #[serde(default)]
    pub cost: Option<u32>,
    /// The headers that must equal an argument: what follows `Mcp-Param-` in the header's name, with a JSON pointer into the arguments,
    /// such as `Region: /region`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::McpParameter, form::JsonPointer>"))]
    pub headers: BTreeMap<String, String>,
    /// The accepted definitions of the tool, each by the SHA-256 of its canonical JSON (RFC 8785) in lower case. A tool whose definition in
    /// the server's list is another one is hidden and denied. Default: every definition is accepted.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Sha256>"))]
    pub pin: Vec<String>,
}

/// Resources of an MCP server.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RpcResource {
    /// The URI, or a template of URIs, such as `file:///reports/{team}/{file...}`. Variables are those of path templates. If several
    /// templates match a URI, only the most specific one counts. The scheme has no variables, and the host of an `http`, `https` or `file`
    /// URI has none. URIs with a query or fragment, and URIs without `//`, have no variables.
    #[cfg_attr(feature = "schema", schemars(with = "form::ResourceUri"))]
    pub uri: String,
    /// What reading a resource does to the API's data.
    pub effect: Effect,
    /// The scopes that the resources need, in addition to those of the endpoint. Required, unless the requirement of the effect has
    /// scopes.
    #[serde(default)]
    pub scopes: Option<ScopesAsked>,
    /// The agents that may use the resources, by their names or the names of `groups`. They must be allowed to use the endpoint as well. Default:
    /// every agent that may use the endpoint.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<form::Name>>"))]
    pub agents: Option<Vec<String>>,
    /// The variables of the URI that must fit a claim of the token, an attribute of the agent or a fixed value, such as `uri.team:
    /// token.team`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::OperationBindingKey, super::BindingRule>"))]
    pub bind: Bindings,
    /// The names of the limits that apply to each request for such a resource, in addition to those of the endpoint.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Name>"))]
    pub limits: Vec<String>,
    /// The number of requests that one request for such a resource counts as. A subscription counts once for each of its resources, and is
    /// always denied if that is more than the burst of a limit. Default: the endpoint's `cost`.
    #[serde(default)]
    pub cost: Option<u32>,
}

/// A prompt of an MCP server, or a method of JSON-RPC.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RpcOperation {
    /// The name of the prompt or of the method, compared byte for byte.
    pub name: String,
    /// What the operation does to the API's data.
    pub effect: Effect,
    /// The scopes that the operation needs, in addition to those of the endpoint. Required, unless the requirement of the effect has
    /// scopes.
    #[serde(default)]
    pub scopes: Option<ScopesAsked>,
    /// The agents that may use the operation, by their names or the names of `groups`. They must be allowed to use the endpoint as well. Default:
    /// every agent that may use the endpoint.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<form::Name>>"))]
    pub agents: Option<Vec<String>>,
    /// The parts that must fit a claim of the token, an attribute of the agent or a fixed value: `argument./team` for an argument of a
    /// prompt, and `params./message/contextId` for a parameter of a method. Parameters must then be an object.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::OperationBindingKey, super::BindingRule>"))]
    pub bind: Bindings,
    /// The names of the limits that apply to each use of the operation, in addition to those of the endpoint.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Name>"))]
    pub limits: Vec<String>,
    /// The number of requests that one use counts as. Default: the endpoint's `cost`.
    #[serde(default)]
    pub cost: Option<u32>,
}

/// What the entries for tools, resources, prompts and methods have in common.
#[derive(Debug, Clone, Copy)]
pub struct OperationEntry<'d> {
    /// The list that has the entry: `tools`, `resources`, `prompts` or `methods`.
    pub list: &'static str,
    /// The position in that list, counted from 0.
    pub index: usize,
    /// The name, or the URI.
    pub name: &'d str,
    /// The effect.
    pub effect: Effect,
    /// The scopes of the entry itself.
    pub scopes: Option<&'d ScopesAsked>,
    /// The agents and groups of the entry itself.
    pub agents: Option<&'d [String]>,
    /// The bindings.
    pub bind: &'d Bindings,
    /// The limits of the entry itself.
    pub limits: &'d [String],
    /// The cost.
    pub cost: Option<u32>,
    /// The tool, if the entry is one.
    pub tool: Option<&'d RpcTool>,
}

impl Rpc {
    /// Iterates over the entries of all operations: tools, resources, prompts and methods.
    pub fn operations(&self) -> impl Iterator<Item = OperationEntry<'_>> {
        let tools = self.tools.iter().enumerate().map(|(index, raw)| OperationEntry {
            list: "tools",
            index,
            name: &raw.name,
            effect: raw.effect,
            scopes: raw.scopes.as_ref(),
            agents: raw.agents.as_deref(),
            bind: &raw.bind,
            limits: &raw.limits,
            cost: raw.cost,
            tool: Some(raw),
        });
        let resources = self.resources.iter().enumerate().map(|(index, raw)| OperationEntry {
            list: "resources",
            index,
            name: &raw.uri,
            effect: raw.effect,
            scopes: raw.scopes.as_ref(),
            agents: raw.agents.as_deref(),
            bind: &raw.bind,
            limits: &raw.limits,
            cost: raw.cost,
            tool: None,
        });
        let prompts = self.prompts.iter().enumerate().map(|(index, raw)| ("prompts", index, raw));
        let methods = self.methods.iter().enumerate().map(|(index, raw)| ("methods", index, raw));
        let named = prompts.chain(methods).map(|(list, index, raw)| OperationEntry {
            list,
            index,
            name: &raw.name,
            effect: raw.effect,
            scopes: raw.scopes.as_ref(),
            agents: raw.agents.as_deref(),
            bind: &raw.bind,
            limits: &raw.limits,
            cost: raw.cost,
            tool: None,
        });
        tools.chain(resources).chain(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_come_in_the_order_of_the_lists() {
        let rpc: Rpc = serde_json::from_str(
            r#"{"protocol":"mcp","revisions":["2025-06-18","2026-07-28"],
                "methods":[{"name":"tasks/get","effect":"read","scopes":"none"}],
                "prompts":[{"name":"p","effect":"read","scopes":["a"],"cost":2}],
                "tools":[{"name":"t","effect":"write","limits":["l"],"headers":{"Region":"/region"}}],
                "resources":[{"uri":"urn:a","effect":"read"},{"uri":"urn:b","effect":"destructive"}]}"#,
        )
        .unwrap();
        let entries: Vec<_> = rpc.operations().map(|entry| (entry.list, entry.index, entry.name)).collect();
        assert_eq!(
            entries,
            [
                ("tools", 0, "t"),
                ("resources", 0, "urn:a"),
                ("resources", 1, "urn:b"),
                ("prompts", 0, "p"),
                ("methods", 0, "tasks/get")
            ]
        );
        let tool = rpc.operations().next().unwrap();
        assert_eq!((tool.effect, tool.limits), (Effect::Write, &["l".to_owned()][..]));
        assert!(tool.tool.is_some() && tool.scopes.is_none() && tool.bind.iter().len() == 0);
        assert_eq!(rpc.operations().filter_map(|entry| entry.cost).collect::<Vec<_>>(), [2]);
        assert_eq!((rpc.denials, rpc.client_responses), (RpcDenials::Rpc, ClientResponses::Reject));
        assert!(rpc.list.is_none() && rpc.max_answer.is_none() && rpc.origins.is_empty());
    }

    #[test]
    fn revisions_have_their_names_and_order() {
        let all = [McpRevision::V2025_06_18, McpRevision::V2025_11_25, McpRevision::V2026_07_28];
        assert!(all.is_sorted());
        for revision in all {
            let read: McpRevision = serde_json::from_str(&format!("\"{}\"", revision.name())).unwrap();
            assert_eq!(read, revision);
            assert_eq!(revision.is_stateless(), revision.name().starts_with("2026"));
        }
        for unknown in ["2025-03-26", "2024-11-05", "2026-07-28 ", "latest"] {
            serde_json::from_str::<McpRevision>(&format!("\"{unknown}\"")).unwrap_err();
        }
    }

    #[test]
    fn unknown_fields_are_errors() {
        for wrong in [
            r#"{"protocol":"mcp","tool":[]}"#,
            r#"{"protocol":"mcp","tools":[{"name":"t","effect":"read","params":{}}]}"#,
            r#"{"protocol":"mcp","resources":[{"uri":"urn:a","effect":"read","pin":[]}]}"#,
            r#"{"protocol":"mcp","prompts":[{"name":"p","effect":"read","headers":{}}]}"#,
            r#"{"revisions":[]}"#,
            r#"{"protocol":"grpc"}"#,
            r#"{"protocol":"mcp","tools":[{"name":"t"}]}"#,
        ] {
            serde_json::from_str::<Rpc>(wrong).unwrap_err();
        }
    }
}
