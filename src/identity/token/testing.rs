//! Issuers and tokens for the tests of this module.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use serde_json::{Value, json};
use superboring::hash::MessageDigest;
use superboring::pkey::{PKey, Private};
use superboring::rsa::{Padding, Rsa};
use superboring::sign::Signer;

use super::{Issuers, SecretLookup, Secrets};
use crate::document::Findings;
pub(crate) use crate::testing::{NOW, RESOURCE, SECRET, not_needed, with};
use crate::text::time::Timestamp;

/// A 2048-bit modulus with the structure of CVE-2017-15361: each of its two primes is `k * M + (65537^a mod M)` for random `k` and `a`,
/// where `M` is the product of the primes up to 701.
pub(crate) const ROCA_MODULUS: &str = "0w-FJCbU6KWXI5JLVxk5e3ozlPLPDw_rKushQrXouExcrS3qUk95SMrdxpAM-piwOc0Wn46aq7TThj7RQxlUnXPranZq5ijcE3eZ\
    WKXmuxltEel0suFu6loBhTdf9DpqesEyI9Ee5nswvsLyKEyROpk65W7H7HdZKIWm3lILxS0VSy1tY0orTYgTBJP3mvmIA6pzSKeo\
    4wfMg7zG1B4rnlP2Snmi3MLzuPkoAqNrp7EJ3K0xdlbccyEVraitaF7GmrBFBHS9JwurUhdlXzZsZPW87DE5LiGJqVQyQRewh9WA\
    zYnavwDo8wCD6skyLPHd5cpSl4JzdRX_QZQNiPiU-Q";
const RSA: &str = include_str!("testdata/rsa2048.pem");

/// Keys that sign tokens. The number distinguishes keys of the same type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signs {
    P256(u8),
    P384(u8),
    Ed25519(u8),
    Rsa,
    Secret(&'static [u8]),
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa() -> Rsa<Private> {
    Rsa::<Private>::private_key_from_pem(RSA.as_bytes()).unwrap()
}

impl Signs {
    /// Returns the public key as a JWK, without `kid`, `alg` and `use`.
    pub(crate) fn jwk(self) -> Value {
        match self {
            Self::P256(n) => {
                let point = p256::ecdsa::SigningKey::from_slice(&[n; 32]).unwrap().verifying_key().to_sec1_point(false);
                json!({ "kty": "EC", "crv": "P-256", "x": b64(point.x().unwrap()), "y": b64(point.y().unwrap()) })
            }
            Self::P384(n) => {
                let point = p384::ecdsa::SigningKey::from_slice(&[n; 48]).unwrap().verifying_key().to_sec1_point(false);
                json!({ "kty": "EC", "crv": "P-384", "x": b64(point.x().unwrap()), "y": b64(point.y().unwrap()) })
            }
            Self::Ed25519(n) => {
                let key = ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key();
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(key.as_bytes()) })
            }
            Self::Rsa => json!({ "kty": "RSA", "n": b64(rsa().n().to_vec()), "e": b64(rsa().e().to_vec()) }),
            Self::Secret(_) => panic!("a secret has no public key"),
        }
    }

    /// Signs with the algorithm of the header, or with the key's usual algorithm if the header names one that does not fit.
    pub(crate) fn sign(self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(n) => {
                let signature: p256::ecdsa::Signature =
                    p256::ecdsa::SigningKey::from_slice(&[n; 32]).unwrap().sign(message);
                signature.to_bytes().to_vec()
            }
            Self::P384(n) => {
                let signature: p384::ecdsa::Signature =
                    p384::ecdsa::SigningKey::from_slice(&[n; 48]).unwrap().sign(message);
                signature.to_bytes().to_vec()
            }
            Self::Ed25519(n) => ed25519_dalek::SigningKey::from_bytes(&[n; 32]).sign(message).to_bytes().to_vec(),
            Self::Rsa => {
                let (padding, hash) = match algorithm {
                    "PS256" => (Padding::PKCS1_PSS, MessageDigest::sha256()),
                    "PS384" => (Padding::PKCS1_PSS, MessageDigest::sha384()),
                    "PS512" => (Padding::PKCS1_PSS, MessageDigest::sha512()),
                    "RS384" => (Padding::PKCS1, MessageDigest::sha384()),
                    "RS512" => (Padding::PKCS1, MessageDigest::sha512()),
                    _ => (Padding::PKCS1, MessageDigest::sha256()),
                };
                let key = PKey::from_rsa(rsa()).unwrap();
                let mut signer = Signer::new(hash, &key).unwrap();
                signer.set_rsa_padding(padding).unwrap();
                signer.update(message).unwrap();
                signer.sign_to_vec().unwrap()
            }
            Self::Secret(secret) => crate::identity::crypto::hmac_sha256(secret, message).to_vec(),
        }
    }
}

/// Signs header and claims exactly as written.
pub(crate) fn sign_text(key: Signs, header: &str, claims: &str) -> Vec<u8> {
    let signed = format!("{}.{}", b64(header), b64(claims));
    let algorithm = serde_json::from_str::<Value>(header).ok();
    let algorithm = algorithm.as_ref().and_then(|header| header["alg"].as_str()).unwrap_or_default();
    let signature = b64(key.sign(algorithm, signed.as_bytes()));
    format!("{signed}.{signature}").into_bytes()
}

pub(crate) fn sign(key: Signs, header: &Value, claims: &Value) -> Vec<u8> {
    sign_text(key, &header.to_string(), &claims.to_string())
}

/// Returns the value of the variable `SECRET` and of some invalid variables.
pub(crate) fn environment(name: &str) -> SecretLookup {
    match name {
        "SECRET" | "SAME_SECRET" => SecretLookup::Found(SECRET.to_vec()),
        "OTHER_SECRET" => SecretLookup::Found(b"another secret of thirty-two byte".to_vec()),
        "SHORT" => SecretLookup::Found(b"hunter2".to_vec()),
        "HEX" => SecretLookup::Found("0aF1".repeat(16).into_bytes()),
        "BASE64" => SecretLookup::Found(b"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=".to_vec()),
        "BASE64URL" => SecretLookup::Found(b"_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-8".to_vec()),
        _ => SecretLookup::Missing,
    }
}

pub(crate) fn compile_with(issuers: &Value, secrets: &dyn Secrets) -> (Issuers, Findings) {
    let raw: BTreeMap<_, _> = serde_json::from_value(issuers.clone()).unwrap();
    let mut findings = Findings::default();
    let issuers = Issuers::compile(&raw, RESOURCE, Duration::from_secs(60), secrets, &mut findings);
    (issuers, findings)
}

/// Compiles valid issuers.
pub(crate) fn compile(issuers: &Value) -> Issuers {
    let (issuers, findings) = compile_with(issuers, &environment);
    assert_eq!(findings.errors, []);
    issuers
}

pub(crate) fn at(offset: i64) -> Timestamp {
    Timestamp::from_secs(NOW.checked_add_signed(offset).unwrap())
}
