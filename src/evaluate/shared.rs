//! The state that a policy keeps in the store that all workers share. It is opened once per configuration.

use std::rc::Rc;

use crate::policy::{Policy, Store};
use crate::replay::Table;
use crate::state::{Clock, Namespace, PolicyStore, Seal, Secret, Shared, SharedStore, Slot, StoreError, Zone};

/// The state of a policy in the shared store.
pub(crate) struct SharedState {
    store: PolicyStore<Rc<dyn SharedStore>>,
    namespace: Namespace,
    /// `None` if the policy has no replay protection.
    replay: Option<Table>,
}

/// The tables whose size differs from the policy. A table keeps the size it was created with until the gateway restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OtherSizes {
    /// The number of entries that the table of limits has.
    pub limits: Option<u32>,
    /// The number of entries that each agent's partition of the replay table has.
    pub replay: Option<u32>,
}

impl SharedState {
    /// Opens or creates the state of a policy. Returns `None` for a policy without limits and replay protection. `secret` is
    /// fresh random bytes; it is used only by the worker that creates the state, and only if the policy sets no key.
    ///
    /// # Errors
    /// [`StoreError`] if the host cannot access the store, another value is stored under the name, or the store is too small.
    pub(crate) fn open(
        policy: &Policy,
        store: Rc<dyn SharedStore>,
        clock: &dyn Clock,
        secret: [u8; 16],
    ) -> Result<Option<(Self, OtherSizes)>, StoreError> {
        if !policy.keeps_state() {
            return Ok(None);
        }
        let zone = policy.features.store == Store::Zone;
        let store = PolicyStore::new(
            store,
            policy.tables_key.as_ref().map(|key| Seal { key: key.seals(), zone: zone.then_some(Zone::Tables) }),
        );
        let secret = policy.tables_key.as_ref().map_or(Secret::Fresh(secret), |key| Secret::Known(key.names()));
        let opened = Namespace::open(&store, &policy.name, policy.table_entries(), secret)?;
        let mut sizes = OtherSizes { limits: opened.other_size, replay: None };
        let namespace = opened.namespace.with_known(policy.agents());
        let mut state = Self { store, namespace, replay: None };
        if let Some(replay) = &policy.replay {
            let opened = Table::open(state.shared(clock), replay.sharers(&policy.agents), replay.rules)?;
            (state.replay, sizes.replay) = (Some(opened.table), opened.other_size);
        }
        if zone {
            state.namespace.slots().try_for_each(|place| Slot::make(&state.store, &place))?;
            // A zone that is too small evicts the entries that were written first.
            if !Namespace::stands(&state.store, &policy.name)? {
                return Err(StoreError);
            }
        }
        Ok(Some((state, sizes)))
    }

    /// Returns the state in the form that an evaluation uses.
    pub(crate) fn shared<'s>(&'s self, clock: &'s dyn Clock) -> Shared<'s> {
        Shared { store: &self.store, namespace: &self.namespace, clock }
    }

    /// Returns the replay table. `None` if the policy has no replay protection.
    pub(crate) fn replay(&self) -> Option<&Table> {
        self.replay.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::simulation::ZoneStore;
    use crate::testing;
    use crate::text::time::Timestamp;

    fn policy(key: &str) -> Policy {
        let document = testing::document(json!({
            "name": "zone", "gateway": "kong",
            "agents": { "a": testing::signer() },
            "limits": { "calls": { "per": ["agent", "endpoint"], "rate": "60/1m", "burst": 10 } },
            "tables": { "limits": 64, "replay": 640, "key": { "env": key } },
            "body_check": "after_headers",
            "endpoints": [{ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none",
                            "authenticate": "signature", "limits": ["calls"] }]
        }));
        testing::compile(document, &testing::own_name)
    }

    fn open(policy: &Policy, store: &Rc<ZoneStore>) -> Result<SharedState, StoreError> {
        let opened =
            SharedState::open(policy, Rc::clone(store) as Rc<dyn SharedStore>, &Timestamp::from_secs(1_000), [0; 16])?;
        Ok(opened.unwrap().0)
    }

    #[test]
    fn a_zone_of_the_reported_size_holds_all_entries() {
        let policy = policy("K");
        let bytes = usize::try_from(policy.shared_bytes().unwrap()).unwrap();
        let store = Rc::new(ZoneStore::with_room(bytes));
        open(&policy, &store).unwrap();
        // The namespace and its slots, the table's header and the table's slots.
        assert_eq!(store.len(), 1 + 64 / 8 + 1 + 640 / 64);
        assert!(store.bytes() < bytes, "{} of {bytes}", store.bytes());
        open(&policy, &store).unwrap();
        assert_eq!(store.len(), 1 + 64 / 8 + 1 + 640 / 64, "every worker uses what the first one made");
    }

    #[test]
    fn opening_fails_if_the_zone_is_too_small() {
        let policy = policy("K");
        let store = Rc::new(ZoneStore::default());
        open(&policy, &store).unwrap();
        let needed = store.bytes();
        assert!(open(&policy, &Rc::new(ZoneStore::with_room(needed))).is_ok());
        for room in [needed - 1, needed / 2, 2_000] {
            assert_eq!(open(&policy, &Rc::new(ZoneStore::with_room(room))).err(), Some(StoreError), "{room}");
        }
    }

    #[test]
    fn a_different_key_starts_with_empty_tables() {
        let store = Rc::new(ZoneStore::default());
        open(&policy("K"), &store).unwrap();
        let keys = store.len();
        open(&policy("L"), &store).unwrap();
        assert_eq!(store.len(), 2 * keys);
    }

    #[test]
    fn only_gateways_with_a_zone_report_its_size() {
        let mut policy = policy("K");
        policy.features = crate::policy::Features::of(crate::document::Gateway::Envoy);
        assert_eq!(policy.shared_bytes(), None);
    }
}
