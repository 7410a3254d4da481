//! The `dpop` section of the policy document.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

use super::AlgorithmName;
use super::scalar::Lifetime;

/// How key-bound access tokens (DPoP, RFC 9449) are accepted: with the scheme `DPoP` and a proof in the `DPoP` header. Instead of
/// a proof, a client may sign the request (RFC 9421) with the same key if that key is a signing key of the agent. Each proof or
/// signature is accepted once. Every agent that has a token must therefore have a limit on its requests.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Dpop {
    /// Whether every token must be bound to a key, or to a client certificate if the policy has `tls`. With `false`, tokens that are
    /// not bound are accepted as bearer tokens. A key-bound token is always rejected without proof of possession of its key.
    pub required: bool,
    /// The accepted signature algorithms of proofs.
    pub algorithms: Vec<AlgorithmName>,
    /// The maximum age of a proof, measured from its `iat`. Default: `60s`.
    #[serde(default)]
    pub max_age: Option<Lifetime>,
    /// The maximum time that a client's clock may be ahead. Default: `5s`.
    #[serde(default)]
    pub clock_ahead: Option<Lifetime>,
    /// Whether a proof must carry a nonce from Callgate, which prevents clients from creating proofs in advance. Default:
    /// `optional`.
    #[serde(default)]
    pub nonce: ProofNonce,
}

/// Whether a proof must carry a nonce from Callgate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProofNonce {
    /// Callgate issues nonces, each valid for one to two minutes. It rejects a proof without a current nonce and sends the nonce
    /// in the response.
    Required,
    /// Callgate issues no nonces and ignores those in proofs.
    #[default]
    Optional,
}

/// The kind of access token that a request requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "TokenRequirement"))]
#[serde(rename_all = "lowercase")]
pub enum TokenAsked {
    /// The token is bound to a key, and the client has proved possession of that key, or it is bound to the client's certificate.
    Bound,
}
