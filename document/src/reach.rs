//! What an agent gets at most, regardless of its credentials.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

use super::Effect;
#[cfg(feature = "schema")]
use super::form;
use super::scalar::Rate;

/// What an agent gets at most, regardless of its token. A part that is absent restricts nothing; an empty list permits nothing.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AtMost {
    /// The scopes that count: a required scope that is not listed is not granted, not even by a listed scope that includes it
    /// (`scope_implies`). Other scopes of its tokens and of its entry are ignored, and the upstream does not receive them.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<form::Scope>>"))]
    pub scopes: Option<Vec<String>>,
    /// The effects of endpoints and operations that it may use.
    #[serde(default)]
    pub effects: Option<Vec<Effect>>,
    /// The endpoints that it may use, by their `id`. Public endpoints are open to everyone in any case.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<form::Name>>"))]
    pub endpoints: Option<Vec<String>>,
}

/// The numbers of a limit for one agent or one tier.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LimitNumbers {
    /// The long-term rate of allowed requests, such as `60/1m`.
    pub rate: Rate,
    /// The number of requests that are allowed at once after an idle period.
    pub burst: u32,
}
