//! Keys with which agents sign their requests, as a person writes them.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Secret;

/// A key with which an agent signs its requests (RFC 9421): exactly one of `jwk`, `pem` and `secret`. A key belongs to one
/// agent, and is no issuer's.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SigningKey {
    /// A public key as a JSON Web Key (RFC 7517). Members that RFC 7517 does not name are ignored, as it says.
    #[serde(default)]
    pub jwk: Option<Map<String, Value>>,
    /// A public key in PEM, from `-----BEGIN PUBLIC KEY-----` on.
    #[serde(default)]
    pub pem: Option<String>,
    /// A secret of 32 bytes or more, for `hmac-sha256`.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// How signatures name the key. Required beside `pem` and `secret`. A JWK is named by its `kid`, or by its thumbprint
    /// (RFC 7638) where it has none; beside a JWK with a `kid`, write the thumbprint here where the agent sends that.
    #[serde(default)]
    pub keyid: Option<String>,
    /// What the key signs with. Required for RSA keys, unless the JWK has an `alg`; every other key has but one.
    #[serde(default)]
    pub algorithm: Option<HttpAlgorithm>,
    /// The key is taken from the start of this day in UTC on (`2027-01-01`), or from this moment on (`2027-01-01T12:00:00Z`).
    #[serde(default)]
    pub not_before: Option<String>,
    /// The key is taken until the end of this day in UTC (`2027-06-30`), or until this moment (`2027-06-30T12:00:00Z`).
    #[serde(default)]
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
    /// HMAC with SHA-256; takes a `secret`.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// RSASSA-PSS with SHA-512; `PS512` in a JWK.
    #[serde(rename = "rsa-pss-sha512")]
    RsaPssSha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256; `RS256` in a JWK.
    #[serde(rename = "rsa-v1_5-sha256")]
    RsaV15Sha256,
}
