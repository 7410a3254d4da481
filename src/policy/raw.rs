//! The policy document exactly as a person writes it.
//!
//! These types carry no meaning: they say which fields there are and which shapes their values take. Whatever
//! needs more than one field to be judged belongs to [`compile`](super::compile). The JSON Schema is generated
//! from here, so the doc comments below are the reference that users read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

pub use super::scalar::{Lifetime, ScopesAsked, SecretEncoding};

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;

/// A Callgate policy, format version 1.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The version of this format.
    pub callgate: FormatVersion,
    /// Separates what several policies in one gateway share and record: 1 to 64 characters of `a-z 0-9 - _ .`.
    pub name: String,
    /// Whether denials are carried out (`enforce`) or only recorded (`observe`).
    pub mode: Mode,
    /// The gateway that runs this policy; it decides which host features may be used.
    pub gateway: Gateway,
    /// The identifier of the API behind the gate, an absolute `https` URL. Every token's audience must contain it,
    /// unless its issuer names another.
    pub resource: String,
    /// The hosts that the gate answers for, with the port where it is neither 80 nor 443.
    pub hosts: Vec<String>,
    /// How far the clocks of issuer and gate may differ; 60 s when absent.
    #[serde(default)]
    pub clock_skew: Option<Lifetime>,
    /// What happens to CORS preflight requests, which carry no credentials: `refuse` treats them like any call,
    /// `pass` lets them through on every path alike. `refuse` when absent.
    #[serde(default)]
    pub preflight: Preflight,
    /// What happens to headers that override the method or the path: `refuse` the request, or `remove` them, for a gate
    /// behind a proxy that sets them. `refuse` when absent.
    #[serde(default)]
    pub overrides: Overrides,
    /// Query parameters that are refused beside `access_token` and the method overrides, compared decoded and
    /// without regard to case.
    #[serde(default)]
    pub refuse_query: Vec<String>,
    /// Whether a valid token whose client is no agent of this policy may call at all. `refuse` when absent.
    #[serde(default)]
    pub unregistered: Unregistered,
    /// Who issues the access tokens that are taken, by a name of your choice.
    pub issuers: BTreeMap<String, Issuer>,
    /// The inventory: who may call, who answers for it, until when.
    pub agents: BTreeMap<String, Agent>,
    /// What each class of effect asks for, written once.
    #[serde(default)]
    pub requirements: BTreeMap<Effect, Requirement>,
    /// The allowlist. What is not here is denied.
    pub endpoints: Vec<Endpoint>,
    /// What the upstream is sent.
    pub upstream: Upstream,
    /// What is written down.
    pub audit: Audit,
}

/// The version of the policy format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum FormatVersion {
    /// Version 1.
    #[serde(rename = "v1")]
    V1,
}

/// Whether denials are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A denial is answered and nothing reaches the upstream.
    Enforce,
    /// A denial is recorded and the call goes on.
    Observe,
}

/// The gateway that runs the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Gateway {
    /// Envoy, 1.36 or newer.
    Envoy,
    /// Istio.
    Istio,
    /// Envoy Gateway.
    EnvoyGateway,
    /// Higress.
    Higress,
    /// Kong Gateway with WasmX.
    Kong,
    /// Only what every proxy-wasm host offers.
    Portable,
}

/// What happens to a CORS preflight request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Preflight {
    /// It goes on without authentication, on every path alike, without identity headers.
    Pass,
    /// It is a call like any other.
    #[default]
    Refuse,
}

/// What happens to headers that override the method or the path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Overrides {
    /// The request is refused.
    #[default]
    Refuse,
    /// The headers are removed and the request is judged without them.
    Remove,
}

/// Whether a valid token of an unregistered client may call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Unregistered {
    /// It is held to endpoints, scopes and bindings like an agent without attributes.
    Allow,
    /// It is refused.
    #[default]
    Refuse,
}

/// Who issues access tokens, and how they are told to be valid.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The exact value of the `iss` claim.
    pub issuer: String,
    /// Which rules the tokens follow.
    pub profile: Profile,
    /// The signature algorithms that are taken.
    pub algorithms: Vec<AlgorithmName>,
    /// The keys that verify the tokens.
    pub keys: Keys,
    /// What `aud` must contain instead of the policy's `resource`, for providers that send another identifier.
    #[serde(default)]
    pub audience: Option<String>,
    /// The longest lifetime (`exp` − `iat`) of a token, however fresh it is; asks for `iat`. Required.
    pub max_lifetime: Lifetime,
    /// Parameters of the token's header that this provider always sends; they are never used.
    #[serde(default)]
    pub ignore_header: Vec<IgnorableHeader>,
    /// Other issuers of this policy that use the same keys, as tenants of one provider do. Both must say so.
    #[serde(default)]
    pub shares_keys_with: Vec<String>,
    /// The shape of the tokens, for the profile `jwt` only.
    #[serde(default)]
    pub token: Option<TokenShape>,
}

/// Which rules tokens follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum Profile {
    /// JWT access tokens as RFC 9068 defines them.
    #[serde(rename = "at+jwt")]
    AccessToken,
    /// Any other JWT access token; `token` spells out its shape.
    #[serde(rename = "jwt")]
    Jwt,
    /// SPIFFE JWT-SVIDs.
    #[serde(rename = "jwt-svid")]
    JwtSvid,
}

/// A signature algorithm by its JOSE name (RFC 7518, RFC 8037, RFC 9864).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
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
    /// EdDSA on Curve25519; tokens may call it `Ed25519` or `EdDSA`.
    Ed25519,
    /// HMAC with SHA-256; takes a `secret`, no key set.
    HS256,
}

/// Where the keys of an issuer come from: exactly one of the two.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// A JSON Web Key Set (RFC 7517) of public keys.
    #[serde(default)]
    pub jwks: Option<JwkSet>,
    /// The secret of HS256, 32 bytes or more.
    #[serde(default)]
    pub secret: Option<Secret>,
}

/// A JSON Web Key Set. Members that RFC 7517 does not name are ignored, as it says.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub struct JwkSet {
    /// The keys. Encryption keys and types that the gate does not know are skipped with a warning.
    pub keys: Vec<serde_json::Map<String, Value>>,
}

/// A secret from the environment. A secret inside the document would stand in the gateway's configuration dump.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// The name of the environment variable.
    pub env: String,
    /// How the variable's text stands for the secret's bytes; absent: its bytes as they are.
    #[serde(default)]
    pub encoding: Option<SecretEncoding>,
}

/// A parameter of a token's header that may be present and is never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
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
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenShape {
    /// The values of the header's `typ` that are taken, compared without regard to case; `absent` takes a token without one.
    pub typ: Vec<String>,
    /// What tells an access token from the same issuer's other tokens, ID tokens first.
    pub told_apart_by: ToldApartBy,
    /// Claims that must be there, by name or JSON pointer, each with the values that are taken; an empty list takes any value.
    #[serde(default)]
    pub claims: BTreeMap<String, Vec<String>>,
    /// The claim that names the client, by name or JSON pointer; absent where agents are told by their subject.
    #[serde(default)]
    pub client: Option<String>,
    /// The claims that hold scopes. An empty list where scopes come from the agent's entry alone.
    pub scopes: Vec<ScopeClaim>,
}

/// What tells an access token from the same issuer's other tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ToldApartBy {
    /// An `audience` that no other token of this issuer carries.
    Audience,
    /// A required claim with a value that no other token carries, or that no other token has.
    Claims,
    /// A `typ` that only access tokens have.
    Typ,
}

/// A claim that holds scopes.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ScopeClaim {
    /// The claim, by name or JSON pointer.
    pub claim: String,
    /// How the claim holds its scopes.
    pub form: ScopeForm,
}

/// How a claim holds scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ScopeForm {
    /// An array of strings.
    Array,
    /// One string, scopes separated by a space.
    String,
}

/// A registered caller.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Who answers for this agent.
    pub owner: String,
    /// What the agent is for, in a few words.
    #[serde(default)]
    pub purpose: Option<String>,
    /// How the agent is told by its credential.
    pub identity: Identity,
    /// The registration ends with this day in UTC (`2027-06-30`), or at this moment (`2027-06-30T12:00:00Z`).
    #[serde(default)]
    pub expires: Option<String>,
    /// Refuses the agent while `true`, without losing its entry.
    #[serde(default)]
    pub suspended: bool,
    /// Scopes that the agent has beside those in its token.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Facts about the agent that bindings can refer to as `agent.NAME`: strings, integers or lists of them.
    #[serde(default)]
    pub attributes: BTreeMap<String, Value>,
}

/// How an agent is told by its credential: the issuer, with the client or the subject or both.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The name of an issuer of this policy.
    pub issuer: String,
    /// The exact client identifier.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The exact subject.
    #[serde(default)]
    pub subject: Option<String>,
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Changes something that can be changed back.
    Write,
    /// Cannot be undone, or is dangerous in another way.
    Destructive,
}

impl Effect {
    /// The effect as the document writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        }
    }
}

/// What a class of effect asks for.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Scopes that every call of this class needs, beside those of the endpoint.
    #[serde(default)]
    pub scopes: Option<ScopesAsked>,
    /// Whether form bodies, in which frameworks read method overrides and parameters, are taken.
    #[serde(default)]
    pub forms: Option<Forms>,
}

/// Whether form bodies are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Forms {
    /// They are taken, on endpoints with a bound query parameter too, for upstreams that do not merge them with the query.
    Allow,
    /// They are refused.
    Refuse,
}

/// An entry of the allowlist.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// A name for records, metrics and messages: 1 to 64 characters of `a-z A-Z 0-9 - _ .`.
    pub id: String,
    /// Narrows the policy's hosts for this endpoint.
    #[serde(default)]
    pub hosts: Option<Vec<String>>,
    /// The exact methods. `HEAD` is not `GET`.
    pub methods: Vec<String>,
    /// The path template, such as `/repos/{owner}/{repo}/pulls/{n:int}`.
    pub path: String,
    /// What the call does.
    pub effect: Effect,
    /// `public` for an endpoint that asks for no credential. Absent: the caller must be known.
    #[serde(default)]
    pub access: Option<Access>,
    /// What a public endpoint does with a credential that the policy could verify. `verify` when absent.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// Scopes that the call needs: a list of which all are needed, `{ all: [...], any: [...] }`, or `none`.
    #[serde(default)]
    pub scopes: Option<ScopesAsked>,
    /// Parts of the call that must equal a claim of the token or an attribute of the agent, such as `path.owner: token.org`.
    #[serde(default)]
    pub bind: BTreeMap<String, String>,
    /// Escapes that path values may contain here; everywhere else they are refused.
    #[serde(default)]
    pub allow_escapes: Vec<Escape>,
    /// The protocol to which a request may upgrade its connection.
    #[serde(default)]
    pub upgrade: Option<Upgrade>,
    /// `stream` for endpoints whose clients wait for answers before they end their body, as streaming gRPC does: nothing
    /// of it is ever held back.
    #[serde(default)]
    pub body: Option<Body>,
    /// Whether form bodies are taken. Absent: as the effect says, else they are refused where a query parameter is bound.
    #[serde(default)]
    pub forms: Option<Forms>,
    /// `observe` records what would have been denied once this endpoint is found, and lets it through.
    #[serde(default)]
    pub mode: Option<Mode>,
}

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Anyone, without a credential.
    Public,
}

/// What a public endpoint does with credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Credentials {
    /// Passes all and verifies none, for upstreams that check their own.
    Ignore,
    /// Verifies those that the policy could accept, and refuses bad ones.
    Verify,
}

/// A sequence that is refused in a path unless an endpoint opts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum Escape {
    /// An encoded slash.
    #[serde(rename = "%2F")]
    Slash,
    /// An encoded backslash.
    #[serde(rename = "%5C")]
    Backslash,
    /// An encoded percent sign.
    #[serde(rename = "%25")]
    Percent,
    /// A semicolon, which some servers read as the start of path parameters.
    #[serde(rename = ";")]
    Semicolon,
}

/// A protocol to upgrade to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Upgrade {
    /// WebSocket (RFC 6455).
    Websocket,
}

/// How a request body is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// It goes on as it arrives.
    Stream,
}

/// What the upstream is sent.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Whether the verified `Authorization` header goes on to the upstream.
    pub authorization: AuthorizationHeader,
}

/// What happens to a verified `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuthorizationHeader {
    /// It goes on.
    Keep,
    /// It is removed.
    Remove,
}

/// What is written down.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The headers that tell the upstream who called.
    #[serde(default)]
    pub headers: AuditHeaders,
    /// Which records also go to the gateway's own log, beside the access log.
    pub log: AuditLog,
}

/// The headers that tell the upstream who called.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AuditHeaders {
    /// What their names begin with, in lower case and with a hyphen at the end; inbound headers that begin so are removed.
    pub prefix: String,
}

impl Default for AuditHeaders {
    fn default() -> Self {
        Self { prefix: "x-callgate-".to_owned() }
    }
}

/// Which records also go to the gateway's own log.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AuditLog {
    /// Records of allowed calls.
    pub allow: bool,
    /// Records of denied calls, and of those that would have been denied under `observe`.
    pub deny: bool,
}
