//! Compiles what differs between the callers of a limit: values of the caller in its key, tiers, and the numbers of single agents.

use serde_json::Value;

use super::limits::gcra;
use super::workloads;
use crate::document::names::{check_name, did_you_mean};
use crate::document::{self, Dimension, LimitKeyPart};
use crate::document::{Findings, Place};
use crate::identity::token::ClaimName;
use crate::quota::{KeyValue, Limit, Numbers, NumbersIndex, Varied, policy_member};
use crate::text::hash::PolicyMap;
use crate::text::sort;

/// The maximum number of values of the caller in one key. Each is hashed for every request.
const MOST_VALUES: usize = 2;
/// The maximum number of tiers of one limit.
const MOST_TIERS: usize = 64;

/// A value of the caller, as a limit refers to it.
enum Reference<'d> {
    Claim(ClaimName),
    /// An attribute that at least one agent has.
    Attribute(&'d str),
}

impl<'d> Reference<'d> {
    fn parse(written: &'d str, document: &document::Document, place: &Place, findings: &mut Findings) -> Option<Self> {
        let message = match written.split_once('.') {
            Some(("token", claim)) => match ClaimName::parse(claim) {
                Ok(claim) => return Some(Self::Claim(claim)),
                Err(fault) => fault.to_string(),
            },
            Some(("agent", name)) => {
                let names =
                    sort::set(document.agents.values().flat_map(|agent| agent.attributes.keys()).map(String::as_str));
                if names.contains(name) {
                    return Some(Self::Attribute(name));
                }
                format!(
                    "no agent has the attribute `{}`; {}",
                    name.escape_debug(),
                    did_you_mean(name, names, "add it to the agents that have a value")
                )
            }
            _ => format!(
                "`{}` is not a value of the caller; expected `agent.ATTRIBUTE`, `token.CLAIM` or `token./pointer`",
                written.escape_debug()
            ),
        };
        findings.error(place.clone(), message);
        None
    }
}

/// Compiles the values of the caller in the key of a limit.
pub(super) fn key(
    per: &document::LimitKeySpec,
    document: &document::Document,
    place: &Place,
    findings: &mut Findings,
) -> Vec<KeyValue> {
    if per.references().count() > MOST_VALUES {
        findings.error(place.clone(), format!("too many values of the caller; expected at most {MOST_VALUES}"));
    }
    let mut key = Vec::new();
    for (index, part) in per.0.iter().enumerate() {
        let LimitKeyPart::Reference(written) = part else { continue };
        let Some(reference) = Reference::parse(written, document, &place.index(index), findings) else { continue };
        key.push((
            written,
            match reference {
                Reference::Claim(claim) => KeyValue::Claim(claim),
                Reference::Attribute(name) => {
                    let values = document.agents.values().map(|agent| agent.attributes.get(name).cloned());
                    KeyValue::Attribute(name.into(), values.collect())
                }
            },
        ));
    }
    // The order in the policy has no meaning, so it must not change the key.
    sort::sort_by_key(&mut key, |(written, _)| *written);
    key.into_iter().map(|(_, value)| value).collect()
}

/// Adds what differs between callers to a limit.
pub(super) fn vary(
    limit: Limit,
    key: Vec<KeyValue>,
    raw: &document::Limit,
    document: &document::Document,
    place: &Place,
    findings: &mut Findings,
) -> Limit {
    let mut varying = Varying { limit, varied: Varied { key, ..Varied::default() }, raw, document };
    varying.tiers(place, findings);
    varying.agents(findings);
    let Varying { mut limit, mut varied, .. } = varying;
    // The requests of an agent with its own numbers share a key with nobody, and after a step of the clock it waits for its own refill.
    let of_tiers = varied.tiers;
    let refills = varied.numbers.iter().take(of_tiers).map(|numbers| numbers.gcra.refill());
    let longest = refills.fold(limit.gcra.refill(), u64::max);
    limit.gcra = limit.gcra.shared_with(longest);
    for numbers in varied.numbers.iter_mut().take(of_tiers) {
        numbers.gcra = numbers.gcra.shared_with(longest);
    }
    limit.varied = (!varied.is_empty()).then(|| Box::new(varied));
    limit
}

/// The state while one limit is compiled.
struct Varying<'d> {
    limit: Limit,
    varied: Varied,
    raw: &'d document::Limit,
    document: &'d document::Document,
}

impl Varying<'_> {
    /// Adds numbers, and returns their index. `None` if they are invalid.
    fn add(
        &mut self,
        raw: document::LimitNumbers,
        whose: String,
        place: &Place,
        findings: &mut Findings,
    ) -> Option<NumbersIndex> {
        let gcra = gcra(raw.rate, raw.burst, place, findings)?;
        let index = NumbersIndex::of(self.varied.numbers.len());
        if index.is_none() {
            findings.error(place.clone(), "too many agents have their own numbers for this limit; use tiers");
        }
        let told = self.raw.headers.then(|| policy_member(&self.limit.name, gcra));
        self.varied.numbers.push(Numbers { gcra, told, whose: whose.into() });
        index
    }

    fn tiers(&mut self, place: &Place, findings: &mut Findings) {
        let (raw, document) = (self.raw, self.document);
        let of_tiers = place.field("tiers");
        if raw.tiers.len() > MOST_TIERS {
            findings.error(of_tiers.clone(), format!("too many tiers; expected at most {MOST_TIERS}"));
        }
        let mut tiers: PolicyMap<Box<str>, NumbersIndex> = PolicyMap::default();
        for (name, numbers) in &raw.tiers {
            let place = of_tiers.field(name);
            check_name("a tier", name, &place, findings);
            if let Some(index) = self.add(*numbers, format!("tier {name}"), &place, findings) {
                tiers.insert(name.as_str().into(), index);
            }
        }
        self.varied.tiers = self.varied.numbers.len();
        let place = place.field("tier");
        let Some(written) = &raw.tier else {
            if !raw.tiers.is_empty() {
                findings.error(of_tiers, "nothing selects a tier; write `tier`, such as `tier: agent.plan`");
            }
            return;
        };
        if raw.tiers.is_empty() {
            findings.error(place, "there are no tiers to select; write `tiers`, or remove this");
            return;
        }
        match Reference::parse(written, document, &place, findings) {
            Some(Reference::Claim(claim)) => {
                findings.warn(
                    place,
                    "whoever chooses the value of this claim chooses the numbers of the limit; use a claim that the issuer controls and \
                     clients cannot choose",
                );
                self.varied.by_claim = Some((claim, tiers));
            }
            Some(Reference::Attribute(attribute)) => {
                let mut by_agent = Vec::with_capacity(document.agents.len());
                for (agent, entry) in &document.agents {
                    let value = entry.attributes.get(attribute);
                    let tier = value.and_then(Value::as_str).and_then(|tier| tiers.get(tier).copied());
                    if let (Some(value), None) = (value, tier) {
                        let place = Place::root().field("agents").field(agent).field("attributes").field(attribute);
                        self.warn_of_tier(value, &place, findings);
                    }
                    by_agent.push(tier);
                }
                self.varied.by_agent = by_agent;
            }
            None => {}
        }
    }

    /// Warns that the value of an attribute is not the name of a tier.
    fn warn_of_tier(&self, value: &Value, place: &Place, findings: &mut Findings) {
        let name = &self.limit.name;
        let names = self.raw.tiers.keys().map(String::as_str);
        let otherwise = "expected the name of a tier as text";
        let instead = value.as_str().map_or_else(|| otherwise.to_owned(), |text| did_you_mean(text, names, otherwise));
        findings.warn(
            place.clone(),
            format!(
                "this is not a tier of the limit `{name}`, so its `rate` and `burst` apply to this agent; {instead}"
            ),
        );
    }

    /// Adds the numbers of single agents.
    fn agents(&mut self, findings: &mut Findings) {
        let document = self.document;
        if !document.agents.values().any(|agent| agent.limits.contains_key(&*self.limit.name)) {
            return;
        }
        self.varied.by_agent.resize(document.agents.len(), None);
        for (position, (agent, entry)) in document.agents.iter().enumerate() {
            let Some(numbers) = entry.limits.get(&*self.limit.name) else { continue };
            let place = Place::root().field("agents").field(agent).field("limits").field(&self.limit.name);
            let index = self.add(*numbers, format!("agent {agent}"), &place, findings);
            if let (Some(own), Some(index)) = (self.varied.by_agent.get_mut(position), index) {
                *own = Some(index);
            }
        }
    }
}

/// Checks the names of the limits for which agents have their own numbers.
pub(super) fn check_agents(document: &document::Document, findings: &mut Findings) {
    for (agent, entry) in &document.agents {
        let place = Place::root().field("agents").field(agent).field("limits");
        for name in entry.limits.keys() {
            match document.limits.get(name) {
                None => findings.error(
                    place.field(name),
                    format!(
                        "unknown limit `{}`; {}",
                        name.escape_debug(),
                        did_you_mean(name, document.limits.keys().map(String::as_str), "expected a name from `limits`")
                    ),
                ),
                Some(limit) if !limit.per.has(Dimension::Agent) => findings.error(
                    place.field(name),
                    format!(
                        "`{}` does not count by agent, so other callers would share this agent's numbers; add `agent` to its `per`, or \
                         remove this",
                        name.escape_debug()
                    ),
                ),
                Some(_) => {}
            }
        }
    }
}

/// Reports the tiers and agents whose numbers of this limit are less than the cost.
pub(super) fn check_burst(
    document: &document::Document,
    cost: u32,
    name: &str,
    place: &Place,
    findings: &mut Findings,
) {
    let Some(limit) = document.limits.get(name) else { return };
    for (tier, numbers) in limit.tiers.iter().filter(|(_, numbers)| numbers.burst < cost) {
        findings.error(
            place.clone(),
            format!(
                "the burst of `{name}` is {} for the tier `{}`, so its requests of this cost are always denied; write less, or a larger \
                 burst",
                numbers.burst,
                tier.escape_debug()
            ),
        );
    }
    for (agent, entry) in &document.agents {
        if let Some(numbers) = entry.limits.get(name).filter(|numbers| numbers.burst < cost) {
            // The agent may not have to reach this endpoint.
            findings.warn(
                place.clone(),
                format!(
                    "the burst of `{name}` is {} for the agent `{}`, so its requests of this cost are always denied",
                    numbers.burst,
                    agent.escape_debug()
                ),
            );
        }
    }
}

/// Rejects limits that count by claims where nothing else limits a client that chooses its claims. `own` are the limits to check, and `all`
/// those that are charged together with them.
pub(super) fn check_claims(
    document: &document::Document,
    own: &[&String],
    all: &[&String],
    place: &Place,
    findings: &mut Findings,
) {
    let limit = |name: &str| document.limits.get(name);
    let Some(name) = own.iter().find(|name| limit(name).is_some_and(|limit| limit.per.has_claim())) else { return };
    // Clients that the policy does not name may be as many as somebody registers.
    let is_class = |own: &document::Identity| own.each.is_some() || workloads::is_class(own);
    let names_agents = document.unregistered == document::Unregistered::Reject
        && !document.agents.values().any(|agent| agent.identity.as_ref().is_some_and(is_class));
    let bounds = |limit: &document::Limit| {
        let per = &limit.per;
        !per.has_claim() && !per.has(Dimension::Source) && (names_agents || !per.has(Dimension::Agent))
    };
    if !all.iter().any(|name| limit(name).is_some_and(bounds)) {
        let per = if names_agents { "per `issuer` or `agent`" } else { "per `issuer`" };
        findings.error(
            place.clone(),
            format!(
                "`{}` counts by a claim, and clients choose claims: a client with a new value for each request is not limited; charge a \
                 limit {per} as well",
                name.escape_debug()
            ),
        );
    }
}

#[cfg(test)]
#[path = "limit_values_tests.rs"]
mod tests;
