//! Limits: how often an identity may call, exactly, over all workers of a gateway.
//!
//! What a limit is lives in here, with its arithmetic, and how the limits of one call are looked at, charged and told to the
//! client. Where the state lies is the business of [`state`](crate::state); which limits a call has is the policy's.

mod batch;
mod failed;
mod fields;
mod gcra;
pub(crate) mod held;
mod identity;
mod recent;

pub(crate) use batch::{LimitBatch, Refused};
pub(crate) use failed::{Allowed, FailedCredentials, Guard, Outcome, Stopped};
pub use fields::RATE_LIMIT_HEADERS;
pub(crate) use fields::{Shown, members, policy_member};
pub(crate) use gcra::{Gcra, LimitStatus};
pub(crate) use identity::{Identified, LimitKey, LimitSubject};
pub(crate) use recent::Recent;

/// A limit of the policy.
#[derive(Debug)]
pub(crate) struct Limit {
    /// Its name in the policy.
    pub(crate) name: Box<str>,
    /// Whose calls are counted together.
    pub(crate) per: LimitKey,
    pub(crate) gcra: Gcra,
    /// The hash of its name, which tells its entry among those of the same identity; none where they would be too many to be
    /// read and written together, so that each has a key of its own.
    pub(crate) name_hash: Option<u64>,
    /// Its member of `RateLimit-Policy`; none where clients are not told.
    pub(crate) told: Option<Box<str>>,
}

/// The limits of one call, by their positions in the policy, and what they had left for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitStatuses(pub(crate) Vec<(u32, LimitStatus)>);

impl LimitStatuses {
    /// Whether the call has no limits, or nothing is known of them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
