//! Verification of credentials: access tokens, proofs of possession and request signatures, and the cryptography they need.
//!
//! Each accepted credential is a value that only its verifier can create. This module does not know endpoints or policies: other modules
//! decide what a credential allows.

pub(crate) mod api_key;
pub mod crypto;
pub(crate) mod dpop;
pub(crate) mod revocation;
pub mod signature;
pub mod token;
