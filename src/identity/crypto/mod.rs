//! Public keys, signature algorithms, and the one question asked of them: does this signature verify?
//!
//! The answer comes through [`VerifySignature`]. A host that verifies faster than a module takes over what it can, by
//! [`HostVerifier`].
//! What a signature is *for* (tokens, requests) and which key to ask stay outside.

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
pub use jwk::{JwkError, PublicJwk};
pub use key::{KeyError, KeyIdentity, VerifyingKey};
pub use pem::PemError;
pub use signer::Signer;
pub use software::SoftwareVerifier;
pub use tables::TableVerifier;
pub use thumbprint::Thumbprint;

/// Whoever can verify signatures.
///
/// Implementations must refuse whatever they cannot verify: an algorithm that does not fit the key, a host that does not
/// answer, a signature in another encoding.
pub trait VerifySignature {
    /// Verifies `signature` over `message`.
    ///
    /// The signature is in JOSE form (RFC 7518, sections 3.2 to 3.5; RFC 8037, section 3.1): ECDSA as `r || s` of exact
    /// length, RSA as long as the modulus, PSS with a salt as long as the hash, HMAC as the whole tag.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] when it does not verify, for whatever reason.
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature>;

    /// Whether a credential is worth more work, before anything is done for it that costs much: it says that it was made by these
    /// signers, the most particular first. Whoever limits nobody admits everybody.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] when nothing is to be computed for it.
    fn admit(&self, _signers: &[Signer<'_>]) -> Result<(), BadSignature> {
        Ok(())
    }

    /// Notes a credential by an unknown key: it counts as a failure, like a bad signature.
    fn unknown_key(&self) {}
}

/// A signature that does not verify. It does not say why: nobody who sends one needs to know.
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
