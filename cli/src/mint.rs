//! Mints tokens for tests: `callgate token`, the corpus, the demo and the end-to-end tests sign with it.
//!
//! It signs what it is told to, malformed headers and claims included, because a gate is tested with what an attacker would
//! send. It therefore shares no code with the engine but the names of algorithms: nothing that verifies may enter here.

use std::fmt;

mod forms;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use callgate::crypto::Algorithm;
use p256::elliptic_curve::Generate as _;
use rsa::RsaPrivateKey;
use rsa::rand_core::OsRng;
use rsa::sha2::{Sha256, Sha384, Sha512};
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _, Signer as _};
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use serde_json::{Value, json};

/// The smallest RSA modulus that every algorithm here can sign with, in bits; RFC 7518, section 3.3 asks for it too.
const RSA_BITS: usize = 2048;

/// The older, polymorphic name of `Ed25519` (RFC 8037).
const OLD_NAME: &str = "EdDSA";

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
    /// What headers call the algorithm; `EdDSA` is a second name of `Ed25519`.
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
    /// Makes a fresh key without `kid`.
    ///
    /// An RSA key has 2048 bits and takes up to seconds to find in an unoptimised build.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let material = match algorithm {
            Algorithm::Ed25519 => Material::Ed25519(Box::new(ed25519_compact::KeyPair::generate())),
            Algorithm::Es256 => Material::P256(p256::ecdsa::SigningKey::generate()),
            Algorithm::Es384 => Material::P384(p384::ecdsa::SigningKey::generate()),
            Algorithm::Hs256 => {
                // A P-256 scalar is 32 bytes that nobody can guess.
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

    /// Reads a private JWK (RFC 7517, RFC 7518 section 6, RFC 8037).
    ///
    /// Without `alg` an EC key signs by its curve, an OKP key as `Ed25519`, an RSA key as `RS256` and a secret as `HS256`.
    ///
    /// # Errors
    /// When a member is missing or malformed, or `alg` does not fit the key.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let kty = text(jwk, "kty")?;
        let named = match jwk.get("alg") {
            None => None,
            Some(_) => Some(text(jwk, "alg")?),
        };
        let algorithm = |fitting: &[Algorithm]| match named {
            None => fitting.first().copied().ok_or_else(|| KeyError("no algorithm fits the key".to_owned())),
            Some(name) => Algorithm::from_jose(name).filter(|algorithm| fitting.contains(algorithm)).ok_or_else(|| {
                KeyError(format!("`alg` is `{name}`, which does not fit this key; write {}", list(fitting)))
            }),
        };
        let (algorithm, material) = match kty {
            "EC" => match text(jwk, "crv")? {
                "P-256" => (
                    algorithm(&[Algorithm::Es256])?,
                    Material::P256(
                        p256::ecdsa::SigningKey::from_slice(&bytes(jwk, "d")?)
                            .map_err(|_| KeyError("`d` is not a scalar of P-256".to_owned()))?,
                    ),
                ),
                "P-384" => (
                    algorithm(&[Algorithm::Es384])?,
                    Material::P384(
                        p384::ecdsa::SigningKey::from_slice(&bytes(jwk, "d")?)
                            .map_err(|_| KeyError("`d` is not a scalar of P-384".to_owned()))?,
                    ),
                ),
                curve => {
                    return Err(KeyError(format!("`crv` is `{curve}`; write `P-256` or `P-384`")));
                }
            },
            "OKP" => (
                algorithm(&[Algorithm::Ed25519])?,
                Material::Ed25519(Box::new(
                    ed25519_compact::Seed::from_slice(&bytes(jwk, "d")?)
                        .and_then(ed25519_compact::KeyPair::try_from_seed)
                        .map_err(|_| KeyError("`d` is not an Ed25519 seed of 32 bytes".to_owned()))?,
                )),
            ),
            "RSA" => (
                algorithm(&[
                    Algorithm::Rs256,
                    Algorithm::Rs384,
                    Algorithm::Rs512,
                    Algorithm::Ps256,
                    Algorithm::Ps384,
                    Algorithm::Ps512,
                ])?,
                Material::Rsa(Box::new(rsa_key(jwk)?)),
            ),
            "oct" => (algorithm(&[Algorithm::Hs256])?, Material::Secret(bytes(jwk, "k")?)),
            kty => {
                return Err(KeyError(format!("`kty` is `{kty}`; write `EC`, `OKP`, `RSA` or `oct`")));
            }
        };
        let kid = match jwk.get("kid") {
            None => None,
            Some(_) => Some(text(jwk, "kid")?.to_owned()),
        };
        let name = if named == Some(OLD_NAME) { OLD_NAME } else { algorithm.jose_name() };
        Ok(Self { algorithm, name, kid, material })
    }

    /// The same key under a name, which goes into its JWK and its header.
    #[must_use]
    pub fn with_kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The algorithm that this key signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The same key with another of its algorithms.
    ///
    /// # Errors
    /// When the algorithm is of another type of key.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<Self, KeyError> {
        let same_type = |one: Algorithm, other: Algorithm| one == other || is_rsa(one) && is_rsa(other);
        if !same_type(self.algorithm, algorithm) {
            let name = |algorithm: Algorithm| algorithm.http_name().unwrap_or(algorithm.jose_name());
            return Err(KeyError(format!(
                "`{}` does not fit this key, which signs with `{}`",
                name(algorithm),
                name(self.algorithm)
            )));
        }
        (self.algorithm, self.name) = (algorithm, algorithm.jose_name());
        Ok(self)
    }

    /// The key's name.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// `alg` and, when the key has a name, `kid`: where most headers start.
    pub fn header(&self) -> Value {
        let mut header = json!({ "alg": self.name });
        self.name_in(&mut header);
        header
    }

    /// The JWK for a policy's `jwks`. A secret has no public part: its JWK has `kty` and names alone.
    pub fn public_jwk(&self) -> Value {
        let mut jwk = match &self.material {
            Material::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(*pair.pk) })
            }
            Material::P256(key) => ec_jwk("P-256", key.verifying_key().to_sec1_point(false).as_bytes()),
            Material::P384(key) => ec_jwk("P-384", key.verifying_key().to_sec1_point(false).as_bytes()),
            Material::Rsa(key) => json!({
                "kty": "RSA",
                "n": encode(key.n().to_bytes_be()),
                "e": encode(key.e().to_bytes_be()),
            }),
            Material::Secret(_) => json!({ "kty": "oct" }),
        };
        insert(&mut jwk, "alg", self.name);
        self.name_in(&mut jwk);
        jwk
    }

    /// The JWK that [`SigningKey::from_jwk`] reads back.
    pub fn private_jwk(&self) -> Value {
        let mut jwk = self.public_jwk();
        match &self.material {
            Material::Ed25519(pair) => insert(&mut jwk, "d", encode(*pair.sk.seed())),
            Material::P256(key) => insert(&mut jwk, "d", encode(key.to_bytes())),
            Material::P384(key) => insert(&mut jwk, "d", encode(key.to_bytes())),
            Material::Rsa(key) => {
                insert(&mut jwk, "d", encode(key.d().to_bytes_be()));
                for (name, prime) in ["p", "q"].into_iter().zip(key.primes()) {
                    insert(&mut jwk, name, encode(prime.to_bytes_be()));
                }
            }
            Material::Secret(secret) => insert(&mut jwk, "k", encode(secret)),
        }
        jwk
    }

    /// The SHA-256 thumbprint of the public key (RFC 7638), to which a token is bound; of a secret that of what is public.
    pub fn thumbprint(&self) -> String {
        let mut jwk = self.public_jwk();
        if let Value::Object(jwk) = &mut jwk {
            // What is left is what a key of its type cannot do without, and a map of this library is sorted by name.
            jwk.retain(|name, _| name != "alg" && name != "kid");
        }
        encode(hmac_sha256::Hash::hash(jwk.to_string().as_bytes()))
    }

    /// A compact JWS over exactly this header and these claims; see [`SigningKey::header`] for the usual header.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_raw(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// A compact JWS over any bytes, JSON or not.
    pub fn sign_raw(&self, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(input.as_bytes());
        format!("{input}.{}", encode(signature))
    }

    /// The signature over any bytes. HTTP message signatures and JOSE have the same.
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
            // No constructor pairs an RSA key with an algorithm of another family.
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
    /// Names the key and shows nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.name).field("kid", &self.kid).finish_non_exhaustive()
    }
}

fn is_rsa(algorithm: Algorithm) -> bool {
    use Algorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    matches!(algorithm, Ps256 | Ps384 | Ps512 | Rs256 | Rs384 | Rs512)
}

fn rsa_key(jwk: &Value) -> Result<RsaPrivateKey, KeyError> {
    let number = |name| bytes(jwk, name).map(|bytes| rsa::BigUint::from_bytes_be(&bytes));
    let modulus = number("n")?;
    if modulus.bits() < RSA_BITS {
        return Err(KeyError(format!("`n` has {} bits; use a key of {RSA_BITS} bits or more", modulus.bits())));
    }
    RsaPrivateKey::from_components(modulus, number("e")?, number("d")?, vec![number("p")?, number("q")?])
        .map_err(|_| KeyError("`n`, `e`, `d`, `p` and `q` do not belong together".to_owned()))
}

/// The coordinates of an uncompressed SEC1 point, `04 || x || y`.
fn ec_jwk(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
    json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn insert(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

fn text<'a>(jwk: &'a Value, name: &str) -> Result<&'a str, KeyError> {
    jwk.get(name).and_then(Value::as_str).ok_or_else(|| KeyError(format!("a private JWK needs `{name}` as a string")))
}

fn bytes(jwk: &Value, name: &str) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).map_err(|_| KeyError(format!("`{name}` is not base64url without padding")))
}

fn list(algorithms: &[Algorithm]) -> String {
    let names: Vec<_> = algorithms.iter().map(|algorithm| format!("`{}`", algorithm.jose_name())).collect();
    names.join(" or ")
}

#[cfg(test)]
mod tests {
    use jwt_simple::prelude::*;

    use super::*;

    const NAMES: [&str; 11] =
        ["Ed25519", "EdDSA", "ES256", "ES384", "HS256", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

    /// One key for all RSA algorithms: finding one is slow.
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

    /// An independent library takes what is signed here, with the key read from the public JWK.
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
    fn every_algorithm_verifies_elsewhere() {
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
    fn header_and_payload_stand_as_given() {
        let token = key("ES256").sign_raw(b"{\"alg\":\"none\",\"alg\":1}", &[0xff, 0x00]);
        let parts: Vec<_> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        assert_eq!(parts[0], b"{\"alg\":\"none\",\"alg\":1}");
        assert_eq!(parts[1], [0xff, 0x00]);
        assert_eq!(parts[2].len(), 64);
    }

    #[test]
    fn what_cannot_sign_is_named() {
        for (jwk, message) in [
            (json!({}), "a private JWK needs `kty` as a string"),
            (json!({ "kty": "DH" }), "`kty` is `DH`; write `EC`, `OKP`, `RSA` or `oct`"),
            (json!({ "kty": "EC", "crv": "P-521" }), "`crv` is `P-521`; write `P-256` or `P-384`"),
            (json!({ "kty": "EC", "crv": "P-256" }), "a private JWK needs `d` as a string"),
            (json!({ "kty": "EC", "crv": "P-256", "d": "AA==" }), "`d` is not base64url without padding"),
            (json!({ "kty": "EC", "crv": "P-256", "d": "AA" }), "`d` is not a scalar of P-256"),
            (
                json!({ "kty": "oct", "alg": "ES256", "k": "AA" }),
                "`alg` is `ES256`, which does not fit this key; write `HS256`",
            ),
            (
                json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQAB" }),
                "`n` has 17 bits; use a key of 2048 bits or more",
            ),
        ] {
            assert_eq!(SigningKey::from_jwk(&jwk).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn thumbprints_are_those_of_the_engine() {
        for name in ["Ed25519", "ES256", "ES384", "RS256"] {
            let key = key(name);
            let jwk = key.public_jwk();
            let read = callgate::crypto::PublicJwk::read(jwk.as_object().unwrap()).unwrap();
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
