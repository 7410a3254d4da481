//! The `agents` section of the policy document.

use std::collections::BTreeMap;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

#[cfg(feature = "schema")]
use super::form;
use super::{ApiKey, AtMost, LimitNumbers, SigningKey};

/// A registered agent.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// The person or team responsible for this agent.
    pub owner: String,
    /// The agent's purpose, in a few words.
    #[serde(default)]
    pub purpose: Option<String>,
    /// The token values, the SPIFFE ID or the name in a client certificate that identify the agent. Absent for an agent that has none of
    /// these, and signs its requests or has an API key.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// The keys with which the agent signs its requests. Several keys allow rotation.
    #[serde(default)]
    pub signing_keys: Option<Vec<SigningKey>>,
    /// The API keys that identify the agent, for clients that support nothing better. Several keys allow rotation. An endpoint accepts
    /// them only if its `authenticate` lists `api-key`.
    #[serde(default)]
    pub api_keys: Option<Vec<ApiKey>>,
    /// The end of the registration: the end of a day in UTC (`2027-06-30`), or a moment (`2027-06-30T12:00:00Z`).
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Date>"))]
    pub expires: Option<String>,
    /// Whether the agent's requests are denied. The entry is kept.
    #[serde(default)]
    pub suspended: bool,
    /// The scopes that the agent has in addition to those in its token, for its own requests. A token with an actor (`act`) has only those
    /// in the token, because the agent must not do for somebody else what that token does not permit.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Scope>"))]
    pub scopes: Vec<String>,
    /// What the agent gets at most, regardless of its tokens.
    #[serde(default)]
    pub at_most: Option<AtMost>,
    /// The numbers of limits that differ for this agent, by the name of the limit.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Name, LimitNumbers>"))]
    pub limits: BTreeMap<String, LimitNumbers>,
    /// The facts about the agent that bindings can refer to as `agent.NAME`: strings, integers or lists of them.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Name, Value>"))]
    pub attributes: BTreeMap<String, Value>,
}

/// What identifies an agent. `issuer` with the client, the subject, or other claims: a token must have all of these. `spiffe` and
/// `certificate`: each is another credential of the same agent. A credential that matches two agents is rejected.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The name of an issuer of this policy. Required with `tenant`, `client_id`, `subject`, `claims` and `each`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Name>"))]
    pub issuer: Option<String>,
    /// The tenant of the issuer. Required if the issuer has `tenants`, because clients of two tenants may have the same identifier.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Tenant>"))]
    pub tenant: Option<String>,
    /// The exact client identifier.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The exact subject.
    #[serde(default)]
    pub subject: Option<String>,
    /// The SPIFFE ID of the agent's workload, such as `spiffe://example.org/ns/prod/agent`, in a JWT-SVID or in a client certificate (see
    /// `tls`). `spiffe://example.org/ns/prod/*` describes every workload below this path: each counts by itself in limits per agent. Such
    /// an entry is identified by nothing else.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::SpiffePattern>"))]
    pub spiffe: Option<String>,
    /// The name in the agent's client certificate (see `tls`), for certificates without a SPIFFE ID.
    #[serde(default)]
    pub certificate: Option<CertificateName>,
    /// How tokens name the agent when it acts for somebody else (see `delegation`).
    #[serde(default)]
    pub actor: Option<ActorIdentity>,
    /// Other claims, by name or JSON pointer, each with its accepted values. A claim that is an array must contain one of the values.
    /// Use only claims that the issuer controls: clients that register themselves choose some claims, such as their own name.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::ClaimName, Vec<String>>"))]
    pub claims: BTreeMap<String, Vec<String>>,
    /// `client` if this entry describes many clients, such as those that register themselves and whose identifiers are URLs. Each client
    /// that has the `claims` is an agent with this entry's scopes and attributes. Each counts by itself in limits per agent, and the
    /// record shows its `client`. Who can register clients at the issuer gets a new limit with each of them, so write a limit per
    /// `issuer` as well. All of them share one partition of the table for replay protection. Requires `claims`, and cannot
    /// be combined with `client_id`, `subject`, `spiffe`, `certificate` or `signing_keys`. Default: all tokens that match are one agent.
    #[serde(default)]
    pub each: Option<Each>,
}

/// The name in a client certificate that identifies an agent: exactly one of `uri` and `dns`. The subject of a certificate is not read.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CertificateName {
    /// A URI among the subject alternative names.
    #[serde(default)]
    pub uri: Option<String>,
    /// A DNS name among the subject alternative names, in lower case and without a wildcard.
    #[serde(default)]
    pub dns: Option<String>,
}

/// How tokens name an agent as the actor (`act`, RFC 8693, section 4.1).
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ActorIdentity {
    /// The name of the issuer of this policy that issues the tokens.
    #[cfg_attr(feature = "schema", schemars(with = "form::Name"))]
    pub issuer: String,
    /// The exact value of `act.sub`: 1 to 256 bytes.
    pub sub: String,
    /// The exact value of `act.iss`, for an actor that another issuer names. Default: the `iss` of the token.
    #[serde(default)]
    pub iss: Option<String>,
    /// The clients to which such tokens may be issued, in addition to the `client_id` of this identity if it has the same `issuer`. Tokens
    /// of other clients are rejected with `actor_mismatch`. At least one client is required.
    #[serde(default)]
    pub clients: Vec<String>,
}

/// What is one agent, among all tokens that an entry describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Each {
    /// Each client.
    Client,
}
