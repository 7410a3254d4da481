//! The rules that checks apply, identified by their locations in the policy document.

use std::borrow::Cow;
use std::fmt;

use crate::allowlist::Origin;
use crate::document::{Effect, Place};
use crate::policy::Endpoint;

/// A rule, identified by its location in the policy document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule<'a> {
    /// A built-in rule that is not part of any policy.
    Gate,
    /// A top-level field of the document.
    Policy(&'static str),
    /// A field of an endpoint.
    Endpoint(u32, &'static str),
    /// A binding of an endpoint, identified by its left side.
    Binding(u32, &'a str),
    /// A field of an operation, identified by the operation's place.
    Operation(&'a str, &'static str),
    /// A binding of an operation, identified by the operation's place and by its left side.
    OperationBinding(&'a str, &'a str),
    /// A field of an issuer.
    Issuer(&'a str, &'static str),
    /// A field of the requirements of an effect.
    Effect(Effect, &'static str),
    /// An agent, identified by its name.
    Agent(&'a str),
    /// The ceiling of an agent, identified by the agent's name.
    AtMost(&'a str),
    /// A limit, identified by its name.
    Limit(&'a str),
}

impl<'a> Rule<'a> {
    /// Returns the location of the rule as text. The text of the matched endpoint's location was computed when the policy was
    /// compiled.
    pub(crate) fn text(self, matched: Option<&'a Endpoint>) -> Cow<'a, str> {
        match (self, matched) {
            (Self::Endpoint(position, ""), Some(endpoint)) if endpoint.position == position => {
                Cow::Borrowed(&endpoint.place)
            }
            _ => Cow::Owned(self.to_string()),
        }
    }

    /// Returns the rule that imposes a requirement: a field of the endpoint, or of the requirements of its effect.
    pub(crate) fn asked_by(endpoint: &Endpoint, origin: Option<Origin>, field: &'static str) -> Self {
        match origin {
            Some(Origin::Effect(effect)) => Self::Effect(effect, field),
            Some(Origin::Endpoint) | None => Self::Endpoint(endpoint.position, field),
        }
    }
}

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gate => Ok(()),
            Self::Policy(field) => f.write_str(field),
            Self::Endpoint(position, "") => write!(f, "endpoints[{position}]"),
            Self::Endpoint(position, field) => write!(f, "endpoints[{position}].{field}"),
            Self::Binding(position, left) => f.write_str(
                Place::root().field("endpoints").index(*position as usize).field("bind").field(left).as_str(),
            ),
            Self::Operation(place, "") => f.write_str(place),
            Self::Operation(place, field) => write!(f, "{place}.{field}"),
            Self::OperationBinding(place, left) => {
                // The place of a field is written with the quotes that its name needs.
                write!(f, "{place}.{}", Place::root().field("bind").field(left).as_str())
            }
            Self::Issuer(name, field) => {
                let place = Place::root().field("issuers").field(name);
                f.write_str(if field.is_empty() { place } else { place.field(field) }.as_str())
            }
            Self::Effect(effect, field) => write!(f, "requirements.{}.{field}", effect.name()),
            Self::Agent(name) => f.write_str(Place::root().field("agents").field(name).as_str()),
            Self::AtMost(name) => f.write_str(Place::root().field("agents").field(name).field("at_most").as_str()),
            Self::Limit(name) => f.write_str(Place::root().field("limits").field(name).as_str()),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "schema")]
#[path = "rule_tests.rs"]
mod tests;
