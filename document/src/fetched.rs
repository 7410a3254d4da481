//! Documents that the gate fetches from an issuer: where they are, and how often they are fetched.

use std::collections::BTreeMap;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

use super::Secret;
#[cfg(feature = "schema")]
use super::form;
use super::scalar::Lifetime;

/// A JSON Web Key Set that the gate fetches. All workers of a gateway share what one of them fetches, and keys that the issuer
/// adds or removes take effect without a new policy.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RemoteKeys {
    /// The URL of the key set, `https` or `http`.
    #[cfg_attr(feature = "schema", schemars(with = "form::FetchedUrl"))]
    pub url: String,
    /// The gateway's cluster for the host of the URL. For Envoy and the gateways that are based on it.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The host of the URL and its port. For Kong, which resolves it with its `resolver`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Address>"))]
    pub address: Option<String>,
    /// How old the keys become before they are fetched again, from `30s` to `24h`. Default: `5m`.
    #[serde(default)]
    pub refresh: Option<Lifetime>,
    /// How long a fetch may take, and how long a request waits for it, from `1s` to `30s`. Default: `5s`.
    #[serde(default)]
    pub timeout: Option<Lifetime>,
    /// How long keys are used if they cannot be fetched again, at least `refresh`, at most `30d`. Default: `24h`.
    #[serde(default)]
    pub stale_for: Option<Lifetime>,
    /// The value of the header `Authorization` in the request for the document, if the server requires one.
    #[serde(default)]
    pub authorization: Option<Secret>,
}

/// The metadata of an issuer, which the gate fetches to find the URL of the issuer's key set, and then the key set.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DiscoveredKeys {
    /// The document to fetch. There is no other attempt if the issuer does not have it.
    pub document: MetadataDocument,
    /// The tenant whose metadata is fetched, if `issuer` has a variable, such as `organizations` or `common` at Microsoft Entra ID.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The gateway's cluster for the host of the issuer. For Envoy and the gateways that are based on it.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The host of the issuer and its port. For Kong, which resolves it with its `resolver`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Address>"))]
    pub address: Option<String>,
    /// The other hosts that `jwks_uri` may name, each with its cluster or address. Without an entry, the key set must be on the
    /// host of the issuer.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::Host, KeyHost>"))]
    pub key_hosts: BTreeMap<String, KeyHost>,
    /// How old the keys become before they are fetched again, from `30s` to `24h`. Default: `5m`.
    #[serde(default)]
    pub refresh: Option<Lifetime>,
    /// How long a fetch of both documents may take, and how long a request waits for it, from `1s` to `30s`. Default: `5s`.
    #[serde(default)]
    pub timeout: Option<Lifetime>,
    /// How long keys are used if they cannot be fetched again, at least `refresh`, at most `30d`. Default: `24h`.
    #[serde(default)]
    pub stale_for: Option<Lifetime>,
}

/// The well-known document of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MetadataDocument {
    /// `/.well-known/openid-configuration` after the issuer (OpenID Connect Discovery 1.0, section 4).
    Openid,
    /// `/.well-known/oauth-authorization-server` between the host and the path of the issuer (RFC 8414, section 3).
    Oauth,
}

/// The location of a host that has key sets.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyHost {
    /// The gateway's cluster for this host.
    #[serde(default)]
    pub cluster: Option<String>,
    /// This host and its port, for Kong.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Address>"))]
    pub address: Option<String>,
}
