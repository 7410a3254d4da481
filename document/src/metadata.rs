//! The `metadata` section of the policy document: what clients can read about the API before they have a token.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "schema")]
use super::form;

/// The metadata of the protected resource (RFC 9728), from which OAuth and MCP clients learn where to get a token. Callgate answers `GET`
/// and `HEAD` of `/.well-known/oauth-protected-resource`, followed by the path of `resource`, without authentication, and CORS preflight
/// requests for it. The challenges of denials name the URL in `resource_metadata`. No endpoint may match that path.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The authorization servers from which clients get tokens for this API, each by its issuer identifier. At least one.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::IssuerUrl>"))]
    pub authorization_servers: Vec<String>,
    /// The scopes that clients can request for this API.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Scope>"))]
    pub scopes: Vec<String>,
    /// The scopes that a client requests first. Every answer with status 401 and a challenge contains them, on every path alike, in at most
    /// 512 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Scope>"))]
    pub initial_scopes: Vec<String>,
    /// The page with the documentation of the API for developers of clients.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::PageUrl>"))]
    pub documentation: Option<String>,
}
