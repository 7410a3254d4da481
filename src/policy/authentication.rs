//! Compiles the kinds of credentials of which one authenticates the caller of an endpoint.

use super::endpoint::Access;
use super::tls::is_known_by_certificate;
use crate::allowlist::{Binding, Side};
use crate::document::{self, Authenticate};
use crate::document::{Findings, Place};

/// Returns the kinds that the endpoint accepts, from its own field or that of its effect. Without both, it accepts tokens.
pub(super) fn of_endpoint(
    document: &document::Document,
    raw: &document::Endpoint,
    access: Access,
    place: &Place,
    findings: &mut Findings,
) -> Vec<Authenticate> {
    let place = place.field("authenticate");
    let of_effect = document.requirements.get(&raw.effect).and_then(|asked| asked.authenticate.as_ref());
    if let Some(own) = &raw.authenticate {
        check(&own.0, &place, findings);
        if of_effect.is_some_and(|other| !are_the_same(&other.0, &own.0)) {
            findings.error(
                place.clone(),
                "this contradicts the requirements of this effect, and both apply; remove one of them",
            );
        }
    }
    let kinds =
        raw.authenticate.as_ref().or(of_effect).map_or_else(|| vec![Authenticate::Token], |asked| asked.0.clone());
    if access == Access::Known && kinds.contains(&Authenticate::ApiKey) {
        if document.agents.values().all(|agent| agent.api_keys.is_none()) {
            findings.error(
                place.clone(),
                "this endpoint accepts API keys, but no agent has one; write `api_keys` at the agents that have",
            );
        } else {
            check_bound(document, raw, &place, findings);
        }
    }
    if access == Access::Known && kinds.contains(&Authenticate::Certificate) {
        if document.tls.is_none() {
            findings.error(
                place,
                "this endpoint accepts client certificates, which identify nobody without `tls`; add it at the top level",
            );
        } else if !document.agents.values().any(|agent| is_known_by_certificate(document, agent)) {
            findings.error(
                place,
                "this endpoint accepts client certificates, but no agent is identified by one; write `identity.spiffe` (an ID of \
                 one of `tls.trust_domains`) or `identity.certificate` at the agents that have one",
            );
        }
    }
    kinds
}

/// Checks the requirements of all effects.
pub(super) fn check_requirements(document: &document::Document, findings: &mut Findings) {
    for (effect, asked) in &document.requirements {
        if let Some(kinds) = &asked.authenticate {
            let place = Place::root().field("requirements").field(effect.name()).field("authenticate");
            check(&kinds.0, &place, findings);
        }
    }
}

fn check(kinds: &[Authenticate], place: &Place, findings: &mut Findings) {
    if kinds.is_empty() {
        findings.error(
            place.clone(),
            "the list is empty, so every request would be denied; write at least one kind of credential",
        );
    }
    for (index, kind) in kinds.iter().enumerate() {
        let mut earlier = kinds.iter().take(index);
        if earlier.clone().any(|other| other == kind) {
            findings.error(place.index(index), format!("`{}` is listed twice; remove one", kind.name()));
        } else if let Some(other) = earlier.find(|other| other.is_signature() && kind.is_signature()) {
            findings.error(
                place.index(index),
                format!(
                    "an endpoint accepts only one kind of signature, and `{}` is listed already; remove one of them",
                    other.name()
                ),
            );
        }
    }
}

/// Rejects API keys where the token must be bound to a key that its sender holds. Anyone who sees an API key can use it.
fn check_bound(document: &document::Document, raw: &document::Endpoint, place: &Place, findings: &mut Findings) {
    let of_effect = document.requirements.get(&raw.effect).and_then(|asked| asked.token);
    if raw.token.or(of_effect).is_some() {
        findings.error(
            place.clone(),
            "an API key proves no possession of anything, but this endpoint has `token: bound`; remove `api-key` or `token`",
        );
    }
}

/// Rejects bindings to claims where callers may have none, because their requests would always be denied.
pub(super) fn check_bindings(kinds: &[Authenticate], bindings: &[Binding], place: &Place, findings: &mut Findings) {
    let without_token = [(Authenticate::ApiKey, "an API key"), (Authenticate::Certificate, "a certificate")];
    let Some((kind, what)) = without_token.into_iter().find(|(kind, _)| kinds.contains(kind)) else { return };
    for binding in bindings.iter().filter(|binding| matches!(binding.side, Side::Token(_))) {
        let (left, right) = &binding.written;
        findings.error(
            place.field("bind").field(left),
            format!(
                "a caller with {what} has no token, so `{}` does not exist and its requests would always be denied; bind an \
                 attribute (`agent.NAME`), or remove `{}` from `authenticate`",
                right.escape_debug(),
                kind.name()
            ),
        );
    }
}

/// Returns whether both lists have the same kinds, in any order. Each list has every kind at most once.
fn are_the_same(one: &[Authenticate], other: &[Authenticate]) -> bool {
    one.len() == other.len() && one.iter().all(|kind| other.contains(kind))
}
