//! Verification of credentials: access tokens, certificates, proofs of possession and request signatures, and the cryptography they need.
//!
//! Each accepted credential is a value that only its verifier can create. This module does not know endpoints or policies: other modules
//! decide what a credential allows.

pub(crate) mod api_key;
pub(crate) mod certificate;
pub mod crypto;
pub(crate) mod dpop;
pub(crate) mod revocation;
pub mod signature;
pub(crate) mod spiffe;
pub mod token;
