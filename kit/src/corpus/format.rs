//! A file of decision cases exactly as a person writes it; `docs/reference/cases.md` explains it to users.
//!
//! These types only describe the format: [`load`](super::load) looks up names and derives cases from each other.
//! [`request`](super::request) contains the format of a case's request.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::bytes::Bytes;
use super::moment::Offset;
use super::request::Body;

/// A file: one policy and the decisions that are expected of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// The policy itself, or the path of its file relative to this one.
    pub(super) policy: Value,
    /// Variants of the policy by name, each as a JSON merge patch (RFC 7396).
    #[serde(default)]
    pub(super) variants: BTreeMap<String, Value>,
    /// Files whose keys, tokens, proofs and documents are used here, as paths relative to this one.
    #[serde(default)]
    pub(super) import: Vec<String>,
    /// The time at which every case begins, in RFC 3339 format.
    pub(super) now: String,
    /// Environment variables from which the policy takes secrets.
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    /// Private JWKs by name. Each is the JWK itself or the path of its file, relative to this one.
    #[serde(default)]
    pub(super) keys: BTreeMap<String, Value>,
    /// Tokens by name; each is a [`Token`].
    #[serde(default)]
    pub(super) tokens: BTreeMap<String, Value>,
    /// Client certificates by name; each is a [`Certificate`].
    #[serde(default)]
    pub(super) certificates: BTreeMap<String, Value>,
    /// Proofs of possession by name; each is a [`Token`] as well. A proof is valid except for what its description changes.
    #[serde(default)]
    pub(super) proofs: BTreeMap<String, Value>,
    /// The documents that the gate finds when it fetches, by URL; see [`documents`](super::documents). `null` removes an imported one.
    #[serde(default)]
    pub(super) documents: BTreeMap<String, Value>,
    /// API keys by name.
    #[serde(default)]
    pub(super) api_keys: BTreeMap<String, Bytes>,
    /// The properties of every request, unless its case overrides them.
    #[serde(default)]
    pub(super) request: Map<String, Value>,
    /// The cases; each is a [`Case`].
    pub(super) cases: Vec<Value>,
}

impl File {
    /// Takes the keys, certificates, tokens, proofs and documents out of the file.
    pub(super) fn take_fixtures(&mut self) -> Fixtures {
        let Self { keys, certificates, tokens, proofs, documents, .. } = self;
        let [keys, certificates, tokens, proofs, documents] =
            [keys, certificates, tokens, proofs, documents].map(std::mem::take);
        Fixtures { keys, certificates, tokens, proofs, documents }
    }
}

/// A file of keys, certificates, tokens, proofs and documents that others import.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixtures {
    #[serde(default)]
    pub(super) keys: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) certificates: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) tokens: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) proofs: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) documents: BTreeMap<String, Value>,
}

/// A token, described by its parts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Token {
    /// The token that this one extends.
    pub(super) from: Option<String>,
    /// The key that signs. Its `alg` and `kid` are in the header.
    pub(super) key: Option<String>,
    /// Another key that signs, while the header still names `key`.
    pub(super) sign_with: Option<String>,
    /// The key to which the token is bound, in `cnf`.
    pub(super) bound_to: Option<String>,
    /// The client certificate to which the token is bound, in `cnf`.
    pub(super) bound_to_certificate: Option<String>,
    /// A merge patch to the header.
    pub(super) header: Map<String, Value>,
    /// A merge patch to the claims.
    pub(super) claims: Map<String, Value>,
    /// The header's bytes, which override `header`.
    pub(super) raw_header: Option<Bytes>,
    /// The claims' bytes, which override `claims`.
    pub(super) raw_claims: Option<Bytes>,
    /// A change to the signed token.
    pub(super) alter: Option<TokenMutation>,
    /// How the parts are combined, `{header}.{claims}.{signature}` when absent.
    pub(super) form: Option<String>,
    /// The token's exact bytes, which override everything else.
    pub(super) text: Option<Bytes>,
}

/// A change to a signed token.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenMutation {
    /// A merge patch to the claims that keeps the signature.
    Claims(Map<String, Value>),
    /// A merge patch to the header that keeps the signature.
    Header(Map<String, Value>),
    /// Flips one bit of the signature.
    Signature,
    /// Sets unused bits in the last character of the signature.
    TrailingBits,
}

/// A client certificate, described by its parts. Its digest is right unless the description changes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Certificate {
    /// The URIs among its subject alternative names.
    pub(super) uri: Vec<Bytes>,
    /// The DNS names among its subject alternative names.
    pub(super) dns: Vec<Bytes>,
    /// Whether it is the certificate of an authority.
    pub(super) ca: bool,
    /// The serial number, which distinguishes two certificates with the same names.
    pub(super) serial: u8,
    /// The exact bytes in place of DER, which override the members above.
    pub(super) der: Option<Bytes>,
    /// A change to the DER.
    pub(super) alter: Option<CertificateMutation>,
    /// The text that the gateway passes on, `{pem}` when absent.
    pub(super) form: Option<String>,
    /// Whether the gateway percent-encodes the text.
    pub(super) percent_encoded: bool,
    /// The digest that the gateway states, instead of SHA-256 of the DER in hexadecimal digits.
    pub(super) digest: Option<Bytes>,
}

/// A change to a certificate's DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CertificateMutation {
    /// Removes the last byte.
    Cut,
    /// Adds a byte.
    Longer,
    /// States version 1, which has no extensions.
    Version,
    /// Puts each name into a separate extension.
    TwoExtensions,
    /// Lets the validity end in June 2026.
    Expired,
}

/// A case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// The name, unique in the file.
    pub(super) name: String,
    /// What the case shows, in one line.
    pub(super) intent: String,
    /// The earlier case from which this one differs in exactly one thing.
    #[serde(default)]
    pub(super) from: Option<String>,
    /// The one difference; a [`Change`].
    #[serde(default)]
    pub(super) change: Option<Value>,
    /// The request, as a merge patch to the file's; together they are a [`Request`].
    #[serde(default)]
    pub(super) request: Option<Map<String, Value>>,
    /// The policy variant that decides the request.
    #[serde(default)]
    pub(super) policy: Option<String>,
    /// The time of the request relative to `now`. Tokens are still minted for `now`.
    #[serde(default)]
    pub(super) at: Option<Offset>,
    /// The documents that differ from those of the file.
    #[serde(default)]
    pub(super) documents: BTreeMap<String, Value>,
    /// Earlier cases whose requests come first, in this order. Each is sent at its own time and must be decided as it expects.
    #[serde(default)]
    pub(super) before: Vec<String>,
    /// The expected decision and its visible effects.
    pub(super) expect: Expect,
    /// Why the case cannot run in an engine.
    #[serde(default)]
    pub(super) skip: Skip,
}

/// The one thing in which a case differs from another.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    // The request.
    Method(Bytes),
    Path(Bytes),
    Host(Option<Bytes>),
    Token(Option<String>),
    Proof(Option<String>),
    ApiKey(Option<String>),
    Certificate(Option<String>),
    Authorization(String),
    /// Sends the token in another header than `Authorization`.
    Carrier((Bytes, String)),
    /// Adds a header line.
    Header((Bytes, Bytes)),
    /// Removes the header lines of this name.
    Without(String),
    Body(Body),
    /// A merge patch of one member of the signature's description, or `null` for no signature.
    Sign(Option<Map<String, Value>>),
    /// Adds a second signature.
    Cosign(Map<String, Value>),
    /// Makes one change to the signed request.
    Tamper(Map<String, Value>),
    Source(Option<String>),
    // The token.
    /// A merge patch of one claim.
    Claim(Map<String, Value>),
    /// A merge patch of one parameter of the token's header.
    Jose(Map<String, Value>),
    Key(String),
    SignWith(String),
    RawHeader(Bytes),
    RawClaims(Bytes),
    Alter(TokenMutation),
    Form(String),
    // The proof.
    /// Makes one of the changes of a token to the proof.
    InProof(Box<Change>),
    // The surroundings of the request.
    Policy(String),
    At(Offset),
    Before(Vec<String>),
    /// Another document at one URL.
    Documents(Map<String, Value>),
}

/// What a case expects.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// The expected decision.
    pub(super) decision: Decision,
    /// The code of the reason for the denial, or of the ground on which the request is allowed.
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// The status of the response; the reason's own when absent.
    #[serde(default)]
    pub(super) status: Option<u16>,
    /// Headers of the response with their exact values; `null` for a header that must be absent.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Option<String>>,
    /// The JSON-RPC error in the response; its members are those that belong to the reason when absent.
    #[serde(default)]
    pub(super) rpc: Option<RpcError>,
    /// The status that belongs to the reason, if it is stated outside of the file.
    #[serde(skip)]
    pub(super) status_of_reason: Option<u16>,
    /// The request that reaches the upstream.
    #[serde(default)]
    pub(super) upstream: Upstream,
    /// The codes of all reasons that would have denied the request, in the order of the checks.
    #[serde(default)]
    pub(super) would_deny: Vec<String>,
    /// Members of the decision record with their exact values.
    #[serde(default)]
    pub(super) record: BTreeMap<String, Value>,
}

/// The JSON-RPC error with which the gate denies a message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RpcError {
    /// The id; `null` for an error without one. When absent, it is the id of a message that could be read.
    #[serde(deserialize_with = "with_null")]
    pub(super) id: Option<Value>,
    /// The code; the one that belongs to the reason when absent.
    pub(super) code: Option<i64>,
}

/// Reads a value that may be `null`, which is not the same as an absent one.
fn with_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A policy's decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The request is forwarded, or the gate responds with the policy's metadata.
    Allow,
    /// The gate rejects the request and sends the response itself.
    Deny,
    /// The request is forwarded unchanged, but would have been denied.
    Observe,
}

/// The request that reaches the upstream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Upstream {
    /// Headers that occur once, with exactly this value.
    pub(super) has: BTreeMap<String, Bytes>,
    /// Headers that are absent in every spelling that a server could read as the same name.
    pub(super) lacks: Vec<String>,
}

/// Why a case cannot run in an engine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Skip {
    /// Why the case cannot run in a real Envoy.
    pub(super) envoy: Option<String>,
}
