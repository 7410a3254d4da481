//! The `endpoints` and `requirements` sections of the policy document.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "schema")]
use super::form;
use super::limit::yes;
use super::scalar::{Lifetime, ScopesAsked};
use super::{Authentication, Bindings, DelegationAsked, Mode, Rpc, SignatureAsked, Size, Streams, TokenAsked};

/// What a request does to the API's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Makes a change that can be undone.
    Write,
    /// Makes a change that cannot be undone, or is dangerous in another way.
    Destructive,
}

impl Effect {
    /// Returns the effect's name in the document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        }
    }
}

/// The requirements for all endpoints with one effect.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// The scopes that every request with this effect needs, in addition to those of the endpoint.
    #[serde(default)]
    pub scopes: Option<ScopesAsked>,
    /// `bound` if requests need a key-bound access token (see `dpop`) and bearer tokens are rejected. A caller that authenticates
    /// with a signature alone (`authenticate`) has no token. Its request is accepted because the signature proves possession of a
    /// key.
    #[serde(default)]
    pub token: Option<TokenAsked>,
    /// Whether bodies are accepted that the upstream may read method overrides and parameters from: forms, and every other kind
    /// that `upstream.merges` lists.
    #[serde(default)]
    pub form_bodies: Option<FormBodies>,
    /// Whether the caller must sign every request with this effect (RFC 9421).
    #[serde(default)]
    pub signature: Option<SignatureAsked>,
    /// The credential that authenticates the caller, or a list of credentials of which one is enough. Each credential of the list
    /// that a request contains must be valid and belong to the same agent. A client certificate next to another credential is ignored if it
    /// identifies no agent, and denied if it cannot be read, has expired, or has a SPIFFE ID and another URI. Default: `token`.
    #[serde(default)]
    pub authenticate: Option<Authentication>,
    /// Whether tokens with an actor (`act`) are accepted, and requests made for somebody else. Default: `none`.
    #[serde(default)]
    pub delegation: Option<DelegationAsked>,
    /// The maximum age of the token: the time since it was issued (`iat`), apart from `clock_skew`. A token without `iat` is denied. Of a
    /// caller without a token, the signature must be as young; other credentials are denied.
    #[serde(default)]
    pub max_age: Option<Lifetime>,
    /// The maximum lifetime (`exp` − `iat`) of the token, less than the `max_lifetime` of its issuer. A token without `iat` is denied. A
    /// caller with a signature alone is not affected; other credentials are denied.
    #[serde(default)]
    pub max_lifetime: Option<Lifetime>,
    /// The limits that apply to every request with this effect, in addition to those of the endpoint. Public endpoints have no
    /// authenticated caller, so limits per agent or per issuer do not apply to them.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Name>"))]
    pub limits: Vec<String>,
}

/// Whether forms and the other bodies that the upstream merges with the query (`upstream.merges`) are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FormBodies {
    /// They are accepted. This includes endpoints with a bound query parameter, if the upstream does not merge these bodies with
    /// the query.
    Allow,
    /// They are rejected. This covers all forms, other kinds that `upstream.merges` lists, and bodies without a `Content-Type`.
    Reject,
}

/// An entry of the allowlist.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The endpoint's name in records, metrics and messages: 1 to 64 letters, digits, `-`, `_` or `.`.
    #[cfg_attr(feature = "schema", schemars(with = "form::Name"))]
    pub id: String,
    /// The hosts of this endpoint, a subset of the policy's hosts. Default: all of them.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<form::Host>>"))]
    pub hosts: Option<Vec<String>>,
    /// The exact methods. `GET` does not include `HEAD`.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Method>"))]
    pub methods: Vec<String>,
    /// The path template, such as `/repos/{owner}/{repo}/pulls/{n:int}`. The policy reference lists the types of variables under "Path
    /// values".
    #[cfg_attr(feature = "schema", schemars(with = "form::PathTemplate"))]
    pub path: String,
    /// What the request does to the API's data.
    pub effect: Effect,
    /// `public` if the endpoint requires no credential. Default: the caller must authenticate.
    #[serde(default)]
    pub access: Option<Access>,
    /// How a public endpoint handles a credential that the policy could verify. Default: `verify`.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// `bound` if the request needs a key-bound access token (see `dpop`) and bearer tokens are rejected. A caller that
    /// authenticates with a signature alone (`authenticate`) has no token. Its request is accepted because the signature proves
    /// possession of a key.
    #[serde(default)]
    pub token: Option<TokenAsked>,
    /// The scopes that the request needs: a list of scopes that are all required, `{ all: [...], any: [...] }`, or `none`.
    #[serde(default)]
    pub scopes: Option<ScopesAsked>,
    /// The parts of the request that must fit a claim of the token, an attribute of the agent or a fixed value, such as `path.owner:
    /// token.org`. Without an operator, they must equal it. A part that is missing fits nothing.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::BindingKey, super::BindingRule>"))]
    pub bind: Bindings,
    /// The maximum size of a request's JSON body, from `1KiB` to `1MiB`, where a part of the body is bound (`body./owner`). A larger body
    /// is rejected with `json_too_large`. Until the body was checked, it is held by the gateway and kept by the filter, so the gateway's
    /// buffers must hold as much, and it counts twice in `held_bodies`. Default: `64KiB`, or `max_body` if that is less and requests are
    /// signed.
    #[serde(default)]
    pub max_json: Option<Size>,
    /// The escapes that values of `{x:text}` and `{x...}` may contain on this endpoint, in upper or lower case. All other escapes
    /// are rejected. A value that an upstream could read as the path of another endpoint is rejected with `path_value_ambiguous`.
    #[serde(default)]
    pub allow_escapes: Vec<Escape>,
    /// Whether tokens with an actor (`act`) are accepted, and requests made for somebody else. Default: the requirement of the effect, or else `none`.
    #[serde(default)]
    pub delegation: Option<DelegationAsked>,
    /// The maximum age of the token, instead of that in the requirement of the effect. Default: the requirement of the effect.
    #[serde(default)]
    pub max_age: Option<Lifetime>,
    /// The maximum lifetime of the token, instead of that in the requirement of the effect. Default: the requirement of the effect.
    #[serde(default)]
    pub max_lifetime: Option<Lifetime>,
    /// The agents that may use this endpoint, by their names or the names of `groups`. Unregistered clients are none of them. Default:
    /// every agent.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<form::Name>>"))]
    pub agents: Option<Vec<String>>,
    /// Whether all requests to this endpoint are denied. The entry is kept.
    #[serde(default)]
    pub suspended: bool,
    /// `recheck` if open streams are checked again while data flows, on gateways that can end them. Default: a stream outlives its
    /// credential, up to the gateway's own bound.
    #[serde(default)]
    pub streams: Option<Streams>,
    /// The protocol to which a request may upgrade its connection.
    #[serde(default)]
    pub upgrade: Option<Upgrade>,
    /// Whether the caller must sign the request (RFC 9421), including its body. Default: the requirement of the effect. Without
    /// one, signatures are not checked.
    #[serde(default)]
    pub signature: Option<SignatureAsked>,
    /// The credential that authenticates the caller, or a list of credentials of which one is enough. Each credential of the list
    /// that a request contains must be valid and belong to the same agent. A client certificate next to another credential is ignored if it
    /// identifies no agent, because it is of an unknown workload, another trust domain, a proxy or an authority; one that cannot be read,
    /// has expired, or has a SPIFFE ID and another URI is denied. Default: the requirement of the effect, or else `token`.
    #[serde(default)]
    pub authenticate: Option<Authentication>,
    /// `false` if a signed request may be accepted more than once, which requires the effect `read`. Default: a signed request is
    /// accepted once. A proof of possession is accepted once in any case.
    #[serde(default = "yes")]
    pub replay: bool,
    /// `stream` if clients wait for responses before they end their request body, as in streaming gRPC. The body is then never
    /// held.
    #[serde(default)]
    pub body: Option<Body>,
    /// Whether forms, and every other kind of body that `upstream.merges` lists, are accepted. Default: the requirement of the
    /// effect. Without one, the kinds that `upstream.merges` lists are rejected if a query parameter is bound.
    #[serde(default)]
    pub form_bodies: Option<FormBodies>,
    /// The names of the limits that apply to the request.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Name>"))]
    pub limits: Vec<String>,
    /// The number of requests that one request to this endpoint counts as. Default: 1.
    #[serde(default)]
    pub cost: Option<u32>,
    /// `observe` if requests that match this endpoint are forwarded and would-be denials are only recorded.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// The operations that are allowed on this endpoint, if its requests are JSON-RPC messages, such as those of MCP clients. The fields
    /// of the endpoint apply to each request, in addition to those of its operation. `effect` is that of lifecycle, list and session
    /// requests. Default: bodies are not read as messages.
    #[serde(default)]
    pub rpc: Option<Box<Rpc>>,
}

/// The callers that may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Anyone, without a credential.
    Public,
}

/// How a public endpoint handles credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Credentials {
    /// Credentials are forwarded without verification, for upstreams that verify them.
    Ignore,
    /// Credentials that the policy could accept are verified, and invalid ones are rejected.
    Verify,
}

/// A sequence that is rejected in a path unless the endpoint allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum Escape {
    /// An encoded slash.
    #[serde(rename = "%2F")]
    Slash,
    /// An encoded backslash.
    #[serde(rename = "%5C")]
    Backslash,
    /// An encoded percent sign.
    #[serde(rename = "%25")]
    Percent,
    /// A semicolon, which some servers interpret as the start of path parameters.
    #[serde(rename = ";")]
    Semicolon,
}

/// A protocol to which a connection can be upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Upgrade {
    /// WebSocket (RFC 6455).
    Websocket,
}

/// How a request body is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// The body is forwarded as it arrives.
    Stream,
}
