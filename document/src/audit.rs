//! The `audit` section of the policy document: the contents of records and logs, and the headers that identify the caller.

use serde::Deserialize;

#[cfg(feature = "schema")]
use schemars::JsonSchema;

use super::Secret;
#[cfg(feature = "schema")]
use super::form;

/// The contents of records and logs.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The headers that identify the caller to the upstream.
    #[serde(default)]
    pub headers: AuditHeaders,
    /// The records that are also written to the gateway's own log, in addition to the access log.
    pub log: AuditLog,
    /// Whether a record shows only the `names` of query parameters or also their `values`. Values are omitted if the parameter's
    /// name looks like a secret. Default: `names`.
    #[serde(default)]
    pub query: AuditQuery,
    /// The request headers that the record repeats, such as `x-agent-run-id`. Names are in lower case. Headers that carry
    /// credentials are not allowed: names that look like secrets (`x-session-id`, `x-api-key`) are errors.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<form::HeaderName>"))]
    pub include: Vec<String>,
    /// Whether records show a token's subject unchanged (`plain`) or as a keyed hash (`hash`), for subjects that identify a
    /// person. Headers to the upstream always show it unchanged. Default: `plain`.
    #[serde(default)]
    pub subject: AuditSubject,
    /// The environment variable that contains the key for `subject: hash`, at least 32 bytes. Gateways with the same key produce
    /// the same hash.
    pub subject_key: Option<Secret>,
    /// Whether the record includes the `outcome` of the request: status, bytes, duration, and how it ended. Callgate adds it when
    /// the request ends.
    /// Default: `false`.
    #[serde(default)]
    pub outcome: bool,
}

/// The parts of the query that a record shows.
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
    /// Unchanged.
    #[default]
    Plain,
    /// `hmac:` and 16 hexadecimal digits.
    Hash,
}

/// The prefix of Callgate's headers if the policy does not set `audit.headers.prefix`.
pub const HEADER_PREFIX: &str = "x-callgate-";

/// The headers that identify the caller to the upstream.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AuditHeaders {
    /// The prefix of their names, in lower case and with a hyphen at the end. Inbound headers with this prefix are removed.
    #[cfg_attr(feature = "schema", schemars(with = "form::HeaderPrefix"))]
    pub prefix: String,
}

impl Default for AuditHeaders {
    fn default() -> Self {
        Self { prefix: HEADER_PREFIX.to_owned() }
    }
}

/// The records that are also written to the gateway's own log.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AuditLog {
    /// Whether records of allowed requests are logged.
    pub allow: bool,
    /// Whether records of denied requests are logged, including requests that `observe` would have denied.
    pub deny: bool,
}
