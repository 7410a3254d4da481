//! The `signatures`, `web_bot_auth` and `held_bodies` sections of the policy document.

use std::collections::BTreeMap;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "schema")]
use super::form;
use super::scalar::{Lifetime, Size};

/// How request signatures (RFC 9421) are verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Signatures {
    /// The maximum age of a signature, measured from `created`. A signature is remembered for the same time. Default: 60 s.
    pub max_age: Option<Lifetime>,
    /// The maximum time that a client's clock may be ahead. Default: 5 s.
    pub clock_ahead: Option<Lifetime>,
    /// Whether a signature must have a `nonce`. Default: `optional`. Two equal requests within one second then count as the same
    /// request.
    pub nonce: NonceAsked,
    /// The `tag` that signatures must have. Signatures with another tag do not count: a request with only such signatures is
    /// denied with `signature_missing`, even if the signature is optional. Default: only signatures without a `tag` count.
    #[cfg_attr(feature = "schema", schemars(with = "Option<form::PrintableText>"))]
    pub tag: Option<String>,
    /// The components that every signature must cover. The list can contain `@method`, `@authority`, `@path`, `@query`,
    /// `@target-uri`, `@request-target`, `@scheme`, and headers in lower case. A listed `@query` must be covered if the request has
    /// a query, and a listed header if it is sent. Other components must be covered even if they are not listed: `authorization`,
    /// or the header that carries the token instead (`credentials_from`), and `dpop` if sent, bound headers, and for a request with a
    /// body `content-digest`, `content-type` and `content-encoding`.
    /// Default: `@method`, `@authority`, `@path` and `@query`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<form::Component>>"))]
    pub cover: Option<Vec<String>>,
    /// The headers that are structured fields (RFC 9651), with their types, in addition to those of published standards.
    /// Signatures may cover them with `sf` and `key`.
    #[cfg_attr(feature = "schema", schemars(with = "form::Map<form::HeaderName, FieldType>"))]
    pub structured_fields: BTreeMap<String, FieldType>,
}

/// Bounds on requests that are held until their bodies are checked: signed bodies, JSON bodies with a bound part (`body./owner`), and all
/// messages of endpoints with `rpc`. Each worker of the gateway counts for itself. A request is charged with the bytes of its headers and of
/// its body: with the announced `Content-Length` from the beginning, or with the bytes that have arrived. The bytes of a JSON body count
/// twice, because the gateway and the filter both keep them. If there is no room, the response is 503 `held_bytes_full` with `Retry-After`.
/// The part of an MCP server's answer that the filter keeps until it is complete (`max_answer`) counts too, for the agent and the source
/// of its request. If there is no room for it, an error replaces the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HeldBodies {
    /// The maximum time that a request is held without a new byte of its body, from `1s` to `5m`. The response after that time is
    /// 408 `body_timeout`. The timeout is checked once a second. Gateways without timers (`kong`, `portable`) use their own time
    /// limit, such as nginx's `client_body_timeout`. Default: 10 s.
    pub hold_timeout: Option<Lifetime>,
    /// The maximum time that a request is held in total, even if its bytes keep arriving: from `hold_timeout` to `15m`. Default:
    /// six times `hold_timeout`, which is 60 s if that is absent too.
    pub total_timeout: Option<Lifetime>,
    /// The maximum number of bytes that one worker holds, from `1MiB` to `1024MiB`. Default: `64MiB`, or the size of four
    /// requests with a body of `max_body`, or a JSON body of `max_json` counted twice, and 64 KiB of headers if that is more.
    pub worker_bytes: Option<Size>,
    /// The maximum number of bytes that one worker holds for one agent. It must be enough for one such request, and for an answer of
    /// `max_answer`. Default: an eighth of `worker_bytes`, or that minimum if it is more.
    pub agent_bytes: Option<Size>,
    /// The maximum number of bytes that one worker holds for one source, which is an IPv4 address or the /64 of an IPv6 address.
    /// Default: half of `worker_bytes`, or twice `agent_bytes` if that is more.
    pub source_bytes: Option<Size>,
}

/// Whether a signature must have a nonce.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "SignatureNonce"))]
#[serde(rename_all = "lowercase")]
pub enum NonceAsked {
    /// A signature without a nonce is identified by its signature base.
    #[default]
    Optional,
    /// A signature without a nonce is rejected.
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

/// How Web Bot Auth signatures (draft-ietf-webbotauth-httpsig-protocol) are verified, for the endpoints that accept them.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct WebBotAuth {
    /// The maximum age of a signature, measured from `created`. Default: 24 h.
    pub max_age: Option<Lifetime>,
    /// The accepted forms of `Signature-Agent`. Default: the form of draft-ietf-webbotauth-httpsig-protocol-01, a member with the
    /// name of the signature's label. `legacy` also accepts the forms of earlier drafts: a bare string, a dictionary that is
    /// covered as a whole, a member with another name, the parameter `type`, and no such header at all. A signature must always
    /// cover the header if it is sent.
    pub signature_agent: Option<SignatureAgentForm>,
}

/// A form of `Signature-Agent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SignatureAgentForm {
    /// The forms of earlier drafts, in addition to the current form.
    Legacy,
}

/// Whether a request must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "SignatureRequirement"))]
#[serde(rename_all = "lowercase")]
pub enum SignatureAsked {
    /// The caller must sign the request.
    Required,
    /// A signature may be absent. If the request has any signature, one with the required tag must be valid.
    Optional,
}

/// How requests are handled if the gateway cannot hold their headers until the body is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BodyCheck {
    /// The upstream may see the headers of a request whose body does not match its digest.
    AfterHeaders,
}
