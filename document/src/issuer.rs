//! The `issuers` section of the policy document.

use std::collections::BTreeMap;
use std::fmt;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::did_you_mean;
use super::fetched::{DiscoveredKeys, RemoteKeys};
#[cfg(feature = "schema")]
use super::form;
use super::scalar::{Lifetime, SecretEncoding};
use super::{Audience, Tenants};

/// An issuer of access tokens, and how its tokens are verified. A token is at most 16 KiB (16,384 bytes) long; longer tokens are
/// rejected.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The exact value of the `iss` claim. For a provider with one issuer per tenant, one path segment may be a variable, such as
    /// `https://login.microsoftonline.com/{tid}/v2.0`: the token has a claim of that name, and `iss` is exactly this text with the
    /// claim's value in place of the variable. A tenant consists of 1 to 64 lower-case letters, digits, `-`, `_` and `.`, and begins with
    /// a letter or digit. An issuer without a variable is preferred to one with a variable. Required, except with the profile
    /// `jwt-svid`: without `issuer` there, the trust domain of the subject identifies the issuer, and `iss` may be absent or any text
    /// that is not the `issuer` of another entry.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::IssuerUrl>"))]
    pub issuer: Option<String>,
    /// The SPIFFE trust domain, such as `example.org`, for the profile `jwt-svid`, which requires it: the subject of every token is a
    /// SPIFFE ID of this trust domain. Two issuers cannot have the same trust domain.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::TrustDomain>"))]
    pub trust_domain: Option<String>,
    /// Whether all tokens of this issuer are rejected. The entry is kept.
    #[serde(default)]
    pub suspended: bool,
    /// The tenants whose tokens are accepted: a list, or `any`. Required if `issuer` has a variable. Agents name their `tenant`, so
    /// with `any` the agents decide which tenants can send requests. The identity of a client includes its tenant, in limits,
    /// records and headers.
    #[serde(default)]
    pub tenants: Option<Tenants>,
    /// The rules that the tokens follow.
    pub profile: Profile,
    /// The accepted signature algorithms.
    pub algorithms: Vec<AlgorithmName>,
    /// The keys that verify the tokens.
    pub keys: Keys,
    /// The value that `aud` must contain instead of the policy's `resource`, for providers that send another identifier. A list accepts
    /// each of several values. `absent` accepts only tokens without `aud`, as Amazon Cognito issues them. A token with any `aud` is then
    /// rejected, because it was issued for something else. `absent` requires `distinguished_by: claims` and registered agents. An
    /// audience whose name is `absent` is written in a list: `[absent]`.
    #[serde(default)]
    pub audience: Option<Audience>,
    /// The maximum lifetime (`exp` − `iat`) of a token. A token with a longer lifetime is rejected, even if it was just issued.
    /// The token must have `iat`. Only JWT-SVIDs may lack it: their `exp` must then be at most this far, plus the clock skew, in the
    /// future.
    pub max_lifetime: Lifetime,
    /// The parameters that this provider always sends in the token's header and that Callgate ignores.
    #[serde(default)]
    pub ignore_header: Vec<IgnorableHeader>,
    /// The other issuers in this policy that use the same keys, as the tenants of one provider do. Both issuers must list each
    /// other.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::Name>"))]
    pub shares_keys_with: Vec<String>,
    /// The shape of the tokens. Only the profile `jwt` has one.
    #[serde(default)]
    pub token: Option<TokenShape>,
}

impl Issuer {
    /// Returns whether the tokens of this issuer name a client.
    #[must_use]
    pub fn names_clients(&self) -> bool {
        self.profile != Profile::JwtSvid && self.token.as_ref().is_none_or(|token| token.client.is_some())
    }

    /// Returns whether the tokens of this issuer can have scopes.
    #[must_use]
    pub fn grants_scopes(&self) -> bool {
        self.profile != Profile::JwtSvid && self.token.as_ref().is_none_or(|token| !token.scopes.is_empty())
    }
}

/// The rules that tokens follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum Profile {
    /// JWT access tokens as RFC 9068 defines them.
    #[serde(rename = "at+jwt")]
    AccessToken,
    /// Any other JWT access token; `token` describes its shape.
    #[serde(rename = "jwt")]
    Jwt,
    /// JWT-SVIDs as SPIFFE defines them. Their header contains only `alg`, `kid` and `typ`, their subject is a SPIFFE ID of the
    /// issuer's `trust_domain`, and they contain no scopes, so those come from the agent's entry.
    #[serde(rename = "jwt-svid")]
    JwtSvid,
}

/// A signature algorithm by its JOSE name (RFC 7518, RFC 8037, RFC 9864).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum AlgorithmName {
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// EdDSA on Curve25519; tokens may name it `Ed25519` or `EdDSA`.
    Ed25519,
    /// HMAC with SHA-256; requires a `secret` instead of a key set.
    HS256,
}

impl AlgorithmName {
    /// Every accepted algorithm, with its name.
    const ALL: [(Self, &str); 10] = [
        (Self::ES256, "ES256"),
        (Self::ES384, "ES384"),
        (Self::RS256, "RS256"),
        (Self::RS384, "RS384"),
        (Self::RS512, "RS512"),
        (Self::PS256, "PS256"),
        (Self::PS384, "PS384"),
        (Self::PS512, "PS512"),
        (Self::Ed25519, "Ed25519"),
        (Self::HS256, "HS256"),
    ];

    /// Returns advice for a registered algorithm that is not accepted, or `None` if the name is not such an algorithm.
    #[must_use]
    pub fn instead_of(name: &str) -> Option<&'static str> {
        Some(match name {
            "EdDSA" => "`EdDSA` is not accepted; write `Ed25519`, which accepts tokens that name `EdDSA` as well",
            "Ed448" => "`Ed448` is not accepted; use `Ed25519`",
            "ES512" => "`ES512` is not accepted; use `ES384` or `ES256`",
            "ES256K" => "`ES256K` is not accepted; use `ES256`, a key on P-256",
            "HS384" => {
                "`HS384` is not accepted; use `HS256`, the only algorithm with a shared secret, or better a key pair"
            }
            "HS512" => {
                "`HS512` is not accepted; use `HS256`, the only algorithm with a shared secret, or better a key pair"
            }
            "none" => {
                "`none` is not accepted, because anyone could create such a token; list the algorithms that sign the tokens"
            }
            _ => return None,
        })
    }
}

impl<'de> Deserialize<'de> for AlgorithmName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AlgorithmVisitor)
    }
}

/// Reads an algorithm. A visitor is used because its errors have the position of the value instead of the position of the
/// surrounding list.
struct AlgorithmVisitor;

impl Visitor<'_> for AlgorithmVisitor {
    type Value = AlgorithmName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an algorithm")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<AlgorithmName, E> {
        if let Some((algorithm, _)) = AlgorithmName::ALL.iter().find(|(_, known)| *known == name) {
            return Ok(*algorithm);
        }
        Err(E::custom(AlgorithmName::instead_of(name).map_or_else(
            || {
                let known = AlgorithmName::ALL.map(|(_, known)| known);
                let otherwise = format!("expected one of `{}`", known.join("`, `"));
                format!("`{}` is not an algorithm; {}", name.escape_debug(), did_you_mean(name, known, &otherwise))
            },
            str::to_owned,
        )))
    }
}

/// The source of an issuer's keys: exactly one of `jwks`, `secret`, `remote` and `discover`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// A JSON Web Key Set (RFC 7517) of public keys. If a key has the member `issuer`, as in the key sets that all tenants of Entra ID
    /// share, it verifies only tokens of that issuer. `https://login.microsoftonline.com/{tenantid}/v2.0` there means every tenant.
    #[serde(default)]
    pub jwks: Option<JwkSet>,
    /// The secret of HS256, 32 bytes or more.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The URL of a JSON Web Key Set, which the gate fetches.
    #[serde(default)]
    pub remote: Option<RemoteKeys>,
    /// The issuer's own metadata, which the gate fetches to find the URL of the key set.
    #[serde(default)]
    pub discover: Option<DiscoveredKeys>,
}

/// A JSON Web Key Set. Members that neither RFC 7517 nor SPIFFE defines are ignored.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct JwkSet {
    /// The keys. Encryption keys and keys of unsupported types are ignored with a warning.
    pub keys: Vec<serde_json::Map<String, Value>>,
    /// The number of the version of a SPIFFE bundle. A set with this member is a bundle: only its keys with `use: jwt-svid` verify
    /// tokens, each has a `kid`, and the issuer has the profile `jwt-svid`. The number itself is not used.
    #[serde(default)]
    pub spiffe_sequence: Option<u64>,
}

/// A secret from the environment. A secret inside the document would appear in the gateway's configuration dump.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// The name of the environment variable.
    #[cfg_attr(feature = "schema", schemars(with = "form::VariableName"))]
    pub env: String,
    /// The encoding of the secret in the variable. Default: the variable's bytes are the secret.
    #[serde(default)]
    pub encoding: Option<SecretEncoding>,
}

/// A parameter of a token's header that may be present and is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum IgnorableHeader {
    /// The URL of a key set.
    Jku,
    /// The URL of a certificate.
    X5u,
    /// A certificate chain.
    X5c,
}

/// The shape of an access token of the profile `jwt`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenShape {
    /// The accepted values of the header's `typ`, compared case-insensitively. `absent` accepts a token without `typ`.
    pub typ: Vec<String>,
    /// The property that distinguishes an access token from the same issuer's other tokens, especially ID tokens.
    pub distinguished_by: DistinguishedBy,
    /// The claims that must be present, by name or JSON pointer, each with its accepted values. An empty list accepts any value.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::ClaimName, Vec<String>>"))]
    pub claims: BTreeMap<String, Vec<String>>,
    /// The claim that names the client, by name or JSON pointer. Absent if agents are identified by subject.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::ClaimName>"))]
    pub client: Option<String>,
    /// The claims that contain scopes. Empty if scopes come only from the agent's entry; tokens with an actor (`act`) have no scope then.
    pub scopes: Vec<ScopeClaim>,
}

/// The property that distinguishes an access token from the same issuer's other tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DistinguishedBy {
    /// An `audience` that no other token of this issuer has.
    Audience,
    /// A required claim that no other token has, or a value of it that no other token has.
    Claims,
    /// A `typ` that only access tokens have.
    Typ,
}

/// A claim that contains scopes.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ScopeClaim {
    /// The claim, by name or JSON pointer.
    #[cfg_attr(feature = "schema", schemars(with = "form::ClaimName"))]
    pub claim: String,
    /// The form of the scopes in the claim.
    pub form: ScopeForm,
}

/// The form of the scopes in a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ScopeForm {
    /// An array of strings.
    Array,
    /// A string as in `string`, or an array as in `array`, for providers that send both.
    Either,
    /// An object. The names of its members are scopes, except those of members with the value `null` or `false`.
    Keys,
    /// One string with scopes separated by spaces.
    String,
}
