//! What a policy keeps in the store that all workers share, opened once for each configuration.

use crate::limit::{Clock, Shared};
use crate::policy::{Policy, TablesKey};
use crate::replay::Table;
use crate::state::{Namespace, SharedStore, StoreError};

/// What a policy keeps in the shared store.
#[derive(Debug)]
pub struct PolicyState {
    namespace: Namespace,
    /// None where nothing may happen only once.
    replay: Option<Table>,
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
    /// [`StoreError`] when the host cannot do it, or something else stands in its place.
    pub fn open(
        policy: &Policy,
        store: &dyn SharedStore,
        clock: &dyn Clock,
        secret: [u8; 16],
    ) -> Result<Option<OpenedState>, StoreError> {
        if !policy.keeps_state() {
            return Ok(None);
        }
        let secret = policy.tables_key.as_ref().map_or(secret, TablesKey::names);
        let opened = Namespace::open(store, &policy.name, policy.table_entries(), secret)?;
        let (namespace, limits_other_size) = (opened.namespace, opened.other_size);
        let mut state = Self { namespace, replay: None };
        let mut replay_other_size = None;
        if let Some(replay) = &policy.replay {
            let opened = Table::open(state.shared(store, clock), replay.sharers(&policy.agents), replay.rules)?;
            (state.replay, replay_other_size) = (Some(opened.table), opened.other_size);
        }
        Ok(Some(OpenedState { state, limits_other_size, replay_other_size }))
    }

    /// The state as an evaluation uses it.
    pub fn shared<'s>(&'s self, store: &'s dyn SharedStore, clock: &'s dyn Clock) -> Shared<'s> {
        Shared { store, namespace: &self.namespace, replay: self.replay.as_ref(), clock }
    }
}
