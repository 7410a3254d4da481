//! Public keys, signature algorithms and signature verification.
//!
//! [`VerifySignature`] is the interface. [`HostVerifier`] delegates to a host that verifies faster than a module. The purpose of a
//! signature (tokens, requests) and the choice of the key do not belong in this module.

mod algorithm;
mod hash;
mod hosted;
mod jwk;
mod key;
mod pem;
mod roca;
mod signer;
mod software;
mod tables;
mod thumbprint;

pub use algorithm::Algorithm;
pub(crate) use hash::{first, hmac_sha256, sha256};
pub(crate) use hosted::hash as host_hash;
pub use hosted::{HostVerifier, HostVerify};
pub use jwk::{JwkError, KeyUse, PublicJwk, private_member};
pub use key::{KeyError, KeyIdentity, VerifyingKey};
pub use pem::PemError;
pub use signer::Signer;
pub use software::SoftwareVerifier;
pub use tables::TableVerifier;
pub use thumbprint::Thumbprint;

/// A verifier of signatures.
///
/// Implementations must reject everything that they cannot verify: an algorithm that does not fit the key, a host that does not answer, a
/// signature in another encoding.
pub trait VerifySignature {
    /// Verifies `signature` over `message`.
    ///
    /// The signature is in JOSE form (RFC 7518, sections 3.2 to 3.5; RFC 8037, section 3.1): ECDSA as `r || s` of exact
    /// length, RSA as long as the modulus, PSS with a salt as long as the hash, HMAC as the whole tag.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] if it does not verify, for any reason.
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature>;

    /// Decides whether a credential may cause expensive work, before that work starts. `signers` are the signers that the credential
    /// claims, the most specific first. The default implementation limits nobody and admits every credential.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] if no signature must be verified for this credential.
    fn admit(&self, _signers: &[Signer<'_>]) -> Result<(), BadSignature> {
        Ok(())
    }

    /// Records a credential with an unknown key. It counts as a failure, like a bad signature.
    fn unknown_key(&self) {}

    /// Records a valid credential that has no signature, like a valid signature.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] if it cannot be recorded. The credential must then be rejected.
    fn known_key(&self) -> Result<(), BadSignature> {
        Ok(())
    }
}

/// A signature does not verify. The error has no detail, because the sender does not need one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadSignature;

impl std::fmt::Display for BadSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the signature does not verify")
    }
}

impl std::error::Error for BadSignature {}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof_tests;
