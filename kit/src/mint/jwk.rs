//! Reads private keys from JWKs, and writes private and public keys as JWKs (RFC 7517, RFC 7518 section 6, RFC 8037).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::RsaPrivateKey;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use serde_json::{Value, json};

use super::{Algorithm, KeyError, Material, RSA_BITS, SigningKey, encode, insert};

/// The older, polymorphic name of `Ed25519` (RFC 8037).
const OLD_NAME: &str = "EdDSA";

impl SigningKey {
    /// Reads a private JWK (RFC 7517, RFC 7518 section 6, RFC 8037).
    ///
    /// Without `alg`, an EC key signs by its curve, an OKP key as `Ed25519`, an RSA key as `RS256` and a secret as `HS256`.
    ///
    /// # Errors
    /// Fails if a member is missing or malformed, or if `alg` does not fit the key.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let kty = text(jwk, "kty")?;
        let named = match jwk.get("alg") {
            None => None,
            Some(_) => Some(text(jwk, "alg")?),
        };
        let algorithm = |fitting: &[Algorithm]| match named {
            None => fitting.first().copied().ok_or_else(|| KeyError("no algorithm supports the key".to_owned())),
            Some(name) => Algorithm::from_jose(name).filter(|algorithm| fitting.contains(algorithm)).ok_or_else(|| {
                KeyError(format!("`alg` is `{name}`, which cannot be used with this key; write {}", list(fitting)))
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

    /// Returns the JWK for a policy's `jwks`. A secret has no public part, so its JWK has only `kty`, `alg` and `kid`.
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

    /// Returns the JWK that [`SigningKey::from_jwk`] reads back.
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

    /// Returns the SHA-256 thumbprint of the public key (RFC 7638), to which a token is bound. For a secret, it covers only the
    /// public members.
    pub fn thumbprint(&self) -> String {
        let mut jwk = self.public_jwk();
        if let Value::Object(jwk) = &mut jwk {
            // The remaining members are those that RFC 7638 requires, and this library keeps the members of an object sorted by
            // name.
            jwk.retain(|name, _| name != "alg" && name != "kid");
        }
        encode(hmac_sha256::Hash::hash(jwk.to_string().as_bytes()))
    }
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

/// Returns the JWK of an uncompressed SEC1 point, `04 || x || y`.
fn ec_jwk(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
    json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
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
    use super::*;

    #[test]
    fn explains_why_a_jwk_cannot_sign() {
        for (jwk, message) in [
            (json!({}), "a private JWK needs `kty` as a string"),
            (json!({ "kty": "DH" }), "`kty` is `DH`; write `EC`, `OKP`, `RSA` or `oct`"),
            (json!({ "kty": "EC", "crv": "P-521" }), "`crv` is `P-521`; write `P-256` or `P-384`"),
            (json!({ "kty": "EC", "crv": "P-256" }), "a private JWK needs `d` as a string"),
            (json!({ "kty": "EC", "crv": "P-256", "d": "AA==" }), "`d` is not base64url without padding"),
            (json!({ "kty": "EC", "crv": "P-256", "d": "AA" }), "`d` is not a scalar of P-256"),
            (
                json!({ "kty": "oct", "alg": "ES256", "k": "AA" }),
                "`alg` is `ES256`, which cannot be used with this key; write `HS256`",
            ),
            (
                json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQAB" }),
                "`n` has 17 bits; use a key of 2048 bits or more",
            ),
        ] {
            assert_eq!(SigningKey::from_jwk(&jwk).unwrap_err().to_string(), message);
        }
    }
}
