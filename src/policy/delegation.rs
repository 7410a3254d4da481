//! Compiles the `delegation` section, and what endpoints and effects require of tokens with actors.
//!
//! How agents are found by the actors of a token does not belong in this module.

use super::endpoint::Access;
use crate::allowlist::Origin;
use crate::document::names::check_distinct;
use crate::document::{self, Authenticate, DelegationAsked, PriorActors};
use crate::document::{Findings, Place, did_you_mean};
use crate::identity::token::MOST_ACTORS;

/// The default maximum number of actors.
const USUAL_DEPTH: u8 = 2;

/// How tokens with actors are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delegation {
    /// The maximum number of actors.
    pub(crate) max_depth: u8,
    /// Whether each actor before the current one must be an agent.
    pub(crate) checks_prior: bool,
}

/// Whether an endpoint accepts tokens with actors, and the field that decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DelegationRule {
    pub(crate) asked: DelegationAsked,
    pub(crate) origin: Origin,
}

/// Compiles the section, and checks the fields of requirements.
pub(super) fn compile(document: &document::Document, findings: &mut Findings) -> Option<Delegation> {
    for (effect, asked) in &document.requirements {
        if let Some(asked) = asked.delegation {
            let place = Place::root().field("requirements").field(effect.name()).field("delegation");
            check_accepted(asked, document, &place, findings);
        }
    }
    let place = Place::root().field("delegation");
    let Some(raw) = &document.delegation else {
        warn_of_unused_actors(document, findings);
        return None;
    };
    let asked = raw.max_depth.unwrap_or(USUAL_DEPTH.into());
    let max_depth = u8::try_from(asked).ok().filter(|depth| (1..=MOST_ACTORS).contains(depth));
    if max_depth.is_none() {
        findings.error(
            place.field("max_depth"),
            format!(
                "invalid number `{asked}`; expected 1 to {MOST_ACTORS}, the number of actors between the user and the API"
            ),
        );
    }
    if let Some(names) = &raw.actors {
        check_actors(names, document, &place.field("actors"), findings);
    }
    if !is_accepted_anywhere(document) {
        findings.warn(
            place,
            "no endpoint and no effect has `delegation: allowed` or `required`, so every token with an actor is rejected; write it where \
             agents act for others, or remove this section",
        );
    }
    let max_depth = max_depth.unwrap_or(USUAL_DEPTH);
    Some(Delegation { max_depth, checks_prior: raw.prior_actors == PriorActors::Checked })
}

/// Returns what an endpoint requires: its own field, or else that of its effect, or else `none`.
pub(super) fn of_endpoint(
    document: &document::Document,
    raw: &document::Endpoint,
    access: Access,
    authenticate: &[Authenticate],
    place: &Place,
    findings: &mut Findings,
) -> DelegationRule {
    let of_effect = of_effect(document, raw.effect);
    let own = place.field("delegation");
    if access != Access::Known {
        if raw.delegation.is_some() {
            findings.error(
                own,
                "a public endpoint does not check for whom a request is made; remove `delegation` or `access: public`",
            );
        } else if of_effect == Some(DelegationAsked::Required) {
            findings.error(
                place.field("effect"),
                "this effect requires requests for somebody else, but a public endpoint needs no token; remove `access: public` or choose \
                 another effect",
            );
        }
        return DelegationRule { asked: DelegationAsked::None, origin: Origin::Endpoint };
    }
    if let Some(asked) = raw.delegation {
        check_accepted(asked, document, &own, findings);
    }
    let (asked, origin) = match (raw.delegation, of_effect) {
        (Some(asked), _) => (asked, Origin::Endpoint),
        (None, Some(asked)) => (asked, Origin::Effect(raw.effect)),
        (None, None) => (DelegationAsked::None, Origin::Endpoint),
    };
    if asked == DelegationAsked::Required && !authenticate.contains(&Authenticate::Token) {
        findings.error(
            place.field("authenticate"),
            "this endpoint requires a token with an actor (`delegation: required`), but accepts no tokens; add `token`, or choose another \
             value of `delegation`",
        );
    }
    DelegationRule { asked, origin }
}

/// Returns what the effect of an operation requires in addition to the endpoint. The field of an endpoint replaces that of the endpoint's
/// own effect, for its operations too.
pub(super) fn of_operation(
    document: &document::Document,
    endpoint: &document::Endpoint,
    rule: DelegationRule,
    effect: document::Effect,
    place: &Place,
    findings: &mut Findings,
) -> Option<DelegationAsked> {
    let asked = of_effect(document, effect).filter(|_| effect != endpoint.effect)?;
    let contradicts = matches!(
        (rule.asked, asked),
        (DelegationAsked::None, DelegationAsked::Required) | (DelegationAsked::Required, DelegationAsked::None)
    );
    if contradicts {
        findings.error(
            place.field("effect"),
            "the requirements of this effect and `delegation` of the endpoint exclude each other, so every request for this operation would \
             be denied; change one of them",
        );
    }
    Some(asked)
}

/// Returns whether the policy lists this agent among those that may act for others, or lists none.
pub(super) fn may_act(document: &document::Document, agent: &str) -> bool {
    let listed = document.delegation.as_ref().and_then(|section| section.actors.as_ref());
    listed.is_none_or(|names| names.iter().any(|name| name == agent || members(document, name).any(|own| own == agent)))
}

fn of_effect(document: &document::Document, effect: document::Effect) -> Option<DelegationAsked> {
    document.requirements.get(&effect).and_then(|asked| asked.delegation)
}

/// Returns the agents of a group.
fn members<'d>(document: &'d document::Document, group: &str) -> impl Iterator<Item = &'d str> + use<'d> {
    document.groups.get(group).into_iter().flatten().map(String::as_str)
}

fn has_actor(document: &document::Document, agent: &str) -> bool {
    let identity = document.agents.get(agent).and_then(|agent| agent.identity.as_ref());
    identity.is_some_and(|identity| identity.actor.is_some())
}

/// Checks that tokens with an actor can be accepted, if this asks for them.
fn check_accepted(asked: DelegationAsked, document: &document::Document, place: &Place, findings: &mut Findings) {
    if asked == DelegationAsked::None {
        return;
    }
    if document.delegation.is_none() {
        findings.error(
            place.clone(),
            "tokens with an actor are not accepted without `delegation`; add `delegation` at the top level, or remove this",
        );
    } else if !document.agents.keys().any(|agent| has_actor(document, agent)) {
        findings.error(
            place.clone(),
            "no agent can be an actor; write `identity.actor` at the agents that act for others, or remove this",
        );
    }
}

fn check_actors(names: &[String], document: &document::Document, place: &Place, findings: &mut Findings) {
    if names.is_empty() {
        findings.error(
            place.clone(),
            "the list is empty, so every token with an actor would be rejected; write at least one agent, or remove the list",
        );
    }
    check_distinct("actor", names, place, findings);
    for (index, name) in names.iter().enumerate() {
        let place = place.index(index);
        if document.agents.contains_key(name) {
            if !has_actor(document, name) {
                findings.error(
                    place,
                    format!(
                        "no token names agent `{}` as an actor; write its `identity.actor`, or remove it from this list",
                        name.escape_debug()
                    ),
                );
            }
        } else if document.groups.contains_key(name) {
            if !members(document, name).any(|agent| has_actor(document, agent)) {
                findings.error(
                    place,
                    format!(
                        "no token names an agent of group `{}` as an actor; write `identity.actor` at the agents that act for others, or \
                         remove the group from this list",
                        name.escape_debug()
                    ),
                );
            }
        } else {
            let known = document.agents.keys().chain(document.groups.keys()).map(String::as_str);
            findings.error(
                place,
                format!(
                    "unknown agent `{}`; {}",
                    name.escape_debug(),
                    did_you_mean(name, known, "expected a name from `agents` or `groups`")
                ),
            );
        }
    }
}

fn is_accepted_anywhere(document: &document::Document) -> bool {
    let accepts = |asked: Option<DelegationAsked>| asked.is_some_and(|asked| asked != DelegationAsked::None);
    document.requirements.values().any(|asked| accepts(asked.delegation))
        || document.endpoints.iter().any(|endpoint| accepts(endpoint.delegation))
}

fn warn_of_unused_actors(document: &document::Document, findings: &mut Findings) {
    for agent in document.agents.keys().filter(|agent| has_actor(document, agent)) {
        let place = Place::root().field("agents").field(agent).field("identity").field("actor");
        findings.warn(
            place,
            "tokens with an actor are not accepted without `delegation`; add `delegation` at the top level, or remove this",
        );
    }
}

#[cfg(test)]
#[path = "delegation_tests.rs"]
mod tests;
