//! Limits: how often an identity may call, exactly, over all workers of a gateway.
//!
//! What a limit is lives in here, with its arithmetic, and how the limits of one call are looked at, charged and told to the
//! client. Where the state lies is the business of [`state`](crate::state); which limits a call has is the policy's.

mod failed;
mod fields;
mod gcra;
mod identity;
mod ledger;
mod recent;

pub(crate) use failed::{Allowed, FailedCredentials, Guard, Outcome, Stopped};
pub use fields::RATE_LIMIT_HEADERS;
pub(crate) use fields::{Shown, members, policy_member};
pub(crate) use gcra::{Gcra, Standing};
pub(crate) use identity::{Per, Who};
pub(crate) use ledger::{Ledger, Refused};
pub use recent::Recent;

use crate::replay::Table;
use crate::state::{Namespace, SharedStore, StoreError};
use crate::time::Timestamp;

/// A limit of the policy.
#[derive(Debug)]
pub(crate) struct Limit {
    /// Its name in the policy.
    pub(crate) name: Box<str>,
    /// Whose calls are counted together.
    pub(crate) per: Per,
    pub(crate) gcra: Gcra,
    /// The hash of its name, which tells its entry among those of the same identity; none where they would be too many to be
    /// read and written together, so that each has a key of its own.
    pub(crate) name_hash: Option<u64>,
    /// Its member of `RateLimit-Policy`; none where clients are not told.
    pub(crate) told: Option<Box<str>>,
}

/// The clock of the host, for what must know the moment better than the call's own.
pub trait Clock {
    /// The moment.
    ///
    /// # Errors
    /// [`StoreError`] when the host cannot say.
    fn now(&self) -> Result<Timestamp, StoreError>;
}

/// A moment is a clock that stands still.
impl Clock for Timestamp {
    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(*self)
    }
}

/// What the workers of a gateway share, as an evaluation uses it.
#[derive(Clone, Copy)]
pub struct Shared<'s> {
    /// The map.
    pub store: &'s dyn SharedStore,
    /// The part of it that belongs to the policy.
    pub namespace: &'s Namespace,
    /// What may happen only once, where the policy has any such thing.
    pub replay: Option<&'s Table>,
    /// The clock.
    pub clock: &'s dyn Clock,
}

/// The limits of one call, by their positions in the policy, and what they had left for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings(pub(crate) Vec<(u32, Standing)>);

impl Standings {
    /// Whether the call has no limits, or nothing is known of them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How the shared store was used for one call, for the gateway's metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Entries of other identities that were given up for want of room.
    pub evicted: u32,
    /// Changes that had to be tried again because another worker came in between.
    pub retried: u32,
    /// By how many entries more the replay table holds.
    pub replay_entries: i32,
}

impl Use {
    /// Both uses together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            evicted: self.evicted.saturating_add(other.evicted),
            retried: self.retried.saturating_add(other.retried),
            replay_entries: self.replay_entries.saturating_add(other.replay_entries),
        }
    }
}

#[cfg(test)]
mod tests;
