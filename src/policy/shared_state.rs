//! What a policy keeps in the store that all workers share, and how much room that takes.

use std::time::Duration;

use super::{Endpoint, Policy, Store};
use crate::quota::LimitKey;
use crate::state::{Namespace, SlotKind, bytes_in_zone};

impl Policy {
    /// Reports whether requests are counted or nonces issued. Their evaluation then needs the state that workers share.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.limits.any() || self.dpop.as_ref().is_some_and(|rules| rules.nonce)
    }

    /// Reports whether the policy keeps anything in the store that all workers share.
    pub(crate) fn keeps_state(&self) -> bool {
        self.counts() || self.replay.is_some() || self.pins_definitions()
    }

    /// Returns whether an operation has pins. All workers know which definitions changed.
    fn pins_definitions(&self) -> bool {
        let operations =
            self.endpoints.list.iter().filter_map(|endpoint| endpoint.rpc.as_ref()).flat_map(|rpc| rpc.operations());
        operations.into_iter().any(|operation| !operation.pins.is_empty())
    }

    /// Returns the size in bytes of the zone that holds the shared state without evictions, or `None` if the gateway has no zone.
    /// The size is a multiple of 4 KiB, because nginx does not start with another size. Policies that share a zone need the sum
    /// of their sizes.
    #[must_use]
    pub fn shared_bytes(&self) -> Option<u64> {
        if self.features.store != Store::Zone || !self.keeps_state() {
            return None;
        }
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let own = self
            .limits
            .list
            .iter()
            .enumerate()
            .filter(|(_, limit)| !limit.per.has(LimitKey::SOURCE.with(LimitKey::CLAIM)))
            .map(|(position, limit)| {
                let charges = |endpoint: &&Endpoint| endpoint.limits.iter().any(|own| *own as usize == position);
                let per = limit.per;
                let agents = if per.has(LimitKey::AGENT) { self.agents() } else { 1 };
                // A caller may have no issuer, or that of its agent.
                let issuers = if per.has(LimitKey::AGENT) { 1 } else { self.issuers.named() };
                let issuers = if per.has(LimitKey::ISSUER) { issuers + 1 } else { 1 };
                let endpoints =
                    if per.has(LimitKey::ENDPOINT) { self.endpoints().iter().filter(charges).count() } else { 1 };
                // Each agent may have another value, and some callers have none.
                let values = if per.has(LimitKey::ATTRIBUTE) { count(self.agents()).saturating_add(1) } else { 1 };
                count(agents).saturating_mul(count(issuers)).saturating_mul(count(endpoints)).saturating_mul(values)
            });
        let slots = u64::from(Namespace::slots_for(self.table_entries()));
        let replay = self.replay.as_ref().map_or(0, |replay| replay.slots(&self.agents));
        let own = own.fold(0, u64::saturating_add).saturating_mul(bytes_in_zone(SlotKind::Own));
        let slots = (slots + 1).saturating_mul(bytes_in_zone(SlotKind::Shared));
        let replay = (replay + 1).saturating_mul(bytes_in_zone(SlotKind::Replay));
        let values = own.saturating_add(slots).saturating_add(replay);
        // The zone needs room for its own data and that of its pages.
        let bytes = values.saturating_add(values / 8).saturating_add(256 * 1024);
        Some(bytes.checked_next_multiple_of(4096).unwrap_or(u64::MAX))
    }

    /// Returns how long a new replay table rejects messages that an earlier table may have seen, or `None` without a replay
    /// table.
    #[must_use]
    pub fn replay_ripens(&self) -> Option<Duration> {
        self.replay.as_ref().map(|replay| replay.rules.ripens())
    }

    /// Returns the size of the table for limits of identities that the policy does not name.
    #[must_use]
    pub fn table_entries(&self) -> u32 {
        self.limits.table
    }
}
