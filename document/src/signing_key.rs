//! The `signing_keys` of agents in the policy document.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Secret;
#[cfg(feature = "schema")]
use super::form;

/// A key with which an agent signs its requests (RFC 9421): exactly one of `jwk`, `pem` and `secret`. A key belongs to one agent
/// and cannot be the key of an issuer.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SigningKey {
    /// A public key as a JSON Web Key (RFC 7517). Members that RFC 7517 does not define are ignored, as it requires.
    #[serde(default)]
    pub jwk: Option<Map<String, Value>>,
    /// A public key in PEM, starting at `-----BEGIN PUBLIC KEY-----`.
    #[serde(default)]
    pub pem: Option<String>,
    /// A secret of at least 32 bytes, for `hmac-sha256`.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The name of the key in signatures. Required with `pem` and `secret`. The default for a JWK is its `kid`, or its thumbprint
    /// (RFC 7638) if it has none. For a JWK with a `kid`, set this field to the thumbprint if the agent sends that.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::PrintableText>"))]
    pub keyid: Option<String>,
    /// The signature algorithm of the key. Required for RSA keys, unless the JWK has an `alg`. Every other key has only one
    /// algorithm.
    #[serde(default)]
    pub algorithm: Option<HttpAlgorithm>,
    /// The time from which the key is accepted: the start of a day in UTC (`2027-01-01`), or a moment (`2027-01-01T12:00:00Z`).
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Date>"))]
    pub not_before: Option<String>,
    /// The time until which the key is accepted: the end of a day in UTC (`2027-06-30`), or a moment (`2027-06-30T12:00:00Z`).
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::Date>"))]
    pub not_after: Option<String>,
}

/// A signature algorithm by its name in HTTP message signatures (RFC 9421, section 6.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum HttpAlgorithm {
    /// ECDSA on P-256 with SHA-256; `ES256` in a JWK.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384; `ES384` in a JWK.
    #[serde(rename = "ecdsa-p384-sha384")]
    EcdsaP384Sha384,
    /// EdDSA on Curve25519; `Ed25519` or `EdDSA` in a JWK.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// HMAC with SHA-256; requires a `secret`.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// RSASSA-PSS with SHA-512; `PS512` in a JWK.
    #[serde(rename = "rsa-pss-sha512")]
    RsaPssSha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256; `RS256` in a JWK.
    #[serde(rename = "rsa-v1_5-sha256")]
    RsaV15Sha256,
}
