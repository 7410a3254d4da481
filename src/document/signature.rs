//! How signed requests are checked, as a person writes it.

use std::collections::BTreeMap;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Lifetime, Size};

/// How request signatures (RFC 9421) are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Signatures {
    /// How long after `created` a signature is taken; 60 s when absent. A signature is remembered for as long.
    pub max_age: Option<Lifetime>,
    /// How far a client's clock may be ahead; 5 s when absent.
    pub clock_ahead: Option<Lifetime>,
    /// Whether a signature must have a `nonce`. `optional` when absent: then two equal calls within a second are one.
    pub nonce: NonceAsked,
    /// The `tag` that signatures must have. Those with another one are ignored. Absent: those with a `tag` are ignored.
    pub tag: Option<String>,
    /// What every signature covers, in the place of `@method`, `@authority`, `@path` and `@query`: those names, `@target-uri`,
    /// `@request-target`, `@scheme`, and headers in lower case. `@query` is asked for where there is one, and headers where they
    /// are sent. What the call needs is asked for beside it: `authorization` and `dpop` where sent, bound headers, and with a body
    /// `content-digest`, `content-type` and `content-encoding`.
    pub cover: Option<Vec<String>>,
    /// Headers that are structured fields (RFC 9651) beside those of published standards, with their types, so that
    /// signatures may cover them with `sf` and `key`.
    pub structured_fields: BTreeMap<String, FieldType>,
}

/// Bounds on requests that are held until their signed bodies were checked. Each worker of the gateway counts for itself. A
/// request is charged with the bytes of its headers and of its body: with the announced `Content-Length` from the beginning,
/// or with what has arrived. Where there is no room, the answer is 503 `held_bytes_full` with `Retry-After`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HeldBodies {
    /// How long a request is held without a new byte of its body, from `1s` to `5m`; 10 s when absent. Then the answer is 408
    /// `body_timeout`. Checked once a second. Gateways without timers (`kong`, `portable`) have a time limit of their own, such as
    /// nginx's `client_body_timeout`.
    pub hold_timeout: Option<Lifetime>,
    /// How long a request is held in all, however its bytes arrive: from `hold_timeout` to `15m`; six times `hold_timeout` when
    /// absent, which is 60 s where that is absent too.
    pub total_timeout: Option<Lifetime>,
    /// The most bytes that one worker holds, from `1MiB` to `1024MiB`; `64MiB` when absent, or room for four requests with a
    /// body of `max_body` and 64 KiB of headers where that is more.
    pub worker_bytes: Option<Size>,
    /// The most bytes that one worker holds for one agent; an eighth of `worker_bytes` when absent. It has to hold one body of
    /// `max_body` and 64 KiB of headers, and is never less when absent.
    pub agent_bytes: Option<Size>,
    /// The most bytes that one worker holds for one source, which is an IPv4 address or the /64 of an IPv6 address; half of
    /// `worker_bytes` when absent, or twice `agent_bytes` where that is more.
    pub source_bytes: Option<Size>,
}

/// Whether a signature must have a nonce.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum NonceAsked {
    /// A signature without one is known by what it signs.
    #[default]
    Optional,
    /// A signature without one is refused.
    Required,
}

/// The type of a structured field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// A dictionary.
    Dictionary,
    /// A list.
    List,
    /// An item.
    Item,
}

/// How signatures of Web Bot Auth (draft-ietf-webbotauth-httpsig-protocol) are judged, for the endpoints that take them.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct WebBotAuth {
    /// How long after `created` a signature is taken at most; 24 h when absent.
    pub max_age: Option<Lifetime>,
    /// The forms of `Signature-Agent` that are accepted. Absent: as draft-ietf-webbotauth-httpsig-protocol-01 says, a member with the
    /// name of the signature's label. `legacy` also accepts what agents send by earlier drafts: a bare string or a dictionary that is
    /// covered as a whole, a member with another name, the parameter `type`, and no such header at all. One that is sent has to be
    /// covered in any case.
    pub signature_agent: Option<SignatureAgentForm>,
}

/// A form of `Signature-Agent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SignatureAgentForm {
    /// Also the forms of earlier drafts.
    Legacy,
}

/// Whether a call must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SignatureAsked {
    /// It must be signed by its caller.
    Required,
    /// A signature that is there must hold.
    Optional,
}

/// What proves who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Authenticate {
    /// An access token.
    Token,
    /// A request signature, with which no token is needed. The agent has the scopes that the policy grants it.
    Signature,
    /// A signature of Web Bot Auth, with which no token is needed.
    WebBotAuth,
}

/// What happens where the gateway cannot hold a request back until its body has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LateBodyCheck {
    /// The upstream may see the head of a request whose body turns out to be another one.
    Accept,
}
