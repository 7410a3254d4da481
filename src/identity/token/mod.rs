//! Access tokens: which issuers there are, what their tokens look like, and whether one is good now.
//!
//! [`Issuers::compile`] turns the policy's issuers into lookups, [`Issuers::verify`] is the only source of a
//! [`VerifiedToken`]. Who the token's bearer is to the policy, and what it may do, is decided elsewhere.

mod cache;
mod claim;
#[cfg(not(target_arch = "wasm32"))]
mod diagnose;
mod issuer;
pub mod json;
mod jwks;
mod jws;
mod keys;
mod shape;
mod verify;

pub use cache::{CacheUsage, TokenCache};
pub use claim::{ClaimName, ClaimNameError};
pub use issuer::{IssuerId, Issuers};
pub(crate) use jws::Jws;
pub use jws::MAX_TOKEN_BYTES;
pub(crate) use keys::{Secret, look_up};
pub use keys::{SecretLookup, Secrets};
pub(crate) use verify::numeric_date;
pub use verify::{Refusal, VerifiedToken, token_hash};

#[cfg(test)]
mod issuer_tests;
#[cfg(test)]
mod provider_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod verify_tests;
