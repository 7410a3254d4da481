//! Verifies access tokens (RFC 9068) and caches the verified ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

const ISSUER: &str = "https://idp.example.com";
const AUDIENCE: &str = "https://api.example.com";
/// In seconds.
const MAX_LIFETIME: u64 = 15 * 60;
const CLOCK_SKEW: u64 = 60;
const MAX_CACHED: usize = 10_000;

#[derive(Deserialize)]
struct Header<'t> {
    alg: &'t str,
    typ: &'t str,
    kid: &'t str,
}

/// The claims of a verified token.
#[derive(Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: String,
    iat: u64,
    exp: u64,
    pub(super) sub: String,
    pub(super) client_id: String,
    pub(super) org: String,
    pub(super) scope: String,
}

/// Verifies tokens of one issuer with one key.
pub(super) struct Verifier {
    kid: String,
    key: UnparsedPublicKey<Vec<u8>>,
    /// The key is the whole token, including the signature.
    verified: Mutex<HashMap<String, Arc<Claims>>>,
}

impl Verifier {
    /// Creates a verifier for tokens signed with this key.
    ///
    /// # Errors
    /// When the JWK is not a P-256 key with a `kid`.
    pub(super) fn new(jwk: &Value) -> Result<Self> {
        let member =
            |name: &str| jwk.get(name).and_then(Value::as_str).with_context(|| format!("the JWK has no `{name}`"));
        let mut point = vec![4]; // An uncompressed point (SEC 1, section 2.3.3).
        for coordinate in ["x", "y"] {
            point.extend(URL_SAFE_NO_PAD.decode(member(coordinate)?).context("the JWK is not base64url")?);
        }
        Ok(Self {
            kid: member("kid")?.to_owned(),
            key: UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point),
            verified: Mutex::default(),
        })
    }

    /// Returns the claims of a valid token.
    pub(super) fn verify(&self, token: &str) -> Option<Arc<Claims>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let known = self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned();
        if let Some(claims) = known {
            return claims.are_valid_at(now).then_some(claims);
        }
        let claims = Arc::new(self.verify_signature(token)?);
        if !claims.are_valid_at(now) {
            return None;
        }
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= MAX_CACHED {
            verified.clear();
        }
        verified.insert(token.to_owned(), Arc::clone(&claims));
        Some(claims)
    }

    fn verify_signature(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part| URL_SAFE_NO_PAD.decode(part).ok();
        let header = decode(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).ok()?;
        if header.alg != "ES256" || header.typ != "at+jwt" || header.kid != self.kid {
            return None;
        }
        self.key.verify(signed.as_bytes(), &decode(signature)?).ok()?;
        serde_json::from_slice(&decode(claims)?).ok()
    }
}

impl Claims {
    fn are_valid_at(&self, now: u64) -> bool {
        self.iss == ISSUER
            && self.aud == AUDIENCE
            && self.iat <= now + CLOCK_SKEW
            && now < self.exp + CLOCK_SKEW
            && self.exp.saturating_sub(self.iat) <= MAX_LIFETIME
    }
}
