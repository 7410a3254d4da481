//! Verification of one proof (RFC 9449, section 4.3). Cheap checks come first, so no signature is verified for a proof that another check
//! rejects.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::Rules;
use super::nonce::{NonceStatus, Nonces};
use super::target::is_target;
use crate::identity::crypto::{
    Algorithm, BadSignature, PublicJwk, Signer, Thumbprint, VerifySignature, VerifyingKey, sha256,
};
use crate::identity::token::{Jws, numeric_date};
use crate::reason::Reason;
use crate::text::time::Timestamp;

/// The maximum length of a proof, in bytes. A proof with an RSA key of 4096 bits and a long URI has half of that.
const MAX_PROOF_BYTES: usize = 8 * 1024;

/// The maximum length of a `jti`, in bytes.
const MAX_JTI_BYTES: usize = 256;

/// The `typ` of proofs. No other JWT signed by the same key has it.
const TYPE: &str = "dpop+jwt";

/// Header parameters that no proof needs: unsupported extensions, and sources of keys other than `jwk`.
const REFUSED_HEADER: [&str; 6] = ["crit", "b64", "zip", "jku", "x5u", "x5c"];

/// The expected content of a proof, apart from its times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'e> {
    /// SHA-256 of the token in the same request.
    pub(crate) token_hash: &'e [u8; 32],
    /// The key that the token is bound to.
    pub(crate) key: Thumbprint,
    /// The method of the request.
    pub(crate) method: &'e str,
    /// The scheme and authority of the API, as clients know them.
    pub(crate) origin: &'e str,
    /// The canonical path of the request.
    pub(crate) path: &'e str,
    /// The nonces that are valid now, if proofs must carry one.
    pub(crate) nonces: Option<Nonces<'e>>,
}

/// A verified proof of possession. Only [`Proof::check`] creates one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The key that signed it.
    pub(crate) key: Thumbprint,
    /// SHA-256 of its `jti`, which identifies a replay.
    pub(crate) jti: [u8; 32],
    /// Its creation time, as stated by the client.
    pub(crate) issued: Timestamp,
    /// The first time at which it is rejected as too old.
    pub(crate) until: Timestamp,
    /// Whether its nonce expires soon, so the client needs the next one.
    pub(crate) nonce_ends: bool,
}

impl Proof {
    /// Verifies the one line of the header `DPoP`.
    ///
    /// # Errors
    /// The reason of the first check that fails. The signature check ([`Reason::DpopSignature`]) is the last one.
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
        // This check comes before the signature check, because the key decides whether that work is worthwhile.
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
            nonce_ends: nonce == Some(Some(NonceStatus::Ending)),
        })
    }
}

/// Checks type and extensions, and returns the algorithm.
fn read_header(header: &Value, rules: &Rules) -> Result<Algorithm, Reason> {
    let other_type = header.get("typ").and_then(Value::as_str) != Some(TYPE);
    if other_type || REFUSED_HEADER.iter().any(|name| header.get(name).is_some()) {
        return Err(Reason::DpopHeader);
    }
    let named = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_jose);
    named.filter(|named| rules.algorithms.contains(named)).ok_or(Reason::DpopAlgorithm)
}

/// Reads the key in the proof. It must meet the same requirements as an issuer's key.
fn read_key(header: &Value, algorithm: Algorithm) -> Result<VerifyingKey, Reason> {
    let jwk = header.get("jwk").and_then(Value::as_object).ok_or(Reason::DpopKey)?;
    let jwk = PublicJwk::read(jwk).map_err(|_| Reason::DpopKey)?;
    let meant = jwk.algorithm.is_none_or(|meant| meant == algorithm);
    if meant && jwk.key.fits(algorithm) { Ok(jwk.key) } else { Err(Reason::DpopAlgorithm) }
}

/// The claims of a proof.
struct Claims<'c> {
    jti: &'c str,
    method: &'c str,
    target: &'c str,
    token_hash: &'c str,
    issued: Timestamp,
    /// `exp` and `nbf`. RFC 9449 does not define them, but some clients send them.
    expires: Option<Timestamp>,
    not_before: Option<Timestamp>,
    nonce: Option<&'c str>,
}

impl<'c> Claims<'c> {
    fn read(claims: &'c Value) -> Result<Self, Reason> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(Reason::DpopClaim);
        // An unreadable time must not be ignored, because the client limited the proof with it.
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

    /// Checks that the proof is for this request with this token.
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

    /// Checks that the proof is recent, and within its own `exp` and `nbf` (RFC 7519, sections 4.1.4 and 4.1.5). Returns the time at
    /// which it expires.
    fn check_time(&self, rules: &Rules, now: Timestamp) -> Result<Timestamp, Reason> {
        let oldest = self.issued.plus(rules.max_age);
        let until = self.expires.map_or(oldest, |expires| expires.min(oldest));
        let latest = now.plus(rules.clock_ahead);
        let begins = self.not_before.map_or(self.issued, |not_before| not_before.max(self.issued));
        // A proof that expires before it becomes valid is never valid, regardless of the clock skew.
        if begins > latest || now >= until || begins >= until { Err(Reason::DpopTime) } else { Ok(until) }
    }
}
