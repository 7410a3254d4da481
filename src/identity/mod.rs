//! Who sends a request, and what proves it: access tokens, proofs of possession and request signatures, and the cryptography under them.
//!
//! Every credential that is accepted becomes a value that only its verifier makes. Nothing in here knows an endpoint or a policy: what a
//! credential allows is decided above.

pub mod crypto;
pub(crate) mod dpop;
pub mod signature;
pub mod token;
