//! Proof of possession, as a person writes it.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

use super::AlgorithmName;
use super::scalar::Lifetime;

/// How tokens that are bound to a key are taken (DPoP, RFC 9449): under the scheme `DPoP`, with a proof in the header `DPoP`. In
/// its place goes a signature of the request (RFC 9421) by the same key, where that is a signing key of the agent. Each passes
/// once, so that something must limit the calls of every agent that has a token.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Dpop {
    /// Whether every token must be bound to a key. With `false`, tokens that are not go on as bearer tokens; one that is
    /// never passes unless its key is shown.
    pub required: bool,
    /// The signature algorithms of proofs that are taken.
    pub algorithms: Vec<AlgorithmName>,
    /// How long after it was made (`iat`) a proof is taken; `60s` when absent.
    #[serde(default)]
    pub max_age: Option<Lifetime>,
    /// How far the clocks of clients may be ahead; `5s` when absent.
    #[serde(default)]
    pub clock_ahead: Option<Lifetime>,
    /// Whether a proof must carry a nonce of the gate's, so that none can be made in advance. `optional` when absent.
    #[serde(default)]
    pub nonce: ProofNonce,
}

/// Whether a proof must carry a nonce of the gate's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProofNonce {
    /// The gate gives out nonces, each for one to two minutes, and a proof without a current one is answered with it.
    Required,
    /// The gate gives out none and looks at none.
    #[default]
    Optional,
}

/// What a call asks of the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum TokenAsked {
    /// It is bound to a key, which its sender has proven to hold.
    Bound,
}
