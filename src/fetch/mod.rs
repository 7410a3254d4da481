//! Documents that the gate fetches, such as the key sets of issuers. All workers of a gateway share what one of them fetches.
//!
//! - A [`Source`] states what is fetched, and how often.
//! - Its [`Ledger`] in the shared store states which version is published, who is fetching, when the next fetch may start, and how
//!   many fetches requests may still cause.
//! - A [`Validator`] makes the next request for a published document a conditional one.
//! - A [`Fetcher`] is one worker's view of both: it reads what others published, claims a fetch when one is due, and publishes its
//!   result.
//!
//! A worker claims one fetch at a time, for a limited time. If it does not finish, because its VM was replaced or trapped, the
//! claim expires and any other worker takes over. There is no permanent leader, so nothing has to be written while no fetch is
//! due.
//!
//! This module sends nothing and does not interpret documents: `evaluate` passes the results in, and `host` makes the calls.

mod bucket;
mod fetcher;
mod ledger;
mod published;
mod source;
mod url;
mod validator;

pub(crate) use fetcher::{Attempt, Availability, Condition, Fetcher, Wanted};
pub(crate) use source::{Authorization, Source, Target};
pub(crate) use url::{Url, is_address};
pub(crate) use validator::{EntityTag, Validator};

#[cfg(test)]
mod tests;
