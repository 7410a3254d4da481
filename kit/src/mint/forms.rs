//! Keys in forms other than JWKs: PEM (PKCS#8) as OpenSSL writes it, and bare secrets.

use std::borrow::Cow;

use p256::pkcs8::DecodePrivateKey as _;
use rsa::RsaPrivateKey;
use rsa::traits::PublicKeyParts as _;

use super::{Algorithm, KeyError, Material, RSA_BITS, SigningKey};

/// The shortest secret that is accepted for HMAC with SHA-256, in bytes. A policy has the same minimum.
const SHORTEST_SECRET: usize = 32;

impl SigningKey {
    /// Reads a private key from PEM (PKCS#8). The key determines its algorithm, except that an RSA key has two and the caller must
    /// name one.
    ///
    /// # Errors
    /// Fails if the PEM is no such key, or if the key cannot use the algorithm.
    pub fn from_pem(pem: &str, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        for (title, why) in [
            ("ENCRYPTED PRIVATE KEY", "the key is encrypted; decrypt it with `openssl pkey -in KEY -out PLAIN`"),
            (
                "EC PRIVATE KEY",
                "the key is in SEC 1 format; convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW`",
            ),
            (
                "RSA PRIVATE KEY",
                "the key is in PKCS#1 format; convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW`",
            ),
            ("PUBLIC KEY", "this is a public key, which cannot sign; give its private key"),
            ("CERTIFICATE", "this is a certificate, which cannot sign; give its private key"),
        ] {
            if pem.contains(&format!("-----BEGIN {title}-----")) {
                return Err(KeyError(why.to_owned()));
            }
        }
        // Line breaks of other systems are no error in the key.
        let pem: Cow<'_, str> = if pem.contains('\r') { pem.replace("\r\n", "\n").into() } else { pem.into() };
        let (material, fitting): (_, &[Algorithm]) = if let Ok(key) = ed25519_compact::KeyPair::from_pem(&pem) {
            (Material::Ed25519(Box::new(key)), &[Algorithm::Ed25519])
        } else if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(&pem) {
            (Material::P256(key), &[Algorithm::Es256])
        } else if let Ok(key) = p384::ecdsa::SigningKey::from_pkcs8_pem(&pem) {
            (Material::P384(key), &[Algorithm::Es384])
        } else if let Ok(key) = <RsaPrivateKey as rsa::pkcs8::DecodePrivateKey>::from_pkcs8_pem(&pem) {
            if key.n().bits() < RSA_BITS {
                return Err(KeyError(format!("the key has {} bits; use one of {RSA_BITS} or more", key.n().bits())));
            }
            (Material::Rsa(Box::new(key)), &[Algorithm::Ps512, Algorithm::Rs256])
        } else {
            return Err(KeyError(
                "not a private key of a known type (Ed25519, P-256, P-384 or RSA) in PKCS#8; convert it with `openssl pkcs8 \
                 -topk8 -nocrypt -in KEY -out NEW`"
                    .to_owned(),
            ));
        };
        let algorithm = fit(algorithm, fitting)?;
        Ok(Self { algorithm, name: algorithm.jose_name(), kid: None, material })
    }

    /// Reads a secret for HMAC with SHA-256.
    ///
    /// # Errors
    /// Fails if the secret is too short, or if the caller asked for another algorithm.
    pub fn from_secret(secret: &[u8], algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        let algorithm = fit(algorithm, &[Algorithm::Hs256])?;
        if secret.len() < SHORTEST_SECRET {
            return Err(KeyError(format!(
                "the secret has {} bytes; use {SHORTEST_SECRET} or more, such as from `callgate keygen hmac`",
                secret.len()
            )));
        }
        Ok(Self { algorithm, name: algorithm.jose_name(), kid: None, material: Material::Secret(secret.to_vec()) })
    }
}

/// Returns the requested algorithm if it is one of `fitting`. Without a request, returns the only one of `fitting`.
fn fit(asked: Option<Algorithm>, fitting: &[Algorithm]) -> Result<Algorithm, KeyError> {
    let names = || {
        fitting.iter().filter_map(|own| own.http_name()).map(|own| format!("`{own}`")).collect::<Vec<_>>().join(" or ")
    };
    match (asked, fitting) {
        (Some(asked), _) if fitting.contains(&asked) => Ok(asked),
        (None, [only]) => Ok(*only),
        (Some(asked), _) => Err(KeyError(format!(
            "`{}` cannot be used with this key; write {}",
            asked.http_name().unwrap_or(asked.jose_name()),
            names()
        ))),
        (None, _) => Err(KeyError(format!("this key has several algorithms; choose one of {}", names()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "-----BEGIN PRIVATE \
                           KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE \
                           KEY-----\n";

    #[test]
    fn reads_a_pem_key_written_by_openssl() {
        // RFC 8410, section 10.3.
        let key = SigningKey::from_pem(ED25519, None).unwrap();
        assert_eq!(key.public_jwk()["x"], "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
        assert_eq!(SigningKey::from_pem(&ED25519.replace('\n', "\r\n"), None).unwrap().public_jwk(), key.public_jwk());
    }

    #[test]
    fn explains_why_a_key_cannot_sign() {
        for (pem, why) in [
            ("-----BEGIN EC PRIVATE KEY-----\n", "SEC 1 format; convert it with `openssl pkcs8"),
            ("-----BEGIN RSA PRIVATE KEY-----\n", "PKCS#1 format"),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "decrypt it with"),
            ("-----BEGIN PUBLIC KEY-----\n", "give its private key"),
            ("-----BEGIN CERTIFICATE-----\n", "give its private key"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key of a known type"),
        ] {
            let error = SigningKey::from_pem(pem, None).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let error = SigningKey::from_pem(ED25519, Some(Algorithm::Es256)).unwrap_err().to_string();
        assert_eq!(error, "`ecdsa-p256-sha256` cannot be used with this key; write `ed25519`");
        let error = SigningKey::from_secret(b"short", None).unwrap_err().to_string();
        assert!(error.starts_with("the secret has 5 bytes"), "{error}");
    }
}
