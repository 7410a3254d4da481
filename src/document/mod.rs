//! The policy document exactly as a person writes it.
//!
//! These types carry no meaning: they say which fields there are and which shapes their values take. Whatever
//! needs more than one field to be judged belongs to [`compile`](super::compile). The JSON Schema is generated
//! from here, so the doc comments below are the reference that users read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

mod dpop;
mod endpoint;
mod finding;
mod issuer;
mod limit;
pub(crate) mod names;
pub(crate) mod position;
pub(crate) mod scalar;
mod signature;
mod signing_key;

pub use dpop::*;
pub use endpoint::*;
pub use finding::{Finding, Findings, Place};
pub use issuer::*;
pub use limit::*;
pub(crate) use names::did_you_mean;
pub use names::nearest;
pub use signature::*;
pub use signing_key::*;

pub use scalar::{Lifetime, Rate, ScopesAsked, SecretEncoding, Size};

#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// A Callgate policy, format version 1.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The version of this format.
    pub callgate: FormatVersion,
    /// Separates what several policies in one gateway share and record: 1 to 64 letters, digits, `-`, `_` or `.`. Another name starts
    /// new tables: limits have counted nothing yet, and a signature or proof that was accepted under the old name can be accepted
    /// once more, until it is too old.
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
    /// The scheme and host under which clients call the API, where they are not `https` and the host that the gateway sees:
    /// what request signatures and proofs of possession are made out to.
    #[serde(default)]
    pub external_url: Option<String>,
    /// How far the clocks of issuer and gate may differ; 60 s when absent.
    #[serde(default)]
    pub clock_skew: Option<Lifetime>,
    /// What happens to CORS preflight requests, which carry no credentials: `refuse` treats them like any call,
    /// `pass` lets them through on every path alike. `refuse` when absent.
    #[serde(default)]
    pub preflight: Preflight,
    /// What happens to headers that override the method or the path: `refuse` rejects the request, `remove` removes them, for a
    /// gate behind a proxy that sets them. `refuse` when absent. Known are `X-HTTP-Method-Override`, `X-HTTP-Method`,
    /// `X-Method-Override`, `X-Original-URL`, `X-Rewrite-URL`, `X-Script-Name`, `Script-Name` and `Daphne-Root-Path`, in every
    /// spelling that some server reads as one of them (`SCRIPT_NAME`). Upstreams may read others: see `override_headers`.
    #[serde(default)]
    pub overrides: Overrides,
    /// How upstreams read a suffix such as `.json` at the end of a path segment. `reject`: as a format, so that no variable matches
    /// `settings.json` where the policy lists `settings` in the same place. `ignore`: as part of the value, for upstreams that have
    /// no format suffixes. `reject` when absent.
    #[serde(default)]
    pub format_suffixes: FormatSuffixes,
    /// Headers that the upstream takes a method or a path from, in addition to the known ones (see `overrides`), such as
    /// `x-forwarded-prefix`: lower-case letters, digits and hyphens, at most 32 names. A header matches in any case and with any
    /// other characters in the place of the hyphens. Headers that gateways set or the gate needs cannot be listed.
    #[serde(default)]
    pub override_headers: Vec<String>,
    /// Query parameters that are rejected in addition to `access_token` and the method overrides: names of at most 128 bytes, in
    /// lower case, compared decoded and without regard to case.
    #[serde(default)]
    pub refuse_query: Vec<String>,
    /// Whether a valid token whose client is no agent of this policy may call at all. `refuse` when absent.
    #[serde(default)]
    pub unregistered: Unregistered,
    /// Who issues the access tokens that are taken, by a name of your choice.
    pub issuers: BTreeMap<String, Issuer>,
    /// How tokens that are bound to a key are taken. Absent: they are refused.
    #[serde(default)]
    pub dpop: Option<Dpop>,
    /// The inventory: who may call, who answers for it, until when.
    pub agents: BTreeMap<String, Agent>,
    /// What each class of effect asks for, written once.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("propertyNames" = { "$ref": "#/$defs/Effect" })))]
    pub requirements: BTreeMap<Effect, Requirement>,
    /// The allowlist. What is not here is denied.
    pub endpoints: Vec<Endpoint>,
    /// How often callers may call, by a name of your choice; endpoints and requirements refer to it.
    #[serde(default)]
    pub limits: BTreeMap<String, Limit>,
    /// How often credentials from one source address may fail before their signatures are no longer computed. Absent: as
    /// often as they come.
    #[serde(default)]
    pub failed_credentials: Option<FailedCredentials>,
    /// How request signatures are judged, for the endpoints that ask for them.
    #[serde(default)]
    pub signatures: Signatures,
    /// How signatures of Web Bot Auth are judged, for the endpoints that take them.
    #[serde(default)]
    pub web_bot_auth: Option<WebBotAuth>,
    /// The largest body that is held until its digest has been checked; `1MiB` when absent. A larger one is refused. The
    /// gateway's own buffers have to hold as much.
    #[serde(default)]
    pub max_body: Option<Size>,
    /// How long a request is held for its body, and how many bytes of such requests are held at a time.
    #[serde(default)]
    pub held_bodies: HeldBodies,
    /// `accept` where the gateway sends a request's head on before its body has come, so that the upstream may see the head of a
    /// call whose body turns out to be another one; of the body it sees nothing before the digest was checked. Such gateways need
    /// it (`istio`, `envoy-gateway`, `higress`, `kong`); `envoy` does not. Under `observe` the other body follows, and the header
    /// that tells of an observed call comes too late: the record alone says what was wrong.
    #[serde(default)]
    pub late_body_check: Option<LateBodyCheck>,
    /// The sizes of the tables that all workers share.
    #[serde(default)]
    pub tables: Tables,
    /// What the upstream is sent.
    pub upstream: Upstream,
    /// What is written down.
    pub audit: Audit,
}

/// The version of the policy format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum FormatVersion {
    /// Version 1.
    #[serde(rename = "v1")]
    V1,
}

/// Whether denials are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A denial is answered and nothing reaches the upstream.
    Enforce,
    /// A denial is recorded and the call goes on.
    Observe,
}

/// The gateway that runs the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Gateway {
    /// Envoy, 1.36 or newer.
    Envoy,
    /// Istio: a `WasmPlugin`, `TrafficExtension` or `EnvoyFilter`.
    Istio,
    /// Envoy Gateway.
    EnvoyGateway,
    /// Higress.
    Higress,
    /// Kong Gateway with WasmX, up to 3.9.
    Kong,
    /// Only what every proxy-wasm host offers, APISIX among them: nothing that workers share, and no bodies.
    Portable,
}

/// What happens to a CORS preflight request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Overrides {
    /// The request is refused.
    #[default]
    Refuse,
    /// The headers are removed and the request is judged without them.
    Remove,
}

/// How a suffix of a path segment is read where the segment without it is listed in the same place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FormatSuffixes {
    /// As a format: no variable matches `settings.json` where the policy lists `settings`.
    #[default]
    Reject,
    /// As part of a value, like any other text.
    Ignore,
}

/// Whether a valid token of an unregistered client may call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Unregistered {
    /// It is held to endpoints, scopes and bindings like an agent without attributes.
    Allow,
    /// It is refused.
    #[default]
    Refuse,
}

/// A registered caller.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Who answers for this agent.
    pub owner: String,
    /// What the agent is for, in a few words.
    #[serde(default)]
    pub purpose: Option<String>,
    /// How the agent is told by its token. Absent: it has none, and signs its requests.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// The keys with which the agent signs its requests; several, so that one can take over from another.
    #[serde(default)]
    pub signing_keys: Option<Vec<SigningKey>>,
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

/// How an agent is told by its token: the issuer, with the client or the subject or both.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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

/// What the upstream is sent.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Whether the verified `Authorization` header is forwarded to the upstream (`keep`), and with it `DPoP`, or removed (`remove`). Where
    /// requests are observed it is always forwarded, so that the upstream works as before the gate.
    pub authorization: AuthorizationHeader,
    /// Which request bodies the upstream merges with the query or reads method overrides from: `form`, and `json` for frameworks such
    /// as Laravel and Rails. On endpoints with a bound query parameter these bodies are rejected unless the endpoint says
    /// `forms: allow`, since the body could replace the parameter. `[form]` when absent; `[]` for an upstream that merges no bodies.
    #[serde(default = "forms_alone")]
    pub merges: Vec<MergedBody>,
}

fn forms_alone() -> Vec<MergedBody> {
    vec![MergedBody::Form]
}

/// A kind of request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MergedBody {
    /// HTML forms: `application/x-www-form-urlencoded` and every `multipart/` type.
    Form,
    /// JSON: every media type with `json` in its name, such as `application/json`, `text/json` and `application/vnd.api+json`.
    Json,
}

/// What happens to a verified `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuthorizationHeader {
    /// It goes on.
    Keep,
    /// It is removed.
    Remove,
}

/// What is written down.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The headers that tell the upstream who called.
    #[serde(default)]
    pub headers: AuditHeaders,
    /// Which records also go to the gateway's own log, beside the access log.
    pub log: AuditLog,
    /// What a record says of the query: the `names` of its parameters, or their `values` as well, apart from those whose names
    /// speak of a secret. `names` when absent.
    #[serde(default)]
    pub query: AuditQuery,
    /// Request headers that the record repeats, such as `x-agent-run-id`: names in lower case, of headers that carry no
    /// credential. Names that look like a secret's (`x-session-id`, `x-api-key`) are errors.
    #[serde(default)]
    pub include: Vec<String>,
    /// Whether records show a token's subject as it is (`plain`) or as a keyed hash (`hash`), where the subject identifies a person.
    /// `plain` when absent. Headers to the upstream show it as it is.
    #[serde(default)]
    pub subject: AuditSubject,
    /// With `subject: hash`: the variable that holds the key, at least 32 bytes. Gateways with the same key write the same hash.
    pub subject_key: Option<Secret>,
    /// Whether the record is completed when the call has ended, with its `outcome`: status, bytes, duration, how it ended.
    /// `false` when absent.
    #[serde(default)]
    pub outcome: bool,
}

/// What a record says of the query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuditQuery {
    /// The names of its parameters.
    #[default]
    Names,
    /// Names and values.
    Values,
}

/// How records show a token's subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuditSubject {
    /// As it is.
    #[default]
    Plain,
    /// `hmac:` and 16 hexadecimal digits.
    Hash,
}

/// What the names of the gate's headers begin with, where a policy says nothing else in `audit.headers.prefix`.
pub const HEADER_PREFIX: &str = "x-callgate-";

/// The headers that tell the upstream who called.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AuditHeaders {
    /// What their names begin with, in lower case and with a hyphen at the end; inbound headers that begin so are removed.
    pub prefix: String,
}

impl Default for AuditHeaders {
    fn default() -> Self {
        Self { prefix: HEADER_PREFIX.to_owned() }
    }
}

/// Which records also go to the gateway's own log.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AuditLog {
    /// Records of allowed calls.
    pub allow: bool,
    /// Records of denied calls, and of those that would have been denied under `observe`.
    pub deny: bool,
}
