//! ECDSA and RSA signatures, verified by AWS-LC instead of the engine's portable code.
//!
//! The verdicts are always those of `SoftwareVerifier`. The verifier behind this one handles everything that AWS-LC is not used for.
//! Limits on credentials and the choice of keys do not belong in this module.

use std::cell::RefCell;
use std::collections::HashMap;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use callgate::identity::crypto::{Algorithm, BadSignature, Signer, TableVerifier, VerifySignature, VerifyingKey};

/// The number of parsed RSA keys in each of the two generations. A parsed key takes 2 to 4 KB, so a verifier keeps 1 MB at most.
const KEYS_PER_GENERATION: usize = 128;

/// Verifies ECDSA and RSA with AWS-LC, and everything else with another verifier.
pub struct NativeVerifier<V = TableVerifier> {
    behind: V,
    keys: RefCell<RecentKeys>,
}

impl<V: VerifySignature> NativeVerifier<V> {
    /// Returns a verifier that handles with `behind` what AWS-LC is not used for.
    pub fn new(behind: V) -> Self {
        Self { behind, keys: RefCell::default() }
    }
}

impl<V: VerifySignature> VerifySignature for NativeVerifier<V> {
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let (Some(library), Some(spki)) = (library_algorithm(algorithm), key.spki_der()) else {
            return self.behind.verify(key, algorithm, message, signature);
        };
        let keys = if is_kept(algorithm) { Some(&self.keys) } else { None };
        // A borrow cannot fail, because verification calls nothing outside the library. If it did, the key would be parsed again.
        let kept = keys.and_then(|keys| keys.try_borrow_mut().ok());
        if let Some(verdict) = kept.and_then(|mut keys| keys.verify(spki, algorithm, message, signature)) {
            return verdict;
        }
        let parsed = if is_verified_alike(key, algorithm) { ParsedPublicKey::new(library, spki).ok() } else { None };
        let Some(parsed) = parsed else {
            return self.behind.verify(key, algorithm, message, signature);
        };
        verify(&parsed, message, signature)?;
        // The keys of bad signatures are not kept. Otherwise a sender without a private key could evict the keys of others.
        if let Some(mut keys) = keys.and_then(|keys| keys.try_borrow_mut().ok()) {
            keys.keep(spki.into(), Kept { algorithm, parsed });
        }
        Ok(())
    }

    fn admit(&self, signers: &[Signer<'_>]) -> Result<(), BadSignature> {
        self.behind.admit(signers)
    }

    fn unknown_key(&self) {
        self.behind.unknown_key();
    }

    fn known_key(&self) -> Result<(), BadSignature> {
        self.behind.known_key()
    }
}

/// Returns the library's name for an algorithm, or `None` if the library is not used for it: it verifies Ed25519 less strictly than the
/// engine, and the engine's HMAC keys are prepared in advance.
fn library_algorithm(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ed25519 | Algorithm::Hs256 => return None,
    })
}

/// Returns whether parsed keys are kept for an algorithm. Parsing an RSA key and preparing its modulus takes 13% to 18% of a verification;
/// parsing an ECDSA key takes at most 3%, so ECDSA keys are parsed for each signature.
fn is_kept(algorithm: Algorithm) -> bool {
    !matches!(algorithm, Algorithm::Es256 | Algorithm::Es384)
}

/// Returns whether the library and the engine reach the same verdict with this key. They differ for PSS if the modulus has one bit more
/// than whole bytes: the encoded message is then one byte shorter than the modulus, and only the library requires that byte to be zero.
fn is_verified_alike(key: &VerifyingKey, algorithm: Algorithm) -> bool {
    let is_pss = matches!(algorithm, Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512);
    key.fits(algorithm) && !(is_pss && key.rsa_bits().is_some_and(|bits| bits % 8 == 1))
}

fn verify(key: &ParsedPublicKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    key.verify_sig(message, signature).map_err(|_| BadSignature)
}

/// A key in the library's form, for the algorithm that it was last used with. Few keys are used with two.
struct Kept {
    algorithm: Algorithm,
    parsed: ParsedPublicKey,
}

/// The RSA keys that were used recently, by their `SubjectPublicKeyInfo`.
///
/// Clients choose the keys of DPoP proofs, so the number of keys is bounded. A use moves a key to the younger generation. When that is
/// full, it becomes the older one, and the keys that were not used since the last time are dropped.
#[derive(Default)]
struct RecentKeys {
    young: HashMap<Box<[u8]>, Kept>,
    old: HashMap<Box<[u8]>, Kept>,
}

impl RecentKeys {
    /// Verifies a signature if the key was kept for this algorithm.
    fn verify(
        &mut self,
        spki: &[u8],
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<Result<(), BadSignature>> {
        if let Some(kept) = self.young.get(spki) {
            return kept.verify(algorithm, message, signature);
        }
        let (spki, kept) = self.old.remove_entry(spki)?;
        let verdict = kept.verify(algorithm, message, signature);
        self.keep(spki, kept);
        verdict
    }

    fn keep(&mut self, spki: Box<[u8]>, kept: Kept) {
        if self.young.len() >= KEYS_PER_GENERATION && !self.young.contains_key(&spki) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(spki, kept);
    }
}

impl Kept {
    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Option<Result<(), BadSignature>> {
        (self.algorithm == algorithm).then(|| verify(&self.parsed, message, signature))
    }
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "verifier_vectors_tests.rs"]
mod vectors_tests;
