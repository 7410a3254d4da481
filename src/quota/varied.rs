//! Limits that differ between callers: values of the caller as parts of the key, tiers, and numbers of single agents.

use serde_json::Value;

use super::identity::tenant;
use super::{Gcra, Limit, LimitSubject};
use crate::identity::token::{ClaimName, VerifiedToken};
use crate::state::Identity;
use crate::text::hash::PolicyMap;

/// A longer text counts as no value: the issuer, or a client, chooses it, and it is hashed for every request.
const MOST_BYTES: usize = 256;

/// What differs between the callers of a limit.
#[derive(Debug, Default)]
pub(crate) struct Varied {
    /// The values of the caller in the limit's key, in the order of their names.
    pub(crate) key: Vec<KeyValue>,
    /// The numbers of the tiers, and then those of single agents.
    pub(crate) numbers: Vec<Numbers>,
    /// How many of the numbers are those of tiers.
    pub(crate) tiers: usize,
    /// The numbers that apply to each agent regardless of its token, by the agent's position in the policy. Empty if there are none.
    pub(crate) by_agent: Vec<Option<NumbersIndex>>,
    /// The claim with the name of the tier, and the numbers of each tier.
    pub(crate) by_claim: Option<(ClaimName, PolicyMap<Box<str>, NumbersIndex>)>,
}

/// A value of the caller in a limit's key.
#[derive(Debug)]
pub(crate) enum KeyValue {
    /// A claim of the token.
    Claim(ClaimName),
    /// An attribute, by its name, with each agent's value by the agent's position in the policy.
    Attribute(Box<str>, Vec<Option<Value>>),
}

/// The numbers of a tier or of an agent.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) gcra: Gcra,
    /// Its member of `RateLimit-Policy`, or `None` if clients do not see this limit.
    pub(crate) told: Option<Box<str>>,
    /// Whose numbers these are, for explanations: `tier premium`.
    pub(crate) whose: Box<str>,
}

/// Selects the numbers of a limit: its own (0), or one of [`Varied::numbers`] (1 for the first).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NumbersIndex(u32);

impl NumbersIndex {
    /// The limit's own rate and burst.
    pub(crate) const OWN: Self = Self(0);

    /// Returns the index of numbers at this position. A policy with more numbers than can be counted has no more of them.
    pub(crate) fn of(position: usize) -> Option<Self> {
        u16::try_from(position).ok().map(|position| Self(u32::from(position) + 1))
    }
}

impl Varied {
    /// Reports whether nothing differs.
    pub(crate) fn is_empty(&self) -> bool {
        self.key.is_empty() && self.numbers.is_empty()
    }

    /// Returns the numbers that apply to a caller: those of its agent, those of its tier, or the limit's own.
    fn choose(&self, who: &LimitSubject<'_>) -> NumbersIndex {
        let Some(caller) = who.caller else { return NumbersIndex::OWN };
        let of_agent = caller.agent.and_then(|(_, position)| self.by_agent.get(position as usize).copied().flatten());
        if let Some(own) = of_agent {
            return own;
        }
        let Some((claim, tiers)) = &self.by_claim else { return NumbersIndex::OWN };
        let tier = caller.token.and_then(|token| token.claim(claim)).and_then(Value::as_str);
        tier.and_then(|tier| tiers.get(tier).copied()).unwrap_or_default()
    }

    /// Adds the values of the caller to an identity.
    pub(super) fn identify(&self, mut identity: Identity, who: &LimitSubject<'_>) -> Identity {
        let token = who.caller.and_then(|caller| caller.token);
        let agent = who.caller.and_then(|caller| caller.agent);
        for part in &self.key {
            identity = match part {
                KeyValue::Claim(name) => claim(identity, name, token),
                KeyValue::Attribute(name, values) => {
                    let own = agent.and_then(|(_, position)| values.get(position as usize));
                    value(identity.text("attribute").text(name), own.and_then(Option::as_ref).filter(|own| counts(own)))
                }
            };
        }
        identity
    }
}

/// Adds a claim to an identity, with its issuer and tenant: the values of one issuer mean nothing to another, and the clients of one tenant
/// must not use up what another has.
fn claim(identity: Identity, name: &ClaimName, token: Option<&VerifiedToken>) -> Identity {
    let identity = identity.text("claim").text(name.as_str());
    match token.and_then(|token| Some((token, token.claim(name).filter(|own| counts(own))?))) {
        Some((token, own)) => {
            let identity = tenant(identity.text("of").text(token.issuer_name()), token.tenant());
            value(identity, Some(own))
        }
        None => value(identity, None),
    }
}

/// Reports whether a value counts by itself: text that is not too long, an integer, or a boolean.
fn counts(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= MOST_BYTES,
        Value::Number(number) => !number.is_f64(),
        Value::Bool(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Adds a value with its type, because the text `1` is not the number 1.
fn value(identity: Identity, value: Option<&Value>) -> Identity {
    match value {
        Some(Value::String(text)) => identity.text("text").text(text),
        Some(Value::Number(number)) => identity.text("number").text(&number.to_string()),
        Some(Value::Bool(truth)) => identity.text("boolean").bytes(&[u8::from(*truth)]),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => identity.optional(None),
    }
}

impl Limit {
    /// Returns the numbers that apply to a caller, with their rate and burst.
    #[inline]
    pub(super) fn choose(&self, who: &LimitSubject<'_>) -> (NumbersIndex, &Gcra) {
        // Most limits have the same numbers for every caller.
        let Some(varied) = &self.varied else { return (NumbersIndex::OWN, &self.gcra) };
        let index = varied.choose(who);
        (index, self.gcra_of(index))
    }

    /// Returns these numbers of a tier or an agent, or `None` for the limit's own.
    pub(crate) fn numbers(&self, NumbersIndex(index): NumbersIndex) -> Option<&Numbers> {
        let position = index.checked_sub(1)?;
        self.varied.as_ref()?.numbers.get(position as usize)
    }

    /// Returns the rate and burst of these numbers.
    pub(crate) fn gcra_of(&self, index: NumbersIndex) -> &Gcra {
        self.numbers(index).map_or(&self.gcra, |numbers| &numbers.gcra)
    }

    /// Returns the member of `RateLimit-Policy` with these numbers, or `None` if clients do not see this limit.
    pub(crate) fn told_of(&self, index: NumbersIndex) -> Option<&str> {
        self.numbers(index).map_or(&self.told, |numbers| &numbers.told).as_deref()
    }

    /// Returns the maximum number of requests with the same key that are allowed within `nanos`, for any start of that window.
    pub(crate) fn most_within(&self, nanos: u64) -> u64 {
        let own = self.gcra.most_within(nanos);
        let Some(varied) = &self.varied else { return own };
        let (of_tiers, of_agents) = varied.numbers.split_at_checked(varied.tiers).unwrap_or_default();
        let most = |numbers: &Numbers| numbers.gcra.most_within(nanos);
        // Requests of different tiers may have the same key, and each tier allows its own numbers.
        let all = of_tiers.iter().map(most).fold(own, u64::saturating_add);
        // The requests of an agent with its own numbers share a key with nobody.
        of_agents.iter().map(most).fold(all, u64::max)
    }
}

#[cfg(test)]
#[path = "varied_tests.rs"]
mod tests;
