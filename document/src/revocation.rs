//! The `revoked` and `revocations` sections of the policy document.

use std::collections::BTreeMap;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Secret;
#[cfg(feature = "schema")]
use super::form;
use super::scalar::Lifetime;

/// Credentials that are rejected although they are valid. Exactly one of `token_sha256`, `jti`, `subject`, `client`, `agent`, `actor`, `kid`,
/// `thumbprint` and (alone) `issuer` names them.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// SHA-256 of a token's `header.payload`, in 64 hexadecimal digits.
    #[serde(default)]
    pub token_sha256: Option<String>,
    /// The name of an issuer of this policy. Required with `jti`, `subject`, `client` and `kid`. Alone: all tokens of the issuer.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Name>"))]
    pub issuer: Option<String>,
    /// The tenant, if the issuer has `tenants`. With `subject`, `client`, and `issuer` alone. Default: all tenants of the issuer.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Tenant>"))]
    pub tenant: Option<String>,
    /// The claim `jti` of a token.
    #[serde(default)]
    pub jti: Option<String>,
    /// The claim `sub`: all tokens with this subject.
    #[serde(default)]
    pub subject: Option<String>,
    /// The client: all its tokens.
    #[serde(default)]
    pub client: Option<String>,
    /// The name of an agent: all its credentials, and with `prior_actors: checked` all tokens in whose chain of actors it is.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Name>"))]
    pub agent: Option<String>,
    /// The name of an agent: all tokens in whose chain of actors it is.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Name>"))]
    pub actor: Option<String>,
    /// The `kid` of a key of the issuer: all tokens that were signed with it.
    #[serde(default)]
    pub kid: Option<String>,
    /// The thumbprint of a key (RFC 7638) or of a certificate (SHA-256, in base64url or hexadecimal digits), or the `sha256` of an API
    /// key: all credentials that prove possession of it.
    #[serde(default)]
    pub thumbprint: Option<String>,
    /// Revokes only what was issued before this moment, such as `2026-11-30T14:00:00Z`, or before the end of this day in UTC. `clock_skew`
    /// is added. A token without `iat` counts as issued before, and so does any other credential. With `kid` and `thumbprint` it has no
    /// effect, because who has a stolen key can choose any time.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Date>"))]
    pub issued_before: Option<String>,
    /// The end of the entry: a moment, or a day in UTC, at whose end it ends. Default: none.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Date>"))]
    pub until: Option<String>,
    /// Why, for the record: at most 128 printable ASCII characters.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The list of revoked credentials that the gate fetches.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    /// Where the list is.
    pub remote: RemoteRevocations,
    /// The public key that signs the list, as a JWK. Required unless `trusted` is written.
    #[serde(default)]
    pub signed_by: Option<BTreeMap<String, Value>>,
    /// `true` if everything that the cluster serves is trusted, and the list is plain JSON without a signature.
    #[serde(default)]
    pub trusted: bool,
    /// The audience of the list: its `aud` must be this text, or contain it. Several policies can then have lists that one key signs.
    /// Default: `aud` is not compared.
    #[serde(default)]
    pub audience: Option<String>,
    /// What happens when the list is older than `stale_after`.
    pub on_stale: OnStale,
    /// How old the list may become if it cannot be fetched again, from `refresh` to `24h`. Default: `1h`.
    #[serde(default)]
    pub stale_after: Option<Lifetime>,
}

/// Where the list of revoked credentials is.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RemoteRevocations {
    /// The URL of the list, `https` or `http`.
    #[cfg_attr(feature = "schema", schemars(with = "form::FetchedUrl"))]
    pub url: String,
    /// The gateway's cluster for the host of the URL. For Envoy and the gateways that are based on it.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The host of the URL and its port. For Kong, which resolves it with its `resolver`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Address>"))]
    pub address: Option<String>,
    /// How old the list becomes before it is fetched again, from `1s` to `1h`. Default: `10s`.
    #[serde(default)]
    pub refresh: Option<Lifetime>,
    /// How long a fetch may take, from `1s` to `30s`, and not longer than `refresh`. Default: `5s`, or `refresh` if that is less.
    #[serde(default)]
    pub timeout: Option<Lifetime>,
    /// The value of the header `Authorization` in the request for the list, if the server requires one.
    #[serde(default)]
    pub authorization: Option<Secret>,
}

/// What happens when the list is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnStale {
    /// Requests are denied with `revocations_unavailable`.
    Deny,
    /// The old list stays in use.
    Keep,
}

/// Whether open streams are checked again while data flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Streams {
    /// At most once a second while data flows: the expiry of the token, suspensions and revocations. The stream is ended if one applies.
    Recheck,
}
