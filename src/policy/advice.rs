//! Warnings about a valid policy that may not express its author's intent, if they need more than one field.

use super::{Features, Policy, Store};
use crate::document;
use crate::document::{Finding, Findings, Place};
use crate::identity::crypto::{Algorithm, host_hash};
use crate::identity::signature::SigningKeys;
use crate::text::time::Timestamp;

/// An agent's registration is reported this long before it ends.
const EXPIRES_SOON_SECONDS: u64 = 30 * 86_400;

/// Adds all warnings that do not depend on the time of the check.
pub(super) fn check(document: &document::Document, signing_keys: &SigningKeys, findings: &mut Findings) {
    issuers(document, findings);
    agents(document, findings);
    members_of_classes(document, findings);
    destructive_endpoints(document, findings);
    failing_credentials(document, signing_keys, findings);
}

fn issuers(document: &document::Document, findings: &mut Findings) {
    for (name, issuer) in &document.issuers {
        let place = Place::root().field("issuers").field(name);
        if issuer.issuer.as_deref().is_some_and(|iss| iss.starts_with("http://")) {
            findings.warn(
                place.field("issuer"),
                "clients get tokens from this issuer over plain `http`, where others can read them; write its `https` URL",
            );
        }
        let by_audience =
            issuer.token.as_ref().is_some_and(|token| token.distinguished_by == document::DistinguishedBy::Audience);
        let audiences = match issuer.audience.as_ref().filter(|_| by_audience) {
            Some(document::Audience::OneOf(names)) => names.as_slice(),
            Some(document::Audience::Absent) | None => &[],
        };
        let is_client = |agent: &document::Agent| {
            let identity = agent.identity.as_ref().filter(|identity| identity.issuer.as_ref() == Some(name));
            identity.and_then(|identity| identity.client_id.as_ref()).is_some_and(|client| audiences.contains(client))
        };
        if let Some((agent, _)) = document.agents.iter().find(|(_, agent)| is_client(agent)) {
            findings.warn(
                place.field("audience"),
                format!(
                    "this is the `client_id` of agent `{}`, and ID tokens have the client as their audience; name the audience \
                     of access tokens, or distinguish them by `claims` or `typ`",
                    agent.escape_debug()
                ),
            );
        }
    }
}

fn agents(document: &document::Document, findings: &mut Findings) {
    for (name, agent) in &document.agents {
        let Some(identity) = &agent.identity else { continue };
        let place = Place::root().field("agents").field(name).field("identity");
        for (field, value) in [("client_id", &identity.client_id), ("subject", &identity.subject)] {
            if value.as_deref().is_some_and(|value| value.contains('*')) {
                findings.warn(
                    place.field(field),
                    "`*` is compared literally and matches no other text; write the exact value of each agent",
                );
            }
        }
        let issuer = identity.issuer.as_ref().and_then(|name| document.issuers.get(name));
        let names_clients = issuer.is_some_and(document::Issuer::names_clients);
        if names_clients && identity.client_id.is_none() && identity.subject.is_some() {
            findings.warn(
                place.field("subject"),
                "every client of the issuer that gets a token for this subject is this agent; add its `client_id`",
            );
        }
    }
}

/// Warns about agents whose tokens can match a class as well. Such a token identifies two agents and is denied.
fn members_of_classes(document: &document::Document, findings: &mut Findings) {
    let identities = || document.agents.iter().filter_map(|(name, agent)| Some((name, agent.identity.as_ref()?)));
    let classes: Vec<_> = identities().filter(|(_, identity)| identity.each.is_some()).collect();
    for (name, identity) in identities() {
        let is_one = identity.client_id.is_some() || identity.subject.is_some();
        if identity.each.is_some() || !is_one {
            continue;
        }
        let issuer = identity.issuer.as_ref().and_then(|name| document.issuers.get(name));
        let client =
            issuer.and_then(|issuer| issuer.token.as_ref().map_or(Some("client_id"), |token| token.client.as_deref()));
        let can_be_in = |class: &document::Identity| {
            class.issuer == identity.issuer
                && class.tenant == identity.tenant
                && class.claims.iter().all(|(claim, values)| can_have(identity, client, claim, values))
        };
        if let Some((class, _)) = classes.iter().find(|(_, class)| can_be_in(class)) {
            findings.warn(
                Place::root().field("agents").field(name).field("identity"),
                format!(
                    "a token that matches this and has the claims of agent `{}` identifies two agents and is denied; write `claims` with \
                     values that this agent's tokens have and those of the other agent do not",
                    class.escape_debug()
                ),
            );
        }
    }
}

/// Returns whether a token that matches an identity can have a claim with one of these values. `client` is the claim that names the client.
fn can_have(identity: &document::Identity, client: Option<&str>, claim: &str, values: &[String]) -> bool {
    let name = claim.strip_prefix('/').unwrap_or(claim);
    let only = match name {
        "sub" => identity.subject.as_ref(),
        _ if client == Some(name) => identity.client_id.as_ref(),
        _ => None,
    };
    // A claim that is an array can have the values of both agents. That is rare, and no policy could avoid a warning about it.
    let own = only.map(std::slice::from_ref).or_else(|| identity.claims.get(claim).map(Vec::as_slice));
    own.is_none_or(|own| own.iter().any(|value| values.contains(value)))
}

fn destructive_endpoints(document: &document::Document, findings: &mut Findings) {
    let root = Place::root();
    let all = document.endpoints.iter().enumerate();
    let destructive: Vec<_> = all.filter(|(_, endpoint)| endpoint.effect == document::Effect::Destructive).collect();
    let removes = match document.upstream.authorization {
        document::AuthorizationHeader::Remove => ", and `Authorization` no longer reaches the upstream",
        document::AuthorizationHeader::Keep => "",
    };
    let change = format!("with `enforce` the requests that records show as observed are denied{removes}");
    if document.mode == document::Mode::Observe && !destructive.is_empty() {
        let ids: Vec<_> = destructive.iter().map(|(_, endpoint)| format!("`{}`", endpoint.id.escape_debug())).collect();
        findings.warn(
            root.field("mode"),
            format!("`observe` denies nothing, not even on destructive endpoints ({}); {change}", ids.join(", ")),
        );
    }
    for (index, endpoint) in destructive {
        let place = root.field("endpoints").index(index);
        if document.mode == document::Mode::Enforce && endpoint.mode == Some(document::Mode::Observe) {
            findings
                .warn(place.field("mode"), format!("`observe` denies nothing on this destructive endpoint; {change}"));
        }
        if endpoint.access.is_some() {
            findings.warn(
                place.field("access"),
                "anyone can use this destructive endpoint; remove `access: public`, or choose another `effect` if it can be \
                 undone",
            );
        }
    }
}

/// Warns if failed credentials are not limited on a gateway that does not verify signatures itself. Each signature then costs the
/// worker up to some milliseconds.
fn failing_credentials(document: &document::Document, signing_keys: &SigningKeys, findings: &mut Findings) {
    let features = Features::of(document.gateway);
    if features.verifies || document.auth_failure_limit.is_some() {
        return;
    }
    let root = Place::root();
    let expensive = |names: &[document::AlgorithmName]| {
        names.iter().map(|name| Algorithm::from(*name)).find(|algorithm| host_hash(*algorithm).is_some())
    };
    let of_issuers = document
        .issuers
        .iter()
        .map(|(name, issuer)| (root.field("issuers").field(name).field("algorithms"), expensive(&issuer.algorithms)));
    let of_proofs =
        document.dpop.iter().map(|dpop| (root.field("dpop").field("algorithms"), expensive(&dpop.algorithms)));
    let of_agents = document.agents.keys().zip(0..).map(|(name, position)| {
        let own = signing_keys.iter().filter(|key| key.agent == position).map(|key| key.algorithm);
        let place = root.field("agents").field(name).field("signing_keys");
        (place, own.into_iter().find(|algorithm| host_hash(*algorithm).is_some()))
    });
    let instead = if features.store == Store::None {
        "use `Ed25519` keys"
    } else {
        "write `auth_failure_limit`, or use `Ed25519` keys"
    };
    for (place, algorithm) in of_issuers.chain(of_proofs).chain(of_agents) {
        let Some(algorithm) = algorithm else { continue };
        findings.warn(
            place,
            format!(
                "the filter itself computes `{}` signatures on `{}`, and nothing limits how often a client can send bad ones; \
                 {instead}",
                algorithm.jose_name(),
                features.name
            ),
        );
    }
}

/// Returns when something ends that is still valid for so many seconds.
pub(super) fn when(left: u64) -> String {
    match left / 86_400 {
        0 => "within a day".to_owned(),
        1 => "in 1 day".to_owned(),
        days => format!("in {days} days"),
    }
}

impl Policy {
    /// Returns the warnings that depend on the time: agents whose registration has ended or ends within 30 days, API keys that have expired or
    /// expire within 14 days, and entries of `revoked` that have ended.
    #[must_use]
    pub fn warnings_at(&self, now: Timestamp) -> Vec<Finding> {
        let mut findings = Findings::default();
        for agent in self.agents.iter() {
            let Some(expires) = agent.expires() else { continue };
            let place = Place::root().field("agents").field(&agent.name).field("expires");
            let left = expires.as_secs().saturating_sub(now.as_secs());
            if now >= expires {
                findings.warn(
                    place,
                    "this agent has expired and every request of it is denied; extend `expires`, or remove the agent",
                );
            } else if left <= EXPIRES_SOON_SECONDS {
                let end = when(left);
                findings.warn(place, format!("this agent expires {end}; extend `expires` if it is still needed"));
            }
        }
        if let Some(keys) = &self.api_keys {
            keys.warn_at(&self.agents, now, &mut findings);
        }
        if let Some(revocation) = &self.revocation {
            revocation.warn_at(now, &mut findings);
        }
        findings.warnings
    }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
