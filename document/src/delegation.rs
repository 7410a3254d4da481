//! The `delegation` section of the policy document, and the field of endpoints and requirements.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "schema")]
use super::form;

/// How tokens with a chain of actors (`act`, RFC 8693) are accepted, on endpoints that allow delegation. The outermost actor is the caller:
/// it must be a registered agent with an `identity.actor`, and its limits, attributes and expiry apply. The token's subject is for whom it
/// acts. Each actor is an object with `sub`, and at most `iss`, `client_id` and the actor before it (`act`).
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// The maximum number of actors in a token's chain, from 1 to 8. Default: 2.
    #[serde(default)]
    pub max_depth: Option<u32>,
    /// The agents that may be the current actor, by their names or the names of `groups`. Each needs an `identity.actor`, as does at least
    /// one agent of each group. Default: every agent whose `identity` has an `actor`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<form::Name>>"))]
    pub actors: Option<Vec<String>>,
    /// What is required of the actors before the current one. Default: `recorded`.
    #[serde(default)]
    pub prior_actors: PriorActors,
}

/// What is required of the actors before the current one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PriorActors {
    /// Nothing. They are recorded and forwarded.
    #[default]
    Recorded,
    /// Each must be a registered agent with an `identity.actor`, neither suspended nor expired, and the `at_most` of each applies.
    Checked,
}

/// Whether requests may, or must, be made for somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "DelegationRequirement"))]
#[serde(rename_all = "lowercase")]
pub enum DelegationAsked {
    /// Tokens with an actor are rejected.
    None,
    /// Tokens with and without an actor are accepted.
    Allowed,
    /// Only tokens with an actor are accepted.
    Required,
}
