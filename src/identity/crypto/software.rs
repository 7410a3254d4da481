//! Signature verification without help from the host.

use ed25519_dalek::Signature as Ed25519Signature;
use hmac::{Hmac, Mac as _};
use jwt_simple::algorithms::{ECDSAP256PublicKeyLike, ECDSAP384PublicKeyLike};
use p256::ecdsa::signature::Verifier as _;
use superboring::hash::MessageDigest;
use superboring::pkey::{PKey, Public};
use superboring::rsa::Padding;
use superboring::sign::Verifier;

use super::key::Material;
use super::{Algorithm, BadSignature, VerifySignature, VerifyingKey};

/// Verifies all signatures in software, with the same result on every host.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoftwareVerifier;

impl VerifySignature for SoftwareVerifier {
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        use Algorithm::{Ed25519, Es256, Es384, Hs256, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        let (pkcs1, pss) = (Padding::PKCS1, Padding::PKCS1_PSS);
        let verifies = match (&key.material, algorithm) {
            (Material::P256(key), Es256) => {
                let key: &p256::ecdsa::VerifyingKey = key.public_key().as_ref();
                // A high `s` is accepted: JOSE does not forbid it, and nothing here is identified by the bytes of its signature.
                p256::ecdsa::Signature::from_slice(signature).is_ok_and(|s| key.verify(message, &s).is_ok())
            }
            (Material::P384(key), Es384) => {
                let key: &p384::ecdsa::VerifyingKey = key.public_key().as_ref();
                p384::ecdsa::Signature::from_slice(signature).is_ok_and(|s| key.verify(message, &s).is_ok())
            }
            // Strict verification rejects a weak or differently encoded `R`. Otherwise one signature could verify for several messages,
            // or other verifiers could disagree.
            (Material::Ed25519(key), Ed25519) => {
                Ed25519Signature::from_slice(signature).is_ok_and(|s| key.verify_strict(message, &s).is_ok())
            }
            (Material::Hmac(keyed), Hs256) => Hmac::clone(keyed).chain_update(message).verify_slice(signature).is_ok(),
            (Material::Rsa(key), Rs256) => rsa(key, pkcs1, MessageDigest::sha256(), message, signature),
            (Material::Rsa(key), Rs384) => rsa(key, pkcs1, MessageDigest::sha384(), message, signature),
            (Material::Rsa(key), Rs512) => rsa(key, pkcs1, MessageDigest::sha512(), message, signature),
            (Material::Rsa(key), Ps256) => rsa(key, pss, MessageDigest::sha256(), message, signature),
            (Material::Rsa(key), Ps384) => rsa(key, pss, MessageDigest::sha384(), message, signature),
            (Material::Rsa(key), Ps512) => rsa(key, pss, MessageDigest::sha512(), message, signature),
            (
                Material::P256(_) | Material::P384(_) | Material::Rsa(_) | Material::Ed25519(_) | Material::Hmac(_),
                _,
            ) => false,
        };
        if verifies { Ok(()) } else { Err(BadSignature) }
    }
}

/// Verifies RSA with either padding. The salt of PSS has the length of the hash by default.
fn rsa(key: &PKey<Public>, padding: Padding, hash: MessageDigest, message: &[u8], signature: &[u8]) -> bool {
    let verify = || {
        let mut verifier = Verifier::new(hash, key)?;
        verifier.set_rsa_padding(padding)?;
        verifier.verify_oneshot(signature, message)
    };
    verify().is_ok_and(|verifies: bool| verifies)
}
