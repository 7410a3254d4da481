//! Verifies access tokens (RFC 9068), in each request or once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

const ISSUER: &str = "https://idp.example.com";
const AUDIENCE: &str = "https://api.example.com";
const TYPE: &str = "at+jwt";
/// In seconds.
const MAX_LIFETIME: u64 = 15 * 60;
const CLOCK_SKEW: u64 = 60;
const MAX_CACHED: usize = 10_000;

/// The claims of a verified token. The library checks the others.
#[derive(Clone, Deserialize)]
pub(super) struct Claims {
    iat: u64,
    exp: u64,
    pub(super) sub: String,
    pub(super) client_id: String,
    pub(super) org: String,
    pub(super) scope: String,
}

/// Verifies tokens of one issuer with one key, which is parsed once.
pub(super) struct Verifier {
    kid: String,
    key: DecodingKey,
    validation: Validation,
    /// The verified tokens, if they are cached. The key is the whole token, including the signature.
    verified: Option<Mutex<HashMap<String, Arc<Claims>>>>,
}

impl Verifier {
    /// Creates a verifier for ES256 tokens signed with this key.
    ///
    /// # Errors
    /// When the JWK has no `kid` or is no public key.
    pub(super) fn new(jwk: &Jwk, caches_tokens: bool) -> Result<Self> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.leeway = CLOCK_SKEW;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        Ok(Self {
            kid: jwk.common.key_id.clone().context("the JWK has no `kid`")?,
            key: DecodingKey::from_jwk(jwk).context("the JWK is no public key")?,
            validation,
            verified: caches_tokens.then(Mutex::default),
        })
    }

    /// Returns the claims of a valid token.
    pub(super) fn verify(&self, token: &str) -> Option<Arc<Claims>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let claims = match &self.verified {
            Some(verified) => self.verify_once(token, verified)?,
            None => Arc::new(self.verify_now(token)?),
        };
        claims.are_timely(now).then_some(claims)
    }

    fn verify_once(&self, token: &str, verified: &Mutex<HashMap<String, Arc<Claims>>>) -> Option<Arc<Claims>> {
        let verified = || verified.lock().unwrap_or_else(PoisonError::into_inner);
        let known = verified().get(token).cloned();
        if known.is_some() {
            return known;
        }
        let claims = Arc::new(self.verify_now(token)?);
        let mut verified = verified();
        if verified.len() >= MAX_CACHED {
            verified.clear();
        }
        verified.insert(token.to_owned(), Arc::clone(&claims));
        Some(claims)
    }

    fn verify_now(&self, token: &str) -> Option<Claims> {
        let token = decode::<Claims>(token, &self.key, &self.validation).ok()?;
        let header = token.header;
        let is_expected = header.typ.as_deref() == Some(TYPE) && header.kid.as_ref() == Some(&self.kid);
        is_expected.then_some(token.claims)
    }
}

impl Claims {
    /// The library checks `exp` only when it verifies a token, and not how long the token is valid.
    fn are_timely(&self, now: u64) -> bool {
        self.iat <= now + CLOCK_SKEW && now < self.exp + CLOCK_SKEW && self.exp.saturating_sub(self.iat) <= MAX_LIFETIME
    }
}
