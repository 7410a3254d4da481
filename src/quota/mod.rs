//! Limits: how often an identity may send requests. They are exact across all workers of a gateway.
//!
//! This module defines limits and their arithmetic. It checks and charges the limits of a request and reports them to the client.
//! [`state`](crate::state) stores their state, and the policy selects the limits of a request.

mod batch;
mod failed;
mod fields;
mod gcra;
pub(crate) mod held;
mod identity;
mod recent;
mod varied;
mod waiting;

pub(crate) use batch::{LimitBatch, Refused};
pub(crate) use failed::{Allowed, AuthFailureLimit, Guard, Outcome, Stopped};
pub use fields::RATE_LIMIT_HEADERS;
pub(crate) use fields::{Shown, members, policy_member};
pub(crate) use gcra::{Gcra, LimitStatus};
pub(crate) use identity::{Identified, LimitKey, LimitSubject};
pub(crate) use recent::Recent;
pub(crate) use varied::{KeyValue, Numbers, NumbersIndex, Varied};
pub(crate) use waiting::WaitingPlace;
pub use waiting::WaitingRequests;

/// A limit of the policy.
#[derive(Debug)]
pub(crate) struct Limit {
    /// Its name in the policy.
    pub(crate) name: Box<str>,
    /// The key by which requests are counted.
    pub(crate) per: LimitKey,
    pub(crate) gcra: Gcra,
    /// The hash of its name, which identifies its entry among those of the same identity. `None` if the entries would be too many
    /// to be read and written together, in which case each has its own key.
    pub(crate) name_hash: Option<u64>,
    /// Its member of `RateLimit-Policy`, or `None` if clients do not see this limit.
    pub(crate) told: Option<Box<str>>,
    /// What differs between callers. `None` for most limits.
    pub(crate) varied: Option<Box<Varied>>,
}

/// The limits of one request, and their remaining quota for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitStatuses(pub(crate) Vec<LimitReport>);

/// One limit of a request, and its remaining quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitReport {
    /// The limit's position in the policy.
    pub(crate) position: u32,
    /// The numbers that apply to the caller.
    pub(crate) numbers: NumbersIndex,
    pub(crate) status: LimitStatus,
}

impl LimitStatuses {
    /// Reports whether the request has no limits or their state is unknown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
