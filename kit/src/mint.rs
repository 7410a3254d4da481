//! Mints tokens for tests: `callgate token`, the corpus, the demo and the end-to-end tests sign with it.
//!
//! It signs anything that it is given, including malformed headers and claims, because tests send what an attacker would send. It
//! therefore shares only the names of algorithms with the engine. Code that verifies must not be added here.

use std::fmt;

mod forms;
mod jwk;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use callgate::identity::crypto::Algorithm;
use p256::elliptic_curve::Generate as _;
use rsa::RsaPrivateKey;
use rsa::rand_core::OsRng;
use rsa::sha2::{Sha256, Sha384, Sha512};
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _, Signer as _};
use serde_json::{Value, json};

/// The smallest RSA modulus that every algorithm here can sign with, in bits. RFC 7518, section 3.3 requires it too.
const RSA_BITS: usize = 2048;

/// Why a JWK cannot sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError(String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

/// A private key or secret together with the one algorithm it signs with.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    /// The algorithm's name in headers; `EdDSA` is a second name of `Ed25519`.
    name: &'static str,
    kid: Option<String>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Ed25519(Box<ed25519_compact::KeyPair>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Rsa(Box<RsaPrivateKey>),
    Secret(Vec<u8>),
}

impl SigningKey {
    /// Generates a new key without `kid`.
    ///
    /// An RSA key has 2048 bits; generating it takes up to several seconds in an unoptimized build.
    ///
    /// # Errors
    /// Fails if the system has no random numbers.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let material = match algorithm {
            Algorithm::Ed25519 => Material::Ed25519(Box::new(ed25519_compact::KeyPair::generate())),
            Algorithm::Es256 => Material::P256(p256::ecdsa::SigningKey::generate()),
            Algorithm::Es384 => Material::P384(p384::ecdsa::SigningKey::generate()),
            Algorithm::Hs256 => {
                // A P-256 scalar consists of 32 unpredictable bytes.
                Material::Secret(p256::ecdsa::SigningKey::generate().to_bytes().to_vec())
            }
            Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512
            | Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512 => Material::Rsa(Box::new(
                RsaPrivateKey::new(&mut OsRng, RSA_BITS)
                    .map_err(|error| KeyError(format!("cannot generate an RSA key: {error}")))?,
            )),
        };
        Ok(Self { algorithm, name: algorithm.jose_name(), kid: None, material })
    }

    /// Gives the key an id, which appears in its JWK and in its header.
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// Returns the algorithm that this key signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the same key with another algorithm of its type.
    ///
    /// # Errors
    /// Fails if the algorithm needs another type of key.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<Self, KeyError> {
        let same_type = |one: Algorithm, other: Algorithm| one == other || is_rsa(one) && is_rsa(other);
        if !same_type(self.algorithm, algorithm) {
            let name = |algorithm: Algorithm| algorithm.http_name().unwrap_or(algorithm.jose_name());
            return Err(KeyError(format!(
                "`{}` cannot be used with this key, which signs with `{}`",
                name(algorithm),
                name(self.algorithm)
            )));
        }
        (self.algorithm, self.name) = (algorithm, algorithm.jose_name());
        Ok(self)
    }

    /// Returns the key's id.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns a header with `alg` and, if the key has an id, `kid`. Most headers extend this one.
    pub fn header(&self) -> Value {
        let mut header = json!({ "alg": self.name });
        self.name_in(&mut header);
        header
    }

    /// Signs exactly this header and these claims as a compact JWS. [`SigningKey::header`] returns the usual header.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_raw(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// Signs any bytes, JSON or not, as a compact JWS.
    pub fn sign_raw(&self, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(input.as_bytes());
        format!("{input}.{}", encode(signature))
    }

    /// Returns the signature over any bytes. HTTP message signatures and JOSE use the same form.
    pub fn signature(&self, input: &[u8]) -> Vec<u8> {
        match &self.material {
            Material::Ed25519(pair) => pair.sk.sign(input, None).to_vec(),
            Material::P256(key) => {
                let signature: p256::ecdsa::Signature = p256::ecdsa::signature::Signer::sign(key, input);
                signature.to_bytes().to_vec()
            }
            Material::P384(key) => {
                let signature: p384::ecdsa::Signature = p384::ecdsa::signature::Signer::sign(key, input);
                signature.to_bytes().to_vec()
            }
            Material::Rsa(key) => self.rsa_signature(key.as_ref().clone(), input),
            Material::Secret(secret) => hmac_sha256::HMAC::mac(input, secret).to_vec(),
        }
    }

    fn rsa_signature(&self, key: RsaPrivateKey, input: &[u8]) -> Vec<u8> {
        use rsa::{pkcs1v15, pss};
        let rng = &mut OsRng;
        match self.algorithm {
            Algorithm::Ps256 => pss::SigningKey::<Sha256>::new(key).sign_with_rng(rng, input).to_vec(),
            Algorithm::Ps384 => pss::SigningKey::<Sha384>::new(key).sign_with_rng(rng, input).to_vec(),
            Algorithm::Ps512 => pss::SigningKey::<Sha512>::new(key).sign_with_rng(rng, input).to_vec(),
            Algorithm::Rs384 => pkcs1v15::SigningKey::<Sha384>::new(key).sign(input).to_vec(),
            Algorithm::Rs512 => pkcs1v15::SigningKey::<Sha512>::new(key).sign(input).to_vec(),
            // Only RS256 remains: no constructor pairs an RSA key with an algorithm of another family.
            _ => pkcs1v15::SigningKey::<Sha256>::new(key).sign(input).to_vec(),
        }
    }

    fn name_in(&self, object: &mut Value) {
        if let Some(kid) = &self.kid {
            insert(object, "kid", kid.as_str());
        }
    }
}

impl fmt::Debug for SigningKey {
    /// Shows the key's id and algorithm, and no part of the key itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.name).field("kid", &self.kid).finish_non_exhaustive()
    }
}

fn is_rsa(algorithm: Algorithm) -> bool {
    use Algorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    matches!(algorithm, Ps256 | Ps384 | Ps512 | Rs256 | Rs384 | Rs512)
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn insert(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use jwt_simple::prelude::*;

    use super::*;

    const NAMES: [&str; 11] =
        ["Ed25519", "EdDSA", "ES256", "ES384", "HS256", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

    /// One key serves all RSA algorithms because generating one is slow.
    fn key(name: &str) -> SigningKey {
        let algorithm = Algorithm::from_jose(name).unwrap();
        let mut jwk = match algorithm {
            Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 | Algorithm::Rs384 | Algorithm::Rs512 => {
                static RSA: std::sync::LazyLock<Value> =
                    std::sync::LazyLock::new(|| SigningKey::generate(Algorithm::Rs256).unwrap().private_jwk());
                RSA.clone()
            }
            _ => SigningKey::generate(algorithm).unwrap().private_jwk(),
        };
        jwk["alg"] = name.into();
        jwk["kid"] = "k1".into();
        SigningKey::from_jwk(&jwk).unwrap()
    }

    /// Verifies a token with an independent library and with the key from the public JWK.
    fn verify(algorithm: Algorithm, jwk: &str, token: &str) -> Result<String, jwt_simple::Error> {
        let claims = |result: Result<JWTClaims<NoCustomClaims>, _>| result.map(|claims| claims.subject.unwrap());
        match algorithm {
            Algorithm::Ed25519 => claims(Ed25519PublicKey::from_jwk(jwk)?.verify_token(token, None)),
            Algorithm::Es256 => claims(ES256PublicKey::from_jwk(jwk)?.verify_token(token, None)),
            Algorithm::Es384 => claims(ES384PublicKey::from_jwk(jwk)?.verify_token(token, None)),
            Algorithm::Hs256 => {
                let jwk: Value = serde_json::from_str(jwk)?;
                let secret = URL_SAFE_NO_PAD.decode(jwk["k"].as_str().unwrap())?;
                claims(HS256Key::from_bytes(&secret).verify_token(token, None))
            }
            Algorithm::Ps256 => claims(PS256PublicKey::from_jwk(jwk)?.verify_token(token, None)),
            Algorithm::Ps384 => claims(PS384PublicKey::from_jwk(jwk)?.verify_token(token, None)),
            Algorithm::Ps512 => claims(PS512PublicKey::from_jwk(jwk)?.verify_token(token, None)),
            Algorithm::Rs256 => claims(RS256PublicKey::from_jwk(jwk)?.verify_token(token, None)),
            Algorithm::Rs384 => claims(RS384PublicKey::from_jwk(jwk)?.verify_token(token, None)),
            Algorithm::Rs512 => claims(RS512PublicKey::from_jwk(jwk)?.verify_token(token, None)),
        }
    }

    #[test]
    fn another_library_verifies_every_algorithm() {
        for name in NAMES {
            let key = key(name);
            let algorithm = key.algorithm();
            let mut header = key.header();
            assert_eq!(header["alg"], name);
            if name == "Ed25519" {
                header["alg"] = "EdDSA".into(); // the only name that library knows
            }
            let claims = json!({ "sub": "agent", "exp": 4_000_000_000_u64, "iat": 1 });
            let token = key.sign(&header, &claims);
            let mut jwk = if algorithm == Algorithm::Hs256 { key.private_jwk() } else { key.public_jwk() };
            jwk["alg"] = header["alg"].clone();
            assert_eq!(verify(algorithm, &jwk.to_string(), &token).unwrap(), "agent", "{name}");
            let other = key.sign(&header, &json!({ "sub": "other", "exp": 4_000_000_000_u64, "iat": 1 }));
            let (signed, _) = token.rsplit_once('.').unwrap();
            let (_, foreign) = other.rsplit_once('.').unwrap();
            let spliced = format!("{signed}.{foreign}");
            assert!(verify(algorithm, &jwk.to_string(), &spliced).is_err(), "{name}");
        }
    }

    #[test]
    fn sign_raw_keeps_header_and_payload_bytes() {
        let token = key("ES256").sign_raw(b"{\"alg\":\"none\",\"alg\":1}", &[0xff, 0x00]);
        let parts: Vec<_> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        assert_eq!(parts[0], b"{\"alg\":\"none\",\"alg\":1}");
        assert_eq!(parts[1], [0xff, 0x00]);
        assert_eq!(parts[2].len(), 64);
    }

    #[test]
    fn thumbprints_match_the_engine() {
        for name in ["Ed25519", "ES256", "ES384", "RS256"] {
            let key = key(name);
            let jwk = key.public_jwk();
            let read = callgate::identity::crypto::PublicJwk::read(jwk.as_object().unwrap()).unwrap();
            assert_eq!(read.key.thumbprint().unwrap().to_string(), key.thumbprint(), "{name}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = key("HS256");
        let secret = key.private_jwk()["k"].as_str().unwrap().to_owned();
        assert!(!format!("{key:?}").contains(&secret));
    }
}
