//! What a policy publishes for older policies of its name: everything that it revokes and suspends.

use super::gateway::{Features, Store};
use super::revoked;
use crate::document;
use crate::identity::revocation::{Builder, Entries, Entry, Kind, Mark};

/// What a policy publishes for older policies of its name.
#[derive(Debug)]
pub(crate) struct Published {
    /// What it revokes and suspends. Most policies have no entries, and publish that.
    pub(crate) entries: Entries,
    /// Whether the policy revokes or suspends something, or checks open streams again. Without the shared store, it cannot be used. Other
    /// policies can: they then do not apply what a newer one revokes.
    pub(crate) is_required: bool,
}

/// Returns what a policy publishes. `None` on gateways without a store that keeps it, and if other filters could change what its workers
/// share: the gateway gives them the same map, and the policy has no key (`has_key`).
pub(super) fn published(document: &document::Document, has_key: bool) -> Option<Published> {
    let features = Features::of(document.gateway);
    if features.store != Store::Unbounded || !(features.store_is_ours || has_key) {
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
    let entries = builder.finish(0);
    let rechecks = document.endpoints.iter().any(|endpoint| endpoint.streams.is_some());
    let is_required = rechecks || !entries.is_empty() || document.revocations.is_some();
    Some(Published { entries, is_required })
}
