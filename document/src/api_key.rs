//! The `api_keys` of the policy document and of its agents.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "schema")]
use super::form;

/// Where clients send API keys: exactly one of `header` and `bearer_prefix`. Callgate looks for keys there and nowhere else.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    /// The header that contains the key and nothing else, such as `x-api-key`. A request with this header and `Authorization`, or
    /// with two such headers, is rejected. `upstream.authorization` decides whether the header is forwarded after its key was
    /// verified.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::PlainHeaderName>"))]
    pub header: Option<String>,
    /// The first characters of every key, for clients that send keys as `Authorization: Bearer KEY`, as most SDKs do. A bearer
    /// credential that begins with the prefix is an API key, and every other one is a token.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::KeyPrefix>"))]
    pub bearer_prefix: Option<String>,
}

/// An API key of an agent. The policy contains only its hash. A key belongs to one agent.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// SHA-256 of the whole key, with its prefix if it has one, as `callgate keygen --api-key` prints it. The key must be random and
    /// have 22 to 256 characters after the prefix of `bearer_prefix`: 22 characters of base64url have 128 bits. Callgate does not
    /// accept a shorter key.
    #[cfg_attr(feature = "schema", schemars(with = "form::Sha256"))]
    pub sha256: String,
    /// The time until which the key is accepted: the end of a day in UTC (`2027-06-30`), or a moment (`2027-06-30T12:00:00Z`). It is
    /// required, because a leaked key is valid until then.
    #[cfg_attr(feature = "schema", schemars(with = "form::Date"))]
    pub not_after: String,
}
