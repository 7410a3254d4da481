//! What a policy publishes for older policies of its name: everything that it revokes and suspends.

use super::gateway::{Features, Store};
use super::revoked;
use crate::document;
use crate::identity::revocation::{Builder, Entries, Entry, Kind, Mark};

/// Returns what a policy revokes and suspends. `None` if it neither revokes, suspends nor checks open streams again, so policies that use
/// nothing of this pay nothing for it. Also `None` if other filters could change what its workers share: the gateway gives them the same map,
/// and the policy has no key (`has_key`).
pub(super) fn published(document: &document::Document, has_key: bool) -> Option<Entries> {
    let features = Features::of(document.gateway);
    let rechecks = document.endpoints.iter().any(|endpoint| endpoint.streams.is_some());
    let revokes = !document.revoked.is_empty() || document.revocations.is_some();
    let suspends = document.agents.values().any(|agent| agent.suspended)
        || document.issuers.values().any(|issuer| issuer.suspended)
        || document.endpoints.iter().any(|endpoint| endpoint.suspended);
    if !(rechecks || revokes || suspends) || features.store != Store::Unbounded || !(features.store_is_ours || has_key)
    {
        return None;
    }
    let mut builder = Builder::default();
    document.revoked.iter().filter_map(|raw| revoked::read(raw).ok()).for_each(|read| builder.add(read.entry));
    let agents = document.agents.iter().filter(|(_, agent)| agent.suspended);
    let issuers = document.issuers.iter().filter(|(_, issuer)| issuer.suspended);
    let endpoints = document.endpoints.iter().filter(|endpoint| endpoint.suspended);
    let suspended = agents
        .map(|(name, _)| (Kind::Agent, Mark::of_name(name)))
        .chain(issuers.map(|(name, _)| (Kind::Issuer, Mark::of_issuer(name, None))))
        .chain(endpoints.map(|endpoint| (Kind::Endpoint, Mark::of_name(&endpoint.id))));
    for (kind, mark) in suspended {
        builder.add(Entry { kind, mark, issued_before: None, until: None, reason: None });
    }
    Some(builder.finish(0))
}
