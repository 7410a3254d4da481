//! Keys that verify signatures. Every constructor validates its input, and no key prints a secret.

use std::fmt;

use ed25519_dalek::pkcs8::EncodePublicKey as _;
use hmac::{Hmac, KeyInit as _};
use jwt_simple::algorithms::{
    ECDSAP256PublicKeyLike, ECDSAP384PublicKeyLike, ES256PublicKey, ES384PublicKey, RS256PublicKey, RSAPublicKeyLike,
};
use sha2::Sha256;
use superboring::pkey::{PKey, Public};

use super::{Algorithm, roca, sha256};

/// The minimum length of an HMAC secret: the length of the hash (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// A key that verifies signatures.
#[derive(Clone)]
pub struct VerifyingKey {
    pub(super) material: Material,
    /// The DER of a public key, encoded once, or the hash of a secret.
    public: Box<[u8]>,
}

#[derive(Clone)]
pub(super) enum Material {
    P256(ES256PublicKey),
    P384(ES384PublicKey),
    Rsa(PKey<Public>),
    Ed25519(ed25519_dalek::VerifyingKey),
    /// Initialized with the key in advance, which saves two blocks per signature. The secret itself is not kept.
    Hmac(Box<Hmac<Sha256>>),
}

/// Identifies a key regardless of its name: equal keys have equal identities. Its `Debug` output does not contain it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyIdentity(Box<[u8]>);

impl fmt::Debug for KeyIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyIdentity(..)")
    }
}

/// The reason why a key is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The coordinates are not a point on the curve, or are one of the few points that let anyone forge signatures.
    Point,
    /// The modulus has fewer than 2048 bits.
    RsaShort,
    /// The modulus has more than 4096 bits. The cost per request outweighs the benefit.
    RsaLong,
    /// The exponent is not 65537, or the modulus is even.
    RsaValues,
    /// The modulus has the fingerprint of CVE-2017-15361 (ROCA), so it can be factored.
    RsaRoca,
    /// The secret has fewer than 32 bytes.
    SecretShort,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Point => "the coordinates are not a valid public key of this curve; copy the key from its owner again",
            Self::RsaShort => "an RSA key under 2048 bits is too weak; use a key of 2048 to 4096 bits",
            Self::RsaLong => "an RSA key over 4096 bits makes verification too slow; use a key of 2048 to 4096 bits",
            Self::RsaValues => "`n` and `e` are not a valid RSA key; use a key with the exponent 65537 (`AQAB`)",
            Self::RsaRoca => {
                "this RSA key has the fingerprint of CVE-2017-15361 (ROCA), so its private key can be computed from it; \
                 replace it with a key from another generator"
            }
            Self::SecretShort => "the secret has fewer than 32 bytes after decoding; use a longer random secret",
        })
    }
}

impl std::error::Error for KeyError {}

impl VerifyingKey {
    /// Creates a P-256 key from its affine coordinates, big-endian.
    ///
    /// # Errors
    ///
    /// [`KeyError::Point`] if they are not a point on the curve.
    pub fn p256(x: &[u8; 32], y: &[u8; 32]) -> Result<Self, KeyError> {
        let read = || {
            let key = ES256PublicKey::from_bytes(&uncompressed(x, y)).ok()?;
            let public = key.public_key().to_der().ok()?.into();
            Some(Self { material: Material::P256(key), public })
        };
        read().ok_or(KeyError::Point)
    }

    /// Creates a P-384 key from its affine coordinates, big-endian.
    ///
    /// # Errors
    ///
    /// [`KeyError::Point`] if they are not a point on the curve.
    pub fn p384(x: &[u8; 48], y: &[u8; 48]) -> Result<Self, KeyError> {
        let read = || {
            let key = ES384PublicKey::from_bytes(&uncompressed(x, y)).ok()?;
            let public = key.public_key().to_der().ok()?.into();
            Some(Self { material: Material::P384(key), public })
        };
        read().ok_or(KeyError::Point)
    }

    /// Creates an RSA key from its modulus and exponent, big-endian.
    ///
    /// # Errors
    ///
    /// [`KeyError::RsaShort`], [`KeyError::RsaLong`], [`KeyError::RsaRoca`], [`KeyError::RsaValues`].
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        match bit_length(n) {
            ..2048 => return Err(KeyError::RsaShort),
            2048..=4096 => {}
            _ => return Err(KeyError::RsaLong),
        }
        if roca::has_fingerprint(n) {
            return Err(KeyError::RsaRoca);
        }
        let read = || {
            let key = RS256PublicKey::from_components(n, e).ok()?;
            let public = key.to_der().ok()?.into();
            let key = PKey::from_rsa(key.public_key().as_ref().clone()).ok()?;
            Some(Self { material: Material::Rsa(key), public })
        };
        read().ok_or(KeyError::RsaValues)
    }

    /// Creates an Ed25519 key from its encoding (RFC 8032, section 5.1.2).
    ///
    /// # Errors
    ///
    /// [`KeyError::Point`] if the input is not a point, is a point of small order, or is not the canonical encoding of its point.
    pub fn ed25519(x: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(x).map_err(|_| KeyError::Point)?;
        // `from_bytes` reduces `y` modulo p and keeps the original bytes, so it accepts non-canonical encodings.
        if key.is_weak() || key.to_edwards().compress().as_bytes() != x {
            return Err(KeyError::Point);
        }
        let public = key.to_public_key_der().map_err(|_| KeyError::Point)?.as_bytes().into();
        Ok(Self { material: Material::Ed25519(key), public })
    }

    /// Creates a key from an HMAC secret.
    ///
    /// # Errors
    ///
    /// [`KeyError::SecretShort`] if it has fewer than 32 bytes.
    pub fn hmac(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyError::SecretShort);
        }
        let keyed = Hmac::new_from_slice(secret).map_err(|_| KeyError::SecretShort)?;
        Ok(Self { material: Material::Hmac(Box::new(keyed)), public: Box::new(sha256(secret)) })
    }

    /// Returns whether the algorithm works with keys of this type.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{Ed25519, Es256, Es384, Hs256, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self.material {
            Material::P256(_) => algorithm == Es256,
            Material::P384(_) => algorithm == Es384,
            Material::Rsa(_) => matches!(algorithm, Ps256 | Ps384 | Ps512 | Rs256 | Rs384 | Rs512),
            Material::Ed25519(_) => algorithm == Ed25519,
            Material::Hmac(_) => algorithm == Hs256,
        }
    }

    /// Returns the key as DER-encoded `SubjectPublicKeyInfo` (RFC 5280, section 4.1), the form in which hosts accept keys, or `None` for
    /// a secret.
    #[must_use]
    pub fn spki_der(&self) -> Option<&[u8]> {
        match self.material {
            Material::P256(_) | Material::P384(_) | Material::Rsa(_) | Material::Ed25519(_) => Some(&self.public),
            Material::Hmac(_) => None,
        }
    }

    /// Returns the number of bits in the modulus of an RSA key, or `None` for other keys.
    #[must_use]
    pub fn rsa_bits(&self) -> Option<u32> {
        match &self.material {
            Material::Rsa(PKey::Rsa(key)) => Some(key.bits()),
            Material::Rsa(_) | Material::P256(_) | Material::P384(_) | Material::Ed25519(_) | Material::Hmac(_) => None,
        }
    }

    /// Returns whether both are the same key, even if their names differ.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.public == other.public
    }

    /// Returns the identity of the key, which does not depend on its name.
    #[must_use]
    pub fn identity(&self) -> KeyIdentity {
        KeyIdentity(self.public.clone())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.material {
            Material::P256(_) => "VerifyingKey(P-256)",
            Material::P384(_) => "VerifyingKey(P-384)",
            Material::Rsa(_) => "VerifyingKey(RSA)",
            Material::Ed25519(_) => "VerifyingKey(Ed25519)",
            Material::Hmac(_) => "VerifyingKey(HMAC)",
        })
    }
}

/// Encodes a point uncompressed, as in SEC 1, section 2.3.3.
fn uncompressed(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

fn bit_length(number: &[u8]) -> usize {
    let mut rest = number;
    while let [0, tail @ ..] = rest {
        rest = tail;
    }
    match rest {
        [] => 0,
        [top, tail @ ..] => tail.len() * 8 + (8 - top.leading_zeros() as usize),
    }
}
