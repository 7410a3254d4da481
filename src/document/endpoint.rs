//! Endpoints and what classes of effect ask for, as a person writes them.

use std::collections::BTreeMap;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

use super::limit::yes;
use super::scalar::ScopesAsked;
use super::{Authenticate, Mode, SignatureAsked, TokenAsked};

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Scopes that every call of this class needs, beside those of the endpoint.
    #[serde(default)]
    pub scopes: Option<ScopesAsked>,
    /// `bound` for calls that take no bearer token, only one that is bound to a key (see `dpop`). A caller that is known by its
    /// signature alone (`authenticate`) has no token and passes: it has shown a key with the call itself.
    #[serde(default)]
    pub token: Option<TokenAsked>,
    /// Whether bodies are accepted in which frameworks read method overrides and parameters: forms, and every other kind that
    /// `upstream.merges` lists.
    #[serde(default)]
    pub forms: Option<Forms>,
    /// Whether every call of this class must be signed by its caller (RFC 9421).
    #[serde(default)]
    pub signature: Option<SignatureAsked>,
    /// What proves who calls. `token` when absent.
    #[serde(default)]
    pub authenticate: Option<Authenticate>,
    /// Limits that every call of this class is held to, beside those of the endpoint. On public endpoints those that count by
    /// who calls have nobody to count.
    #[serde(default)]
    pub limits: Vec<String>,
}

/// Whether forms and the other bodies that the upstream merges with the query (`upstream.merges`) are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Forms {
    /// They are accepted, on endpoints with a bound query parameter too, where the upstream does not merge them with the query.
    Allow,
    /// They are rejected: forms in any case, other kinds where `upstream.merges` lists them, and bodies without a `Content-Type`.
    Refuse,
}

/// An entry of the allowlist.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// A name for records, metrics and messages: 1 to 64 letters, digits, `-`, `_` or `.`.
    pub id: String,
    /// Narrows the policy's hosts for this endpoint.
    #[serde(default)]
    pub hosts: Option<Vec<String>>,
    /// The exact methods. `HEAD` is not `GET`.
    pub methods: Vec<String>,
    /// The path template, such as `/repos/{owner}/{repo}/pulls/{n:int}`. The policy reference lists the types of variables under "Path
    /// values".
    pub path: String,
    /// What the call does.
    pub effect: Effect,
    /// `public` for an endpoint that asks for no credential. Absent: the caller must be known.
    #[serde(default)]
    pub access: Option<Access>,
    /// What a public endpoint does with a credential that the policy could verify. `verify` when absent.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// `bound` for a call that takes no bearer token, only one that is bound to a key (see `dpop`). A caller that is known by its
    /// signature alone (`authenticate`) has no token and passes: it has shown a key with the call itself.
    #[serde(default)]
    pub token: Option<TokenAsked>,
    /// Scopes that the call needs: a list of which all are needed, `{ all: [...], any: [...] }`, or `none`.
    #[serde(default)]
    pub scopes: Option<ScopesAsked>,
    /// Parts of the call that must equal a claim of the token or an attribute of the agent, such as `path.owner: token.org`.
    #[serde(default)]
    pub bind: BTreeMap<String, String>,
    /// Escapes that values of `{x:text}` and `{x...}` may contain here, in either case; everywhere else they are rejected. A value
    /// that an upstream could read as the path of another endpoint is rejected with `path_value_ambiguous`.
    #[serde(default)]
    pub allow_escapes: Vec<Escape>,
    /// The protocol to which a request may upgrade its connection.
    #[serde(default)]
    pub upgrade: Option<Upgrade>,
    /// Whether the call must be signed by its caller (RFC 9421), with its body. Absent: as the effect says, else signatures are
    /// not looked at.
    #[serde(default)]
    pub signature: Option<SignatureAsked>,
    /// What proves who calls. Absent: as the effect says, else `token`.
    #[serde(default)]
    pub authenticate: Option<Authenticate>,
    /// `false` lets a signed call pass as often as it comes, where the effect is `read`. Absent: it passes once, as a proof of
    /// possession does in any case.
    #[serde(default = "yes")]
    pub replay: bool,
    /// `stream` for endpoints whose clients wait for answers before they end their body, as streaming gRPC does: nothing
    /// of it is ever held back.
    #[serde(default)]
    pub body: Option<Body>,
    /// Whether forms, and every other kind of body that `upstream.merges` lists, are accepted. Absent: as the effect says, else the
    /// kinds that `upstream.merges` lists are rejected where a query parameter is bound.
    #[serde(default)]
    pub forms: Option<Forms>,
    /// Limits that the call is held to, by their names.
    #[serde(default)]
    pub limits: Vec<String>,
    /// How many calls one call of this endpoint counts for; 1 when absent.
    #[serde(default)]
    pub cost: Option<u32>,
    /// `observe` records what would have been denied once this endpoint is found, and lets it through.
    #[serde(default)]
    pub mode: Option<Mode>,
}

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Anyone, without a credential.
    Public,
}

/// What a public endpoint does with credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Credentials {
    /// Passes all and verifies none, for upstreams that check their own.
    Ignore,
    /// Verifies those that the policy could accept, and refuses bad ones.
    Verify,
}

/// A sequence that is rejected in a path unless an endpoint allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Upgrade {
    /// WebSocket (RFC 6455).
    Websocket,
}

/// How a request body is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// It goes on as it arrives.
    Stream,
}
