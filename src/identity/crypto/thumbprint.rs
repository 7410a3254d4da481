//! The thumbprint of a public key, a name that follows from the key alone.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::{ECDSAP256PublicKeyLike, ECDSAP384PublicKeyLike};
use superboring::pkey::PKey;

use super::key::Material;
use super::{VerifyingKey, sha256};

/// The SHA-256 thumbprint of a public key as a JWK (RFC 7638; RFC 8037, appendix A.3). It displays as base64url without padding, the form
/// used in `keyid` and `jkt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint(pub [u8; 32]);

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl VerifyingKey {
    /// Returns the key's thumbprint, or `None` for a secret: its thumbprint would let anyone test guesses.
    #[must_use]
    pub fn thumbprint(&self) -> Option<Thumbprint> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // The required members of the key, ordered by name, without white space.
        let jwk = match &self.material {
            Material::P256(key) => {
                let key: &p256::ecdsa::VerifyingKey = key.public_key().as_ref();
                let point = key.to_sec1_point(false);
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(point.x()?), text(point.y()?))
            }
            Material::P384(key) => {
                let key: &p384::ecdsa::VerifyingKey = key.public_key().as_ref();
                let point = key.to_sec1_point(false);
                format!(r#"{{"crv":"P-384","kty":"EC","x":"{}","y":"{}"}}"#, text(point.x()?), text(point.y()?))
            }
            Material::Rsa(key) => {
                let PKey::Rsa(key) = key else { return None };
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(&key.e().to_vec()), text(&key.n().to_vec()))
            }
            Material::Ed25519(key) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(key.as_bytes())),
            Material::Hmac(_) => return None,
        };
        Some(Thumbprint(sha256(jwk.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::identity::crypto::{PublicJwk, VerifyingKey};

    fn thumbprint(jwk: &Value) -> String {
        PublicJwk::read(jwk.as_object().unwrap()).unwrap().key.thumbprint().unwrap().to_string()
    }

    #[test]
    fn computes_the_published_thumbprints() {
        // RFC 7638, section 3.1.
        let rsa = json!({
            "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi\
                  FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c\
                  7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF4\
                  4-csFCur-kEgU8awapJzKnqDKgw",
        });
        assert_eq!(thumbprint(&rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        // RFC 8037, appendix A.3.
        let okp = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        assert_eq!(thumbprint(&okp), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        // RFC 9449, sections 4.1 and 6.1.
        let ec = json!({
            "kty": "EC", "crv": "P-256",
            "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        });
        assert_eq!(thumbprint(&ec), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    }

    #[test]
    fn the_thumbprint_depends_only_on_the_key() {
        let plain = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let mut named = plain.clone();
        named["kid"] = json!("a");
        named["use"] = json!("sig");
        assert_eq!(thumbprint(&plain), thumbprint(&named));
        // Leading zeros of a modulus are not part of the number (RFC 7638, section 3.1, uses the form of RFC 7518).
        let rsa = |n: Vec<u8>| VerifyingKey::rsa(&n, &[1, 0, 1]).unwrap().thumbprint().unwrap();
        assert_eq!(rsa(vec![0xff; 256]), rsa([vec![0; 3], vec![0xff; 256]].concat()));
    }

    #[test]
    fn public_keys_have_thumbprints_and_secrets_do_not() {
        let p384 = json!({
            "kty": "EC", "crv": "P-384",
            "x": "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
            "y": "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
        });
        assert_eq!(thumbprint(&p384).len(), 43);
        assert_eq!(VerifyingKey::hmac(&[1; 32]).unwrap().thumbprint(), None);
    }
}
