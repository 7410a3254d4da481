//! Verification of a token.
//!
//! Cheap checks come first and the signature comes last, so no signature is verified for a token that another check rejects.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::audience::Audiences;
use super::cache::TokenCache;
use super::delegation::{self, Chain};
use super::fetched_keys::FetchedKeys;
use super::header::read_header;
use super::issuer::{Issuer, IssuerId, Issuers};
use super::jws::Jws;
use super::keys::Choice;
use super::tenant::Tenant;
use super::times::Times;
use super::verified::VerifiedToken;
use crate::identity::crypto::{
    Algorithm, BadSignature, KeyIdentity, Signer, Thumbprint, VerifySignature, VerifyingKey, sha256,
};
use crate::reason::Reason;
use crate::request::percent;
use crate::text::time::Timestamp;

/// A token with more bytes than this is considered large.
const LARGE: usize = 4 * 1024;

/// The reason why a token was rejected, and the issuer whose rules decided. There is no issuer if the token was rejected before its
/// issuer was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// The issuer whose rules decided.
    pub issuer: Option<IssuerId>,
    /// Whether a newer version of the issuer's fetched keys could verify the token. Everything else about the token was checked.
    pub awaits_keys: bool,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason.code())
    }
}

impl std::error::Error for Refusal {}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, issuer: None, awaits_keys: false }
    }
}

impl Issuers {
    /// Verifies an access token: the credential after the scheme.
    ///
    /// For a token that is in `cache`, only the times are checked again. The cache must only have been used with these issuers, and
    /// with these `fetched` keys: a token that was verified with a key that is not used any more must be
    /// [forgotten](TokenCache::forget).
    ///
    /// # Errors
    ///
    /// The first reason to reject the token. The checks are, in order: its form, header, issuer, type, key, audience, claims, times, and
    /// last its signature.
    pub fn verify(
        &self,
        token: &[u8],
        now: Timestamp,
        verifier: &dyn VerifySignature,
        cache: &mut TokenCache,
        fetched: &FetchedKeys,
    ) -> Result<Rc<VerifiedToken>, Refusal> {
        self.verify_for(None, token, now, verifier, cache, fetched)
    }

    /// Verifies an access token as [`verify`](Self::verify) does, for a resource with separate audiences. A policy with several
    /// resources gives the audiences for every request, because the cache may contain tokens for another resource.
    ///
    /// # Errors
    ///
    /// Same as [`verify`](Self::verify).
    pub fn verify_for(
        &self,
        audiences: Option<&Audiences>,
        token: &[u8],
        now: Timestamp,
        verifier: &dyn VerifySignature,
        cache: &mut TokenCache,
        fetched: &FetchedKeys,
    ) -> Result<Rc<VerifiedToken>, Refusal> {
        if let Some(known) = cache.get(token) {
            let timely = known.times.judge(now, self.skew);
            if timely == Err(Reason::TokenExpired) {
                cache.remove(token);
            }
            let issuer = known.issuer_id;
            let intended = audiences.map_or(Ok(()), |audiences| audiences.check(issuer, &known.claims));
            let judged = intended.and(timely).map(|()| known);
            return judged.map_err(|reason| Refusal { issuer: Some(issuer), ..reason.into() });
        }
        let verified = Rc::new(self.verify_unknown(audiences, token, now, verifier, fetched)?);
        cache.insert(token, Rc::clone(&verified));
        Ok(verified)
    }

    /// Checks the times of a token that was verified earlier.
    ///
    /// # Errors
    ///
    /// [`Reason::TokenExpired`], or another reason why the token is not valid at this time.
    pub(crate) fn check_times(&self, token: &VerifiedToken, now: Timestamp) -> Result<(), Reason> {
        token.times.judge(now, self.skew)
    }

    fn verify_unknown(
        &self,
        audiences: Option<&Audiences>,
        token: &[u8],
        now: Timestamp,
        verifier: &dyn VerifySignature,
        fetched: &FetchedKeys,
    ) -> Result<VerifiedToken, Refusal> {
        // A large token is parsed only if its signer is within the limits.
        if token.len() > LARGE {
            verifier.admit(&[Signer::of_token(token)]).map_err(|BadSignature| Reason::CredentialsLimited)?;
        }
        let jws = Jws::parse(token)?;
        let algorithm = read_header(&jws.header)?;
        let (id, issuer, tenant) = self.issuer_of(&jws.claims)?;
        self.verify_by(id, issuer, tenant, audiences, jws, algorithm, token, now, verifier, fetched)
            .map_err(|refusal| Refusal { issuer: Some(id), ..refusal })
    }

    /// Runs all checks that depend on the token's issuer.
    #[expect(clippy::too_many_arguments, reason = "each is a proof from a step before")]
    fn verify_by(
        &self,
        issuer_id: IssuerId,
        issuer: &Issuer,
        tenant: Option<Tenant>,
        audiences: Option<&Audiences>,
        jws: Jws<'_>,
        algorithm: Algorithm,
        token: &[u8],
        now: Timestamp,
        verifier: &dyn VerifySignature,
        fetched: &FetchedKeys,
    ) -> Result<VerifiedToken, Refusal> {
        issuer.check_header(&jws.header, algorithm)?;
        let (client, subject) = issuer.shape.names(&jws.claims);
        let of_tenant = tenant.as_ref().map(|tenant| &*tenant.name);
        let issued_to = Signer::Client { issuer: &issuer.name, tenant: of_tenant, client, subject };
        let signers = [Signer::of_token(token), issued_to];
        verifier.admit(&signers).map_err(|BadSignature| Reason::CredentialsLimited)?;
        let fetched = fetched.of(issuer_id);
        let chosen = issuer.keys.choose(jws.header.get("kid"), algorithm, of_tenant, fetched);
        let chosen = chosen.inspect_err(|reason| {
            if *reason == Reason::TokenKey {
                verifier.unknown_key();
            }
        })?;
        match audiences {
            None => issuer.audience.check(&jws.claims)?,
            Some(audiences) => audiences.check(issuer_id, &jws.claims)?,
        }
        let bearer = issuer.shape.read(&jws.claims)?;
        issuer.check_subject(&bearer)?;
        let times = Times::read(&jws.claims, issuer.svid.is_none())?;
        times.judge(now, self.skew)?;
        if times.exceed(issuer.max_lifetime, now, self.skew) {
            return Err(Reason::TokenLifetime.into());
        }
        let act = jws.claims.get(delegation::CLAIM);
        let chain = act.zip(self.max_actors).map(|(act, most)| {
            let iss = jws.claims.get("iss").and_then(Value::as_str).unwrap_or_default();
            Chain::read(act, iss, bearer.subject.as_deref(), most).map(Box::new)
        });
        let (is_delegated, chain) = (act.is_some(), chain.transpose()?);
        let Bindings { key: bound_to, certificate: certificate_bound_to } =
            read_binding(&jws.claims, self.accepts_certificate_bindings)?;
        let fetched_key = verify_with(&chosen, |key| verifier.verify(key, algorithm, jws.signed, &jws.signature))?;
        let kids = issuer.keys.names(&chosen, fetched_key.as_deref(), jws.header.get("kid"), fetched);
        let signed_sha256 = sha256(jws.signed);
        let mut texts = bearer.scopes.iter().chain(&bearer.client).chain(&bearer.subject);
        let is_plain = texts.all(|text| crate::request::shown::is_shown_as_is(text))
            && chain.as_ref().is_none_or(|chain| chain.is_plain());
        Ok(VerifiedToken {
            issuer_id,
            issuer_name: Arc::clone(&issuer.name),
            iss: match (&tenant, &issuer.iss) {
                (None, Some(iss)) => Arc::clone(iss),
                _ => jws.claims.get("iss").and_then(Value::as_str).unwrap_or_default().into(),
            },
            tenant,
            implied: self.implied.of(bearer.scopes.iter().map(String::as_str)),
            scope_line: bearer.scopes.iter().map(|scope| percent::encode(scope)).collect::<Vec<_>>().join(" "),
            bearer,
            claims: jws.claims,
            times,
            bound_to,
            is_svid: issuer.svid.is_some(),
            is_delegated,
            chain,
            certificate_bound_to,
            fetched_key,
            kids,
            sha256: sha256(token),
            signed_sha256,
            // The hash excludes the signature: an ECDSA signature has a second valid form, which would give a revoked token another hash.
            hash: shown_hash(&signed_sha256),
            is_plain,
            noted: Cell::new(None),
            marks: OnceCell::new(),
        })
    }
}

/// Verifies a signature with the chosen keys. Returns the key that verified it, if it was fetched.
fn verify_with(
    chosen: &Choice<'_>,
    verify: impl Fn(&VerifyingKey) -> Result<(), BadSignature>,
) -> Result<Option<Arc<KeyIdentity>>, Refusal> {
    let awaited = |reason: Reason| Refusal { awaits_keys: true, ..reason.into() };
    let signature = |BadSignature| Refusal::from(Reason::TokenSignature);
    match chosen {
        Choice::Key(key) => verify(key).map(|()| None).map_err(signature),
        Choice::Fetched(key) => verify(&key.key).map(|()| Some(Arc::clone(&key.identity))).map_err(signature),
        Choice::AnyOf(keys) => {
            let signed_by = keys.iter().find(|key| verify(&key.key).is_ok());
            // The token names no key, so the issuer may have signed it with a new one.
            signed_by.map(|key| Some(Arc::clone(&key.identity))).ok_or_else(|| awaited(Reason::TokenSignature))
        }
        Choice::Awaited(reason) => Err(awaited(*reason)),
    }
}

/// What a token is bound to. Its sender must show all of it.
#[derive(Default)]
struct Bindings {
    /// The thumbprint of a key (RFC 9449, section 6.1).
    key: Option<Thumbprint>,
    /// SHA-256 of a certificate (RFC 8705, section 3.1).
    certificate: Option<[u8; 32]>,
}

/// Reads what a token is bound to. Any other content of `cnf` (RFC 7800), including `null`, is rejected: the issuer requires a proof that
/// Callgate cannot verify.
fn read_binding(claims: &Value, accepts_certificates: bool) -> Result<Bindings, Reason> {
    let mut bindings = Bindings::default();
    let Some(cnf) = claims.get("cnf") else { return Ok(bindings) };
    let members = cnf.as_object().filter(|members| !members.is_empty()).ok_or(Reason::TokenBound)?;
    for (name, value) in members {
        let bytes = value.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let hash: [u8; 32] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(Reason::TokenBound)?;
        match name.as_str() {
            "jkt" => bindings.key = Some(Thumbprint(hash)),
            "x5t#S256" if accepts_certificates => bindings.certificate = Some(hash),
            _ => return Err(Reason::TokenBound),
        }
    }
    Ok(bindings)
}

/// Returns the hash that identifies a token in compact form in records, or `None` for other text.
#[must_use]
pub fn token_hash(token: &[u8]) -> Option<String> {
    Jws::parse(token).ok().map(|jws| shown_hash(&sha256(jws.signed)))
}

fn shown_hash(hash: &[u8; 32]) -> String {
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
