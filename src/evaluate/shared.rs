//! What a policy keeps in the store that all workers share, opened once for each configuration.

use crate::policy::{Policy, Store};
use crate::replay::Table;
use crate::state::{Clock, Namespace, PolicyStore, Seal, Secret, Shared, SharedStore, Slot, StoreError};

/// What a policy keeps in the shared store.
#[derive(Debug)]
pub struct PolicyState {
    namespace: Namespace,
    /// None where nothing may happen only once.
    replay: Option<Table>,
    /// None where what is read back is believed.
    seal: Option<Seal>,
}

/// The state of a policy, and whether its tables are as large as was asked.
#[derive(Debug)]
pub struct OpenedState {
    /// The state.
    pub state: PolicyState,
    /// How many entries the table of limits has, where that is not what the policy asks for: a table keeps the size it was made
    /// with until the gateway restarts.
    pub limits_other_size: Option<u32>,
    /// How many entries an agent's share of the replay table has, where that is not what the policy asks for.
    pub replay_other_size: Option<u32>,
}

impl PolicyState {
    /// Opens the state of a policy, or makes it; none for a policy that counts nothing and lets nothing happen only once.
    /// `secret` is fresh randomness, used only by the first worker that comes, and not where the policy names a key.
    ///
    /// # Errors
    /// [`StoreError`] when the host cannot do it, something else stands in its place, or there is not enough room.
    pub fn open(
        policy: &Policy,
        store: &dyn SharedStore,
        clock: &dyn Clock,
        secret: [u8; 16],
    ) -> Result<Option<OpenedState>, StoreError> {
        if !policy.keeps_state() {
            return Ok(None);
        }
        let zone = policy.features.store == Store::Zone;
        let seal = policy.tables_key.as_ref().map(|key| Seal { key: key.seals(), zone });
        let own = PolicyStore::new(store, seal.as_ref());
        let secret = policy.tables_key.as_ref().map_or(Secret::Fresh(secret), |key| Secret::Known(key.names()));
        let opened = Namespace::open(&own, &policy.name, policy.table_entries(), secret)?;
        let limits_other_size = opened.other_size;
        let namespace = opened.namespace.with_known(policy.agents());
        let mut state = Self { namespace, replay: None, seal: None };
        let mut replay_other_size = None;
        if let Some(replay) = &policy.replay {
            let shared = Shared { store: &own, namespace: &state.namespace, clock };
            let opened = Table::open(shared, replay.sharers(&policy.agents), replay.rules)?;
            (state.replay, replay_other_size) = (Some(opened.table), opened.other_size);
        }
        if zone {
            state.namespace.slots().try_for_each(|place| Slot::make(&own, &place))?;
            // What is too small gave up what was written first.
            if !Namespace::stands(&own, &policy.name)? {
                return Err(StoreError);
            }
        }
        state.seal = seal;
        Ok(Some(OpenedState { state, limits_other_size, replay_other_size }))
    }

    /// The store as the policy sees it.
    #[must_use]
    pub fn store<'s>(&'s self, store: &'s dyn SharedStore) -> PolicyStore<'s> {
        PolicyStore::new(store, self.seal.as_ref())
    }

    /// The state as an evaluation uses it.
    pub fn shared<'s>(&'s self, store: &'s PolicyStore<'s>, clock: &'s dyn Clock) -> Shared<'s> {
        Shared { store, namespace: &self.namespace, clock }
    }

    /// What is accepted once; none where the policy has no such thing.
    #[must_use]
    pub fn replay(&self) -> Option<&Table> {
        self.replay.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::token::{SecretLookup, Secrets};
    use crate::state::simulation::ZoneStore;
    use crate::text::time::Timestamp;

    /// Every secret is its own name, often enough.
    struct Names;

    impl Secrets for Names {
        fn resolve(&self, name: &str) -> SecretLookup {
            SecretLookup::Found(name.repeat(32).into_bytes())
        }
    }

    fn policy(key: &str) -> Policy {
        let document = json!({
            "callgate": "v1", "name": "zone", "mode": "enforce", "gateway": "kong",
            "resource": "https://api.example.com", "hosts": ["api.example.com"], "issuers": {},
            "agents": { "a": { "owner": "o", "signing_keys": [{ "secret": { "env": "S" }, "keyid": "k" }] } },
            "limits": { "calls": { "per": ["agent", "endpoint"], "rate": "60/1m", "burst": 10 } },
            "tables": { "limits": 64, "replay": 640, "key": { "env": key } },
            "late_body_check": "accept",
            "endpoints": [{ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none",
                            "authenticate": "signature", "limits": ["calls"] }],
            "upstream": { "authorization": "remove" },
            "audit": { "log": { "allow": false, "deny": false } }
        });
        Policy::from_value(document, &Names).unwrap_or_else(|findings| panic!("{findings:?}")).policy
    }

    fn open(policy: &Policy, store: &dyn SharedStore) -> Result<PolicyState, StoreError> {
        let opened = PolicyState::open(policy, store, &Timestamp::from_secs(1_000), [0; 16])?;
        Ok(opened.unwrap().state)
    }

    #[test]
    fn a_zone_of_the_size_that_is_told_holds_everything_from_the_beginning() {
        let policy = policy("K");
        let bytes = usize::try_from(policy.shared_bytes().unwrap()).unwrap();
        let store = ZoneStore::with_room(bytes);
        open(&policy, &store).unwrap();
        // The namespace and its slots, the table's header and its own.
        assert_eq!(store.len(), 1 + 64 / 8 + 1 + 640 / 64);
        assert!(store.bytes() < bytes, "{} of {bytes}", store.bytes());
        open(&policy, &store).unwrap();
        assert_eq!(store.len(), 1 + 64 / 8 + 1 + 640 / 64, "every worker uses what the first one made");
    }

    #[test]
    fn a_zone_that_is_too_small_is_found_out_when_it_is_opened() {
        let policy = policy("K");
        let store = ZoneStore::default();
        open(&policy, &store).unwrap();
        let needed = store.bytes();
        assert!(open(&policy, &ZoneStore::with_room(needed)).is_ok());
        for room in [needed - 1, needed / 2, 2_000] {
            assert_eq!(open(&policy, &ZoneStore::with_room(room)).err(), Some(StoreError), "{room}");
        }
    }

    #[test]
    fn another_key_is_another_beginning() {
        let store = ZoneStore::default();
        open(&policy("K"), &store).unwrap();
        let keys = store.len();
        open(&policy("L"), &store).unwrap();
        assert_eq!(store.len(), 2 * keys);
    }

    #[test]
    fn only_a_zone_has_a_size() {
        let mut policy = policy("K");
        policy.features = crate::document::Gateway::Envoy.features();
        assert_eq!(policy.shared_bytes(), None);
    }
}
