//! Agents that are identified by claims of their tokens, found by the value of one of these claims.

use serde_json::Value;

use crate::document;
use crate::document::{Findings, Place};
use crate::identity::token::{ClaimName, VerifiedToken, is_claim_value};
use crate::text::hash::PolicyMap;

/// The claims that all tokens of an issuer have, with the same values. They identify nobody.
const SAME_IN_ALL: [&str; 4] = ["iss", "/iss", "aud", "/aud"];

/// The agents of one issuer and tenant that are identified by claims.
#[derive(Debug, Default)]
pub(super) struct ClaimIdentities {
    list: Vec<ClaimIdentity>,
    /// For each claim that comes first in some identity: the identities by its value.
    by_claim: Vec<(ClaimName, ByValue)>,
}

/// The identities with each value of one claim.
type ByValue = PolicyMap<Box<str>, Vec<u32>>;

/// The claims that identify an agent.
#[derive(Debug)]
pub(super) struct ClaimIdentity {
    pub(super) agent: u32,
    client: Option<Box<str>>,
    subject: Option<Box<str>>,
    claims: Vec<(ClaimName, Vec<String>)>,
}

impl ClaimIdentity {
    /// Reads the claims of an identity. Returns `None` if there is an error, which is added to the findings.
    pub(super) fn read(agent: u32, raw: &document::Identity, place: &Place, findings: &mut Findings) -> Option<Self> {
        let errors_before = findings.errors.len();
        let mut claims = Vec::with_capacity(raw.claims.len());
        for (name, values) in &raw.claims {
            let place = place.field("claims").field(name);
            if values.is_empty() || values.iter().any(String::is_empty) {
                findings.error(
                    place.clone(),
                    "a value is missing; list the values that the claim has in the agent's tokens",
                );
            }
            if SAME_IN_ALL.contains(&name.as_str()) {
                findings.error(
                    place.clone(),
                    "all tokens of the issuer have this claim; write a claim that identifies the agent",
                );
            }
            match ClaimName::parse(name) {
                Ok(name) => claims.push((name, values.clone())),
                Err(error) => findings.error(place, error.to_string()),
            }
        }
        let text = |value: &Option<String>| value.as_deref().map(Into::into);
        let identity = Self { agent, client: text(&raw.client_id), subject: text(&raw.subject), claims };
        (findings.errors.len() == errors_before).then_some(identity)
    }

    fn matches(&self, token: &VerifiedToken) -> bool {
        let same = |own: &Option<Box<str>>, of_token: Option<&str>| own.is_none() || own.as_deref() == of_token;
        let has = |(name, values): &(ClaimName, Vec<String>)| {
            token.claim(name).is_some_and(|value| values.iter().any(|written| is_claim_value(value, written)))
        };
        same(&self.client, token.client()) && same(&self.subject, token.subject()) && self.claims.iter().all(has)
    }

    /// Returns the client, if the identity names one.
    pub(super) fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Returns the subject, if the identity names one.
    pub(super) fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Returns whether both identities are the same.
    fn is_same_as(&self, other: &Self) -> bool {
        self.client == other.client && self.subject == other.subject && self.claims == other.claims
    }
}

impl ClaimIdentities {
    /// Adds an identity. Returns the agent that has the same one.
    pub(super) fn add(&mut self, identity: ClaimIdentity) -> Option<u32> {
        if let Some(other) = self.list.iter().find(|other| other.is_same_as(&identity)) {
            return Some(other.agent);
        }
        let position = u32::try_from(self.list.len()).ok()?;
        let (name, values) = identity.claims.first()?;
        let index = match self.by_claim.iter().position(|(own, _)| own == name) {
            Some(index) => index,
            None => {
                self.by_claim.push((name.clone(), PolicyMap::default()));
                self.by_claim.len() - 1
            }
        };
        if let Some((_, by_value)) = self.by_claim.get_mut(index) {
            for value in values {
                let positions: &mut Vec<u32> = by_value.entry(value.as_str().into()).or_default();
                if !positions.contains(&position) {
                    positions.push(position);
                }
            }
        }
        self.list.push(identity);
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ClaimIdentity> {
        self.list.iter()
    }

    /// Returns the agents whose claims a token has. An agent may occur more than once if its first claim is an array in the token.
    pub(super) fn find<'i>(&'i self, token: &'i VerifiedToken) -> impl Iterator<Item = u32> + 'i {
        let found = self.by_claim.iter().flat_map(move |(name, by_value)| {
            let value = token.claim(name);
            let values = match value {
                Some(Value::Array(items)) => items.as_slice(),
                Some(value) => std::slice::from_ref(value),
                None => &[],
            };
            values.iter().flat_map(move |value| candidates(by_value, value)).copied()
        });
        let found = found.filter_map(move |position| self.list.get(position as usize));
        found.filter(move |identity| identity.matches(token)).map(|identity| identity.agent)
    }
}

/// Returns the identities in which a claim may have this value.
fn candidates<'i>(by_value: &'i PolicyMap<Box<str>, Vec<u32>>, value: &Value) -> &'i [u32] {
    let found = match value {
        Value::String(text) => by_value.get(text.as_str()),
        Value::Number(number) => by_value.get(number.to_string().as_str()),
        Value::Bool(truth) => by_value.get(if *truth { "true" } else { "false" }),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    found.map_or(&[], Vec::as_slice)
}
