//! Access tokens: the issuers, the required shape of their tokens, and verification.
//!
//! [`Issuers::compile`] compiles the policy's issuers, and [`Issuers::verify`] is the only source of a [`VerifiedToken`]. The mapping
//! from a token to an agent, and the agent's permissions, do not belong in this module.

mod audience;
mod cache;
mod claim;
mod delegation;
#[cfg(not(target_arch = "wasm32"))]
mod diagnose;
mod fetched;
mod fetched_keys;
mod header;
mod implied;
mod issuer;
pub mod json;
mod jwks;
mod jws;
mod keys;
mod marks;
mod shape;
mod shared_keys;
mod svid;
mod tenant;
mod times;
mod verified;
mod verify;

pub(crate) use audience::Audience;
pub use audience::Audiences;
pub use cache::{CacheUsage, TokenCache};
pub(crate) use claim::is as is_claim_value;
pub use claim::{ClaimName, ClaimNameError};
pub use delegation::{Actor, Chain};
pub(crate) use delegation::{MOST_ACTORS, MOST_IDENTIFIER};
pub(crate) use fetched::{DocumentFault, FetchedSet, key_set_url};
pub use fetched_keys::FetchedKeys;
pub(crate) use fetched_keys::{KeyChange, Replaced};
pub use implied::ImpliedScopes;
pub(crate) use issuer::is_issuer_url;
pub use issuer::{IssuerId, Issuers};
pub use jwks::{KeyProblem, MAX_FETCHED_BYTES, MAX_FETCHED_KEYS, UsableKey, read_keys, verifies_certificates};
pub(crate) use jws::Jws;
pub use jws::MAX_TOKEN_BYTES;
pub(crate) use keys::{Secret, look_up};
pub use keys::{SecretLookup, Secrets};
pub(crate) use tenant::{check_tenant, with_tenant};
pub(crate) use times::numeric_date;
pub use verified::VerifiedToken;
pub use verify::{Refusal, token_hash};

#[cfg(test)]
mod issuer_tests;
#[cfg(test)]
mod provider_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod verify_tests;
