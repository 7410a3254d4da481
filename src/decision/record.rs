//! The record of a decision: one JSON object that describes the request and the decision.
//!
//! A record never contains a token, key, signature, secret or cookie. A short hash represents a token, so its uses can be
//! found.
//!
//! This module declares the members, in the order in which they are written. The code that computes their values from the facts
//! of a decision belongs in `facts`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

mod facts;
mod json;
mod outcome;
mod redact;
#[cfg(feature = "schema")]
mod schema;

pub use outcome::{Completion, Ended, Ending};

use crate::decision::Ground;
use crate::decision::scopes::granted;
use crate::document::Authenticate;
use crate::identity::token::VerifiedToken;
use crate::policy::{Agent, Policy};
use crate::reason::Reason;
use crate::request::incoming::{DecisionId, Source};
use crate::request::shown::visible;
use crate::text::time::Timestamp;

#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// Declares the record, and lists the names of its members in the order in which they are written.
macro_rules! record {
    ($(#[$of_all:meta])+ pub struct Record<'r> { $($(#[$about:meta])+ $member:ident: $kind:ty,)+ }) => {
        $(#[$of_all])+
        pub struct Record<'r> { $($(#[$about])+ $member: $kind,)+ }

        impl Record<'_> {
            /// The names of all members, in the order in which they are written.
            pub const MEMBERS: &'static [&'static str] = &[$(stringify!($member)),+];
        }
    };
}

record! {
    /// The record of a decision: one JSON object with the same members for allowed and denied requests. Members without a value
    /// are absent.
    #[derive(Debug, Default, Serialize)]
    #[cfg_attr(feature = "schema", derive(JsonSchema))]
    #[serde(deny_unknown_fields)]
    pub struct Record<'r> {
        /// The decision.
        decision: Verdict,
        /// The code of the reason for the denial (see reasons.md), or the ground on which the request is allowed.
        #[cfg_attr(feature = "schema", schemars(schema_with = "schema::reasons"))]
        reason: &'static str,
        /// The location in the policy of the rule that decided. It is absent for a built-in rule.
        #[serde(skip_serializing_if = "is_empty")]
        rule: Cow<'r, str>,
        /// In observation: every reason for which the request would have been denied, in the order of the checks.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        would_deny: Vec<WouldDeny>,
        /// The id of the decision. It is also in the answer's `instance` and in a header for the upstream. It is absent if the
        /// gateway provided no random numbers.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(with = "Option<String>", regex(pattern = "^[0-9a-f]{32}$")))]
        id: Option<DecisionId>,
        /// The time of the decision, in milliseconds since 1970-01-01 UTC. It is absent if the gateway provided no time.
        #[serde(skip_serializing_if = "Option::is_none")]
        time_ms: Option<u64>,
        /// The agent that the credential belongs to, even if the request is denied. It is absent if the request was denied before
        /// the agent was looked up: if it is malformed, if its credential does not verify, or if its proof of possession is
        /// missing or invalid (`token_bound`, `token_unbound`, and all `dpop_…` except `dpop_replayed`). An expired API key still
        /// names its agent.
        #[serde(skip_serializing_if = "Option::is_none")]
        agent: Option<&'r str>,
        /// The policy's name of the issuer whose token was verified.
        #[serde(skip_serializing_if = "Option::is_none")]
        issuer: Option<&'r str>,
        /// The tenant of the issuer, if the issuer has tenants. It is a part of the caller's identity.
        #[serde(skip_serializing_if = "Option::is_none")]
        tenant: Option<&'r str>,
        /// The client, from the token. In `client`, `subject` and `scopes`, characters that are invisible or reorder the text
        /// around them are escaped, such as `\u{202e}`; a backslash is doubled; and text longer than 1,024 bytes is truncated
        /// and ends with `…`.
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<Cow<'r, str>>,
        /// The subject, from the token, or the SPIFFE ID of the client certificate that identified the caller. If the policy sets `audit.subject: hash`, it is `hmac:` and the first 16 hexadecimal
        /// digits of HMAC-SHA-256 over the subject.
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<Cow<'r, str>>,
        /// For whom and through whom the request was made, if the token has actors (`act`) and the policy accepts delegation: the subject,
        /// the current actor, then each earlier one. An actor is its `sub`, or its `iss`, `#` and its `sub` if its `iss` is not the token's
        /// or its `sub` contains `#`. Text is escaped as in `client`. If the policy sets `audit.subject: hash`, the subject and every
        /// actor are hashed as in `subject`, except for a current actor that is a registered agent.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        chain: Vec<Cow<'r, str>>,
        /// The scopes of the token and, unless the token has an actor (`act`), of the agent's registration, even if its `at_most` does not
        /// count them.
        #[serde(skip_serializing_if = "Scopes::is_empty")]
        #[cfg_attr(feature = "schema", schemars(with = "Vec<&'r str>"))]
        scopes: Scopes<'r>,
        /// The first 16 hexadecimal digits of SHA-256 over the token's `header.payload`, to find other uses of the token. The
        /// signature is left out, because an ECDSA signature has a second valid form.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[0-9a-f]{16}$")))]
        token: Option<&'r str>,
        /// The first 16 hexadecimal digits of SHA-256 over the API key, which are also the first digits of its `sha256` in the policy. It
        /// is absent for a key that is not in the policy.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[0-9a-f]{16}$")))]
        api_key: Option<&'r str>,
        /// The certificate that the client presented, if the policy has `tls`, even if it identifies nobody. It is absent for one that
        /// cannot be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        certificate: Option<CertificateRecord<'r>>,
        /// The kind of credential that identified the caller, if it was an API key or a certificate, or the endpoint accepts more than one
        /// kind. Otherwise, `token` and `signed_by` show it.
        #[serde(skip_serializing_if = "Option::is_none")]
        authenticated_by: Option<Authenticate>,
        /// The proof that the caller holds the key that its token is bound to. It is absent for a bearer token, and if no proof
        /// was accepted.
        #[serde(skip_serializing_if = "Option::is_none")]
        proof: Option<ProofKind>,
        /// Why a credential of the request was revoked, if the entry that revokes it has a `reason`.
        #[serde(skip_serializing_if = "Option::is_none")]
        revoked: Option<&'r str>,
        /// The `keyid` of the request's signature, if one was verified.
        #[serde(skip_serializing_if = "Option::is_none")]
        signed_by: Option<&'r str>,
        /// The id of the endpoint that the request matched.
        #[serde(skip_serializing_if = "Option::is_none")]
        endpoint: Option<&'r str>,
        /// `true` if the endpoint's body is forwarded as it arrives.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        body_streams: bool,
        /// `true` if the body matches its signed digest and was checked before it was forwarded.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        body_checked: bool,
        /// `true` if the headers of the request were forwarded before its body was checked, which `body_check` accepts.
        /// Without `body_checked`, the body did not arrive or did not match.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        body_late: bool,
        /// The method. In `method`, `host`, the paths and `query`, text that is longer than 256 bytes or looks like a
        /// credential is replaced by its length and the first digits of its SHA-256: `[43 bytes, sha256 0123456789abcdef]`.
        /// Text looks like a credential if it is a JSON Web Token, or 32 or more characters of base64 or hexadecimal digits
        /// that are neither a UUID nor words.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<Cow<'r, str>>,
        /// The host in lower case, without the ports 80 and 443.
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<Cow<'r, str>>,
        /// The canonical path. Each segment is shown or replaced.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<Cow<'r, str>>,
        /// The path as the client sent it, escaped, if it has no canonical form.
        #[serde(skip_serializing_if = "Option::is_none")]
        raw_path: Option<Cow<'r, str>>,
        /// The query's parameters as the client sent them: names, or `name=value` if the policy sets `audit.query: values`. The
        /// value of a parameter whose name looks like that of a secret is left out. If there are more than 32 parameters or
        /// 4,096 bytes, the last item is `…`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        query: Vec<Cow<'r, str>>,
        /// The message, if the endpoint has operations (`rpc`) and the body is a message with a method, or if the request belongs to a session.
        #[serde(skip_serializing_if = "Option::is_none")]
        rpc: Option<Box<RpcRecord<'r>>>,
        /// The headers that the policy lists in `audit.include`, by name. Lines with the same name are joined by `, `. A value
        /// longer than 256 bytes is truncated and ends with `…`. A value that contains a JSON Web Token is replaced as in
        /// `path`.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<&'r str, String>,
        /// The address that the request came from, without its port.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
        source: Option<Source>,
        /// The gateway's own id of the request. Some gateways keep an id that the client sent, so a JSON Web Token is replaced
        /// here too.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<Cow<'r, str>>,
        /// The trace id of a valid `traceparent` (W3C Trace Context).
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[0-9a-f]{32}$")))]
        trace_id: Option<&'r str>,
        /// The name of the policy.
        policy: &'r str,
        /// SHA-256 over the policy's canonical JSON, as `callgate check` prints it.
        #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[0-9a-f]{64}$")))]
        policy_version: &'r str,
        /// The version of the module.
        module_version: &'static str,
        /// The outcome of the request, if the policy sets `audit.outcome: true`, if Callgate ended the request's open stream, or if it
        /// removed a changed tool from the answer. It is added when the request has ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        outcome: Option<Completion>,
    }
}

/// The message of a request to an endpoint with operations. Text is redacted as in `method`, and truncated after 256 bytes.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
struct RpcRecord<'r> {
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'r, str>>,
    /// The name of the tool, even if it is not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<Cow<'r, str>>,
    /// The URI of the resource, even if it is not listed. Of the resources of a subscription, it is the first that is not listed, or else the
    /// first.
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<Cow<'r, str>>,
    /// The number of resources that a subscription names, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    uris: Option<u64>,
    /// The name of the prompt, even if it is not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<Cow<'r, str>>,
    /// The id of the request, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'r, str>>,
    /// A hash of `Mcp-Session-Id`, to find the other requests of the session: with the key of `audit.subject: hash` if the policy has one
    /// (`hmac:`), and otherwise without a key (`sha256:`), followed by 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

/// A client certificate. Names are escaped and truncated as in `client`. If the policy sets `audit.subject: hash`, they are hashed as the
/// subject is.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
struct CertificateRecord<'r> {
    /// Its SPIFFE ID, which is in an accepted trust domain or that of a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe: Option<Cow<'r, str>>,
    /// Its first URI, if it has no accepted SPIFFE ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<Cow<'r, str>>,
    /// Its first DNS name, if it has no accepted SPIFFE ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<Cow<'r, str>>,
    /// The first 16 hexadecimal digits of SHA-256 of its DER.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[0-9a-f]{16}$")))]
    sha256: String,
}

/// The scopes of a caller. They are collected only when the record is written.
#[derive(Debug, Default)]
struct Scopes<'r> {
    token: Option<&'r VerifiedToken>,
    agent: Option<&'r Agent>,
}

impl Scopes<'_> {
    fn is_empty(&self) -> bool {
        granted(self.token, self.agent).next().is_none()
    }
}

impl Serialize for Scopes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The scopes of a policy consist of visible ASCII characters.
        if self.token.is_none_or(VerifiedToken::is_plain) {
            return serializer.collect_seq(granted(self.token, self.agent));
        }
        serializer.collect_seq(granted(self.token, self.agent).map(visible))
    }
}

/// A proof that the caller holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
enum ProofKind {
    /// A DPoP proof (RFC 9449) for this request.
    Dpop,
}

/// A decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// The request is forwarded, or Callgate answers it with what the policy publishes (`metadata`).
    Allow,
    /// The request is not forwarded. Callgate answers it, unless the client has already disconnected.
    #[default]
    Deny,
    /// The request would have been denied. The denial is only recorded, and the request is forwarded.
    Observe,
}

/// A reason for which a request would have been denied.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
struct WouldDeny {
    /// The code of the reason.
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::denials"))]
    reason: &'static str,
    /// The location of the rule in the policy. It is absent for a built-in rule.
    #[serde(skip_serializing_if = "String::is_empty")]
    rule: String,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Observe => "observe",
        }
    }
}

impl Ground {
    /// The grounds that a record may contain as its reason. The record of an observed request contains the reason for the
    /// denial.
    pub const RECORDED: [Self; 4] = [Self::Endpoint, Self::Public, Self::Preflight, Self::Metadata];

    /// Returns the stable code of the ground.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Endpoint => "allowed",
            Self::Public => "public",
            Self::Preflight => "preflight",
            Self::Metadata => "metadata",
            Self::Observed => "observed",
        }
    }
}

impl<'r> Record<'r> {
    /// Returns the record of a request that was denied because the host failed.
    #[must_use]
    pub fn undecided(policy: &'r Policy, now: Option<Timestamp>, id: Option<DecisionId>) -> Self {
        Self {
            decision: Verdict::Deny,
            reason: Reason::HostError.code(),
            id,
            time_ms: now.map(milliseconds),
            policy: &policy.name,
            policy_version: &policy.version,
            module_version: env!("CARGO_PKG_VERSION"),
            ..Self::default()
        }
    }

    /// Returns the outcome and the reason, which are the labels of the decision metric.
    #[must_use]
    pub fn outcome(&self) -> (&'static str, &'static str) {
        (self.decision.name(), self.reason)
    }

    /// Returns the record as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // INVARIANT: a record contains only strings, numbers and lists of them, which JSON can always represent.
        json::to_json(self).or_else(|| serde_json::to_vec(self).ok()).unwrap_or_default()
    }
}

fn is_empty(text: &str) -> bool {
    text.is_empty()
}

fn milliseconds(moment: Timestamp) -> u64 {
    moment.as_nanos() / 1_000_000
}
