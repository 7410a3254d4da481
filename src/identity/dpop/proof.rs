//! One proof, checked in full (RFC 9449, section 4.3), from cheap to dear: nothing is computed for one that would be refused
//! anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::Rules;
use super::nonce::{LimitStatus, Nonces};
use super::target::is_target;
use crate::identity::crypto::{
    Algorithm, BadSignature, PublicJwk, Signer, Thumbprint, VerifySignature, VerifyingKey, sha256,
};
use crate::identity::token::{Jws, numeric_date};
use crate::reason::Reason;
use crate::text::time::Timestamp;

/// The longest proof taken, in bytes. One with an RSA key of 4096 bits and a long URI has half of that.
const MAX_PROOF_BYTES: usize = 8 * 1024;

/// The longest `jti` taken, in bytes.
const MAX_JTI_BYTES: usize = 256;

/// What a proof is, which no other JWT of the same key is.
const TYPE: &str = "dpop+jwt";

/// Header parameters that no proof needs: extensions that are not understood here, and other sources of keys than `jwk`.
const REFUSED_HEADER: [&str; 6] = ["crit", "b64", "zip", "jku", "x5u", "x5c"];

/// What a proof must say, besides when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'e> {
    /// SHA-256 of the token that it is sent with.
    pub(crate) token_hash: &'e [u8; 32],
    /// The key that the token is bound to.
    pub(crate) key: Thumbprint,
    /// The method of the call.
    pub(crate) method: &'e str,
    /// Scheme and authority under which clients know the API.
    pub(crate) origin: &'e str,
    /// The canonical path of the call.
    pub(crate) path: &'e str,
    /// The nonces of this moment, where proofs must carry one.
    pub(crate) nonces: Option<Nonces<'e>>,
}

/// A proof of possession that was checked. Only [`Proof::check`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The key that made it.
    pub(crate) key: Thumbprint,
    /// SHA-256 of its `jti`, by which a second use is told.
    pub(crate) jti: [u8; 32],
    /// When it was made, as its maker says.
    pub(crate) issued: Timestamp,
    /// The moment from which on it is refused for its age.
    pub(crate) until: Timestamp,
    /// Whether its nonce is about to end, so that its maker needs the next.
    pub(crate) nonce_ends: bool,
}

impl Proof {
    /// Checks the one line of the header `DPoP`.
    ///
    /// # Errors
    /// The first reason to refuse it; last [`Reason::DpopSignature`].
    pub(crate) fn check(
        line: &[u8],
        rules: &Rules,
        expected: Expected<'_>,
        now: Timestamp,
        verifier: &dyn VerifySignature,
    ) -> Result<Self, Reason> {
        if line.len() > MAX_PROOF_BYTES {
            return Err(Reason::DpopMalformed);
        }
        verifier.admit(&[Signer::Proof(expected.key)]).map_err(|BadSignature| Reason::CredentialsLimited)?;
        let jws = Jws::parse(line).map_err(|_| Reason::DpopMalformed)?;
        let algorithm = read_header(&jws.header, rules)?;
        let key = read_key(&jws.header, algorithm)?;
        // Before anything is computed: whose key it is decides whether it is worth that.
        let thumbprint = key.thumbprint().filter(|own| *own == expected.key).ok_or(Reason::DpopBinding)?;
        let claims = Claims::read(&jws.claims)?;
        claims.check_call(&expected)?;
        let until = claims.check_time(rules, now)?;
        let nonce = expected.nonces.map(|nonces| claims.nonce.and_then(|sent| nonces.judge(sent)));
        if nonce == Some(None) {
            return Err(Reason::DpopNonce);
        }
        verifier.verify(&key, algorithm, jws.signed, &jws.signature).map_err(|_| Reason::DpopSignature)?;
        Ok(Self {
            key: thumbprint,
            jti: sha256(claims.jti.as_bytes()),
            issued: claims.issued,
            until,
            nonce_ends: nonce == Some(Some(LimitStatus::Ending)),
        })
    }
}

/// Type, extensions and algorithm.
fn read_header(header: &Value, rules: &Rules) -> Result<Algorithm, Reason> {
    let other_type = header.get("typ").and_then(Value::as_str) != Some(TYPE);
    if other_type || REFUSED_HEADER.iter().any(|name| header.get(name).is_some()) {
        return Err(Reason::DpopHeader);
    }
    let named = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_jose);
    named.filter(|named| rules.algorithms.contains(named)).ok_or(Reason::DpopAlgorithm)
}

/// The key that comes with the proof, held to what keys of issuers are held to.
fn read_key(header: &Value, algorithm: Algorithm) -> Result<VerifyingKey, Reason> {
    let jwk = header.get("jwk").and_then(Value::as_object).ok_or(Reason::DpopKey)?;
    let jwk = PublicJwk::read(jwk).map_err(|_| Reason::DpopKey)?;
    let meant = jwk.algorithm.is_none_or(|meant| meant == algorithm);
    if meant && jwk.key.fits(algorithm) { Ok(jwk.key) } else { Err(Reason::DpopAlgorithm) }
}

/// What a proof says.
struct Claims<'c> {
    jti: &'c str,
    method: &'c str,
    target: &'c str,
    token_hash: &'c str,
    issued: Timestamp,
    /// `exp` and `nbf`, which RFC 9449 does not define and some clients send all the same.
    expires: Option<Timestamp>,
    not_before: Option<Timestamp>,
    nonce: Option<&'c str>,
}

impl<'c> Claims<'c> {
    fn read(claims: &'c Value) -> Result<Self, Reason> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(Reason::DpopClaim);
        // A time that cannot be read must not be ignored: its maker limited the proof by it.
        let time = |name: &str| claims.get(name).map(|value| numeric_date(value).ok_or(Reason::DpopTime)).transpose();
        let jti = text("jti")?;
        if jti.is_empty() || jti.len() > MAX_JTI_BYTES {
            return Err(Reason::DpopClaim);
        }
        Ok(Self {
            jti,
            method: text("htm")?,
            target: text("htu")?,
            token_hash: text("ath")?,
            issued: claims.get("iat").and_then(numeric_date).ok_or(Reason::DpopClaim)?,
            expires: time("exp")?,
            not_before: time("nbf")?,
            nonce: claims.get("nonce").and_then(Value::as_str),
        })
    }

    /// It is about this call with this token.
    fn check_call(&self, expected: &Expected<'_>) -> Result<(), Reason> {
        if self.method != expected.method {
            return Err(Reason::DpopMethod);
        }
        if !is_target(self.target, expected.origin, expected.path) {
            return Err(Reason::DpopTarget);
        }
        if self.token_hash != URL_SAFE_NO_PAD.encode(expected.token_hash) {
            return Err(Reason::DpopToken);
        }
        Ok(())
    }

    /// The proof is recent, and within the time that it states itself (RFC 7519, sections 4.1.4 and 4.1.5). Returns the moment at
    /// which it expires.
    fn check_time(&self, rules: &Rules, now: Timestamp) -> Result<Timestamp, Reason> {
        let oldest = self.issued.plus(rules.max_age);
        let until = self.expires.map_or(oldest, |expires| expires.min(oldest));
        let latest = now.plus(rules.clock_ahead);
        let begins = self.not_before.map_or(self.issued, |not_before| not_before.max(self.issued));
        // A proof that expires before it begins was never valid, whatever the clocks tolerate.
        if begins > latest || now >= until || begins >= until { Err(Reason::DpopTime) } else { Ok(until) }
    }
}
