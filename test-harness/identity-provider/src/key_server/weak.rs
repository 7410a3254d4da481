//! An RSA key of 1024 bits. The kit reads no such key, because nothing should sign with one.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::RsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::sha2::Sha256;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

const KEY: &str = include_str!("testdata/rsa1024.pem");
const KID: &str = "weak";

/// Returns a token (RFC 9068) with exactly these claims, signed with RS256 by the weak key.
///
/// # Errors
/// When the key cannot be read.
pub fn mint(claims: &Value) -> Result<String> {
    let header = json!({ "typ": "at+jwt", "alg": "RS256", "kid": KID });
    let input = [&header, claims].map(|part| encode(part.to_string().as_bytes())).join(".");
    let signature = SigningKey::<Sha256>::new(key()?).sign(input.as_bytes()).to_vec();
    Ok(format!("{input}.{}", encode(&signature)))
}

pub(super) fn public_jwk() -> Result<Value> {
    let key = key()?;
    Ok(json!({
        "kty": "RSA",
        "alg": "RS256",
        "kid": KID,
        "n": encode(&key.n().to_bytes_be()),
        "e": encode(&key.e().to_bytes_be()),
    }))
}

fn key() -> Result<RsaPrivateKey> {
    RsaPrivateKey::from_pkcs8_pem(KEY).context("cannot read the weak key")
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
