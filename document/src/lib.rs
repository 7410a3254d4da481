//! The policy document, exactly as its author writes it.
//!
//! These types define the fields and the forms of their values, without their meaning. Checks that need more than one field
//! belong to the engine, which compiles a document to a policy. The JSON Schema is generated from these types, and their doc comments
//! become the policy reference.
//!
//! This is a separate package, because code that reads a document runs once per configuration: it is compiled for size.

use std::collections::BTreeMap;

use serde::Deserialize;

mod agent;
mod api_key;
mod audience;
mod audit;
mod authentication;
mod binding;
mod credential;
mod delegation;
mod dpop;
mod endpoint;
mod fetched;
mod finding;
#[cfg(feature = "schema")]
mod form;
mod issuer;
mod limit;
mod metadata;
pub mod names;
mod position;
mod reach;
mod read;
mod revocation;
mod rpc;
pub mod scalar;
#[cfg(feature = "schema")]
pub mod schema;
mod signature;
mod signing_key;
mod strict;
mod tenants;
mod tls;

pub use agent::*;
pub use api_key::*;
pub use audience::*;
pub use audit::*;
pub use authentication::*;
pub use binding::*;
pub use credential::CredentialPlace;
pub use delegation::*;
pub use dpop::*;
pub use endpoint::*;
pub use fetched::*;
pub use finding::{Finding, Findings, Place};
pub use issuer::*;
pub use limit::*;
pub use metadata::*;
pub use names::{did_you_mean, nearest, renamed};
pub use reach::*;
pub use revocation::*;
pub use rpc::*;
pub use signature::*;
pub use signing_key::*;
pub use tenants::*;
pub use tls::*;

pub use scalar::{Lifetime, Rate, ScopesAsked, SecretEncoding, Size};

#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// A Callgate policy, format version 1.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The version of this format.
    pub callgate: FormatVersion,
    /// The name that separates the shared state and the records of several policies in one gateway: 1 to 64 letters, digits, `-`,
    /// `_` or `.`. A new name starts with empty tables: limits start from zero, and a signature or proof that was accepted under
    /// the old name can be accepted once more until it expires. Different policies in one gateway need different names: what the one
    /// that was configured last revokes and suspends applies to the others of its name.
    #[cfg_attr(feature = "schema", schemars(with = "form::Name"))]
    pub name: String,
    /// Whether denials are enforced (`enforce`) or only recorded (`observe`).
    pub mode: Mode,
    /// The gateway that runs this policy. It determines which host features the policy can use.
    pub gateway: Gateway,
    /// The identifier of the API that Callgate protects, an absolute `https` URL. Every token's audience must contain it, unless
    /// its issuer has its own `audience`.
    #[cfg_attr(feature = "schema", schemars(with = "form::ApiUrl"))]
    pub resource: String,
    /// The path prefixes that are separate resources. The audience of a token must be that of the resource that the path of the
    /// request belongs to, on every host and whether or not an endpoint matches. Paths under none of them belong to `resource`.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// The hosts that Callgate serves, with the port if it is neither 80 nor 443.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Host>"))]
    pub hosts: Vec<String>,
    /// The scheme and host that clients use, if they differ from `https` and the host that the gateway sees, and the path in front of
    /// the API, if a proxy removes it before the gateway. Request signatures and proofs of possession must be created for them: with
    /// `https://example.com/orders`, a request that the gateway sees as `/items` is signed as `/orders/items`. The path has no slash at
    /// its end, and clients must spell it in the same way, escapes included.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::ExternalUrl>"))]
    pub external_url: Option<String>,
    /// Where the developer of a client that was denied gets help: a URL or a contact, in at most 256 printable ASCII characters. Denials
    /// contain it in the member `help`, also for clients that are not authenticated. Denials of gRPC requests do not.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::PrintableText>"))]
    pub help: Option<String>,
    /// What clients can read about `resource` before they have a token. Default: nothing.
    #[serde(default)]
    pub metadata: Option<Metadata>,
    /// The maximum difference between the clocks of issuer and gateway. Default: 60 s.
    #[serde(default)]
    pub clock_skew: Option<Lifetime>,
    /// How CORS preflight requests, which carry no credentials, are handled: `reject` handles them like any other request, and
    /// `pass` forwards them on every path. Default: `reject`.
    #[serde(default)]
    pub preflight: Preflight,
    /// How headers that override the method or the path are handled: `reject` rejects the request, and `remove` removes the
    /// headers, for gateways that receive requests from a proxy which sets them. Default: `reject`. The known headers are
    /// `X-HTTP-Method-Override`, `X-HTTP-Method`, `X-Method-Override`, `X-Original-URL`, `X-Rewrite-URL`, `X-Script-Name`,
    /// `Script-Name` and `Daphne-Root-Path`, in every spelling that some server interprets as one of them (`SCRIPT_NAME`). For
    /// other headers that an upstream reads, see `override_headers`.
    #[serde(default)]
    pub overrides: Overrides,
    /// How upstreams interpret a suffix such as `.json` at the end of a path segment. `reject` treats it as a format: no variable
    /// matches `settings.json` if the policy lists `settings` at the same position. `ignore` treats it as part of the value, for
    /// upstreams without format suffixes. Default: `reject`.
    #[serde(default)]
    pub format_suffixes: FormatSuffixes,
    /// The headers from which the upstream reads a method or a path, in addition to the known ones (see `overrides`), such as
    /// `x-forwarded-prefix`. A name consists of lower-case letters, digits and hyphens. The list has at most 32 names. A header
    /// matches case-insensitively and with any other characters in place of the hyphens. Headers that gateways set or that
    /// Callgate needs cannot be listed.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::PlainHeaderName>"))]
    pub override_headers: Vec<String>,
    /// The query parameters that are rejected in addition to `access_token` and the method overrides. Names have at most 128
    /// bytes in lower case. They are compared decoded and case-insensitively.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::ParameterName>"))]
    pub reject_query: Vec<String>,
    /// Whether a request with a valid token is allowed if its client is not an agent of this policy. `allow` cannot be combined with
    /// an issuer that has `audience: absent` or `tenants: any`. Default: `reject`.
    #[serde(default)]
    pub unregistered: Unregistered,
    /// The issuers of accepted access tokens, by a name of your choice.
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Name, Issuer>"))]
    pub issuers: BTreeMap<String, Issuer>,
    /// The places in which clients send access tokens, for clients that cannot set `Authorization`. No other place is read: not
    /// cookies, and not the query. A request with tokens in two of the places is rejected. Default: `[authorization]`. Without
    /// `authorization` in the list, an `Authorization` header is no credential. Callgate then ignores it, and removes it from every
    /// request that it does not observe, except on endpoints with `credentials: ignore`.
    #[serde(default = "credential::authorization_alone")]
    pub credentials_from: Vec<CredentialPlace>,
    /// The scopes that other scopes include, such as `admin: [read, write]`: a token or agent with the scope `admin` may send requests
    /// that require `read` or `write`. Included scopes include others in turn. They only count where scopes are required: records and
    /// the upstream show the scopes that the token and the agent's registration have. Scopes that include each other are an error, and
    /// so are included scopes that nothing in the policy requires.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Scope, Vec<form::Scope>>"))]
    pub scope_implies: BTreeMap<String, Vec<String>>,
    /// How key-bound tokens are accepted. Default: they are rejected.
    #[serde(default)]
    pub dpop: Option<Dpop>,
    /// How client certificates are handled. Default: they identify nobody.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// How tokens with a chain of actors are accepted. Default: they are rejected.
    #[serde(default)]
    pub delegation: Option<Delegation>,
    /// Where clients send API keys. Required if an agent has `api_keys`.
    #[serde(default)]
    pub api_keys: Option<ApiKeys>,
    /// The inventory of agents: who may send requests, who is responsible for each agent, and when the registration ends.
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Name, Agent>"))]
    pub agents: BTreeMap<String, Agent>,
    /// Names for lists of agents. Where a field names agents, it may name groups too.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Name, Vec<form::Name>>"))]
    pub groups: BTreeMap<String, Vec<String>>,
    /// The credentials that are rejected although they are valid.
    #[serde(default)]
    pub revoked: Vec<Revoked>,
    /// The list of revoked credentials that the gate fetches. Default: none.
    #[serde(default)]
    pub revocations: Option<Revocations>,
    /// The requirements of each effect, which apply to all its endpoints.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<Effect, Requirement>"))]
    pub requirements: BTreeMap<Effect, Requirement>,
    /// The allowlist of endpoints. A request that matches no endpoint is denied.
    pub endpoints: Vec<Endpoint>,
    /// The rates at which callers may send requests, by a name of your choice. Endpoints and requirements refer to these names.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Name, Limit>"))]
    pub limits: BTreeMap<String, Limit>,
    /// The rate at which credentials from one source address may fail before their signatures are no longer verified. Default: no
    /// limit.
    #[serde(default)]
    pub auth_failure_limit: Option<AuthFailureLimit>,
    /// How request signatures are verified, for the endpoints that use them.
    #[serde(default)]
    pub signatures: Signatures,
    /// How Web Bot Auth signatures are verified, for the endpoints that accept them.
    #[serde(default)]
    pub web_bot_auth: Option<WebBotAuth>,
    /// The maximum size of a body that is held until its digest is verified. A larger body is rejected. The gateway's own buffers
    /// must hold as much. Default: `1MiB`.
    #[serde(default)]
    pub max_body: Option<Size>,
    /// How long a request is held for its body, and how many bytes of such requests are held at the same time.
    #[serde(default)]
    pub held_bodies: HeldBodies,
    /// `after_headers` if the gateway forwards a request's headers before its body has arrived. The upstream may then see the headers of
    /// a request whose body does not match its digest; it sees nothing of the body before the digest is verified. Some gateways
    /// require this setting (`istio`, `envoy-gateway`, `higress`, `kong`); `envoy` and `envoy-module` do not. Under `observe`, a body that does
    /// not match is forwarded, and the header that reports an observed denial is too late: only the record reports the mismatch.
    #[serde(default)]
    pub body_check: Option<BodyCheck>,
    /// The sizes of the tables that workers use.
    #[serde(default)]
    pub tables: Tables,
    /// How requests are forwarded to the upstream.
    pub upstream: Upstream,
    /// The contents of records and logs.
    pub audit: Audit,
}

/// The version of the policy format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum FormatVersion {
    /// Version 1.
    #[serde(rename = "v1")]
    V1,
}

impl FormatVersion {
    /// The accepted versions as a policy writes them.
    pub const NAMES: [&str; 1] = ["v1"];
}

/// Whether denials are enforced or only recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Callgate rejects a denied request and does not forward it.
    Enforce,
    /// A denial is recorded, and the request is forwarded.
    Observe,
}

/// The gateway that runs the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Gateway {
    /// Envoy, 1.36 or newer.
    Envoy,
    /// Envoy, 1.38 or newer, with Callgate as a dynamic module instead of a Wasm filter; also in Envoy Gateway. The module accepts no other
    /// value, and the filter rejects this one.
    EnvoyModule,
    /// Istio: a `WasmPlugin`, `TrafficExtension` or `EnvoyFilter`.
    Istio,
    /// Envoy Gateway.
    EnvoyGateway,
    /// Higress.
    Higress,
    /// Kong Gateway with WasmX, up to 3.9.
    Kong,
    /// Only the features of every proxy-wasm host, such as APISIX: no shared state and no access to bodies.
    Portable,
}

/// How a CORS preflight request is handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Preflight {
    /// It is forwarded without authentication, on every path, without identity headers.
    Pass,
    /// It is handled like any other request.
    #[default]
    Reject,
}

/// How headers that override the method or the path are handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Overrides {
    /// The request is rejected.
    #[default]
    Reject,
    /// The headers are removed, and the request is evaluated without them.
    Remove,
}

/// How a suffix of a path segment is interpreted if the segment without it is listed at the same position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FormatSuffixes {
    /// As a format: no variable matches `settings.json` if the policy lists `settings`.
    #[default]
    Reject,
    /// As part of a value, like any other text.
    Ignore,
}

/// Whether a request with a valid token of an unregistered client is allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Unregistered {
    /// Endpoints, scopes and bindings apply to it as to an agent without attributes.
    Allow,
    /// It is denied.
    #[default]
    Reject,
}

/// How requests are forwarded to the upstream.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Whether the verified credential, which is the `Authorization` header together with `DPoP`, the token in another place of
    /// `credentials_from` or the header of the API key, is forwarded to the upstream (`keep`) or removed (`remove`). In observe mode it
    /// is always forwarded, which keeps the upstream working as without Callgate.
    pub authorization: AuthorizationHeader,
    /// The kinds of request bodies that the upstream merges with the query or reads method overrides from: `form`, and `json` for
    /// frameworks such as Laravel and Rails. On endpoints with a bound query parameter these bodies are rejected unless the
    /// endpoint has `form_bodies: allow`, because the body could replace the parameter. Default: `[form]`. Use `[]` for an upstream
    /// that merges no bodies.
    #[serde(default = "forms_alone")]
    pub merges: Vec<MergedBody>,
    /// The claims of the verified token that the upstream gets as headers, by the header's name in lower case, at most 16. Text,
    /// numbers and booleans are forwarded, and lists of text with a space between the items. Every byte except visible ASCII, and
    /// `%`, is percent-encoded. The header is absent if the token has no such claim, or if the claim is empty or has another type. A
    /// value longer than 4,096 bytes is rejected. Headers of these names that a client sends are removed from every request, in every
    /// spelling that some server reads as one of them: on public endpoints and in observe mode too.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::PlainHeaderName, form::ClaimName>"))]
    pub claims: BTreeMap<String, String>,
}

fn forms_alone() -> Vec<MergedBody> {
    vec![MergedBody::Form]
}

/// A kind of request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MergedBody {
    /// HTML forms: `application/x-www-form-urlencoded` and every `multipart/` type.
    Form,
    /// JSON: every media type with `json` in its name, such as `application/json`, `text/json` and `application/vnd.api+json`.
    Json,
}

/// How a verified `Authorization` header is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuthorizationHeader {
    /// It is forwarded.
    Keep,
    /// It is removed.
    Remove,
}
