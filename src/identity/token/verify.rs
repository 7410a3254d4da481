//! Verification of a token, and the facts that a valid token proves.
//!
//! Cheap checks come first and the signature comes last, so no signature is verified for a token that another check rejects.

use std::cell::Cell;
use std::mem::size_of;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::audience::Audiences;
use super::cache::TokenCache;
use super::claim::ClaimName;
use super::fetched::FetchedKeys;
use super::header::read_header;
use super::issuer::{Issuer, IssuerId, Issuers};
use super::jws::Jws;
use super::keys::Choice;
use super::shape::Bearer;
use super::tenant::Tenant;
use super::times::Times;
use crate::identity::crypto::{
    Algorithm, BadSignature, KeyIdentity, Signer, Thumbprint, VerifySignature, VerifyingKey, sha256,
};
use crate::reason::Reason;
use crate::request::incoming::Source;
use crate::request::percent;
use crate::text::ascii::bytes_eq;
use crate::text::time::Timestamp;

/// A token with more bytes than this is considered large.
const LARGE: usize = 4 * 1024;

/// A token that was valid when it was verified: signed by an issuer of the policy, with the right shape, for this audience. If the token
/// is [bound to a key](Self::bound_to), a separate check decides whether its sender may use it.
///
/// Only [`Issuers::verify`] creates one.
#[derive(Debug)]
pub struct VerifiedToken {
    issuer_id: IssuerId,
    issuer_name: Arc<str>,
    iss: Arc<str>,
    tenant: Option<Tenant>,
    bearer: Bearer,
    /// The scopes that its scopes include and that it does not have itself.
    pub(super) implied: Vec<String>,
    /// Its scopes as the upstream receives them with each request.
    scope_line: String,
    claims: Value,
    times: Times,
    bound_to: Option<Thumbprint>,
    /// The key that verified it, if the issuer's keys are fetched.
    fetched_key: Option<Arc<KeyIdentity>>,
    sha256: [u8; 32],
    hash: String,
    /// Whether client, subject and scopes need no escaping in records.
    is_plain: bool,
    /// When its signer was last noted as one with valid credentials, and from which source.
    noted: Cell<Option<(Option<Source>, Timestamp)>>,
}

impl VerifiedToken {
    /// Returns the issuer in the policy.
    #[must_use]
    pub fn issuer_id(&self) -> IssuerId {
        self.issuer_id
    }

    /// Returns the policy's name of the issuer.
    #[must_use]
    pub fn issuer_name(&self) -> &str {
        &self.issuer_name
    }

    /// Returns the claim `iss`.
    #[must_use]
    pub fn iss(&self) -> &str {
        &self.iss
    }

    /// Returns the tenant, if the issuer has tenants. It is a part of the identity: clients of two tenants may have the same name.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_ref().map(|tenant| &*tenant.name)
    }

    /// Returns whether the policy names the issuer of the token, and its tenant if it has one.
    pub(crate) fn is_of_named_issuer(&self) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| tenant.is_listed)
    }

    /// Returns the client, from the claim that the issuer's rules specify.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.bearer.client.as_deref()
    }

    /// Returns the claim `sub`. Two clients, or a client and a user, may have the same value, so it does not identify anyone alone.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.bearer.subject.as_deref()
    }

    /// Returns the token's scopes, sorted and without duplicates.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.bearer.scopes
    }

    /// Returns its scopes as the upstream receives them.
    pub(crate) fn scope_line(&self) -> &str {
        &self.scope_line
    }

    /// Returns whether the token has exactly this scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        // A linear search is faster for few scopes: ordering compares byte by byte in Wasm.
        const FEW: usize = 16;
        let scopes = &self.bearer.scopes;
        if scopes.len() <= FEW {
            return scopes.iter().any(|held| bytes_eq(held.as_bytes(), scope.as_bytes()));
        }
        scopes.binary_search_by(|held| held.as_str().cmp(scope)).is_ok()
    }

    /// Returns whether client, subject and scopes need no escaping in records. This is computed once per token, not for each request.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Returns all claims: a JSON object.
    #[must_use]
    pub fn claims(&self) -> &Value {
        &self.claims
    }

    /// Returns the value of a claim, or `None` if it is absent or `null`.
    #[must_use]
    pub fn claim(&self, name: &ClaimName) -> Option<&Value> {
        name.find(&self.claims)
    }

    /// Returns when the token expires, without the allowed clock skew.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.times.expires
    }

    /// Returns the key that the sender of this token must hold (RFC 9449, section 6.1), or `None` for a bearer token.
    #[must_use]
    pub fn bound_to(&self) -> Option<Thumbprint> {
        self.bound_to
    }

    /// Returns SHA-256 of all bytes of the token.
    pub(crate) fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Returns the token's name in records: the first 16 hexadecimal digits of SHA-256 of its `header.payload`. They are enough to find
    /// its uses, and the token cannot be derived from them.
    #[must_use]
    pub fn token_hash(&self) -> &str {
        &self.hash
    }

    /// Returns the key that verified it, if the issuer's keys are fetched.
    pub(crate) fn fetched_key(&self) -> Option<&KeyIdentity> {
        self.fetched_key.as_deref()
    }

    /// Returns the client and subject that it was issued to.
    pub(crate) fn signer(&self) -> Signer<'_> {
        Signer::Client {
            issuer: self.issuer_name(),
            tenant: self.tenant(),
            client: self.client(),
            subject: self.subject(),
        }
    }

    /// Returns whether its signer must be noted again as one with valid credentials, which is the case for a new source and after five
    /// minutes. If so, the signer counts as noted from this time.
    pub(crate) fn is_to_be_noted(&self, source: Option<Source>, now: Timestamp) -> bool {
        const WHILE: Duration = Duration::from_mins(5);
        let lately = |last: Timestamp| now >= last && now < last.plus(WHILE);
        let noted = self.noted.get().is_some_and(|(from, last)| from == source && lately(last));
        if !noted {
            self.noted.set(Some((source, now)));
        }
        !noted
    }

    /// Returns an upper estimate of its memory use.
    pub(super) fn memory(&self) -> usize {
        let texts = self
            .bearer
            .scopes
            .iter()
            .chain(&self.implied)
            .chain(&self.bearer.client)
            .chain(&self.bearer.subject)
            .chain([&self.hash, &self.scope_line]);
        // A token with a tenant has its own `iss`.
        let of_tenant = self.tenant.as_ref().map_or(0, |tenant| tenant.name.len() + self.iss.len());
        size_of::<Self>()
            + of_tenant
            + texts.map(|text| size_of::<String>() + text.capacity()).sum::<usize>()
            + memory_of(&self.claims)
    }
}

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

    /// Verifies an access token as [`verify`](Self::verify) does, for a resource with audiences of its own. A policy with several
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
        let times = Times::read(&jws.claims)?;
        times.judge(now, self.skew)?;
        if times.lifetime() > issuer.max_lifetime {
            return Err(Reason::TokenLifetime.into());
        }
        let bound_to = read_binding(&jws.claims)?;
        let fetched_key = verify_with(&chosen, |key| verifier.verify(key, algorithm, jws.signed, &jws.signature))?;
        let mut texts = bearer.scopes.iter().chain(&bearer.client).chain(&bearer.subject);
        let is_plain = texts.all(|text| crate::request::shown::is_shown_as_is(text));
        Ok(VerifiedToken {
            issuer_id,
            issuer_name: Arc::clone(&issuer.name),
            iss: match tenant {
                None => Arc::clone(&issuer.iss),
                Some(_) => jws.claims.get("iss").and_then(Value::as_str).unwrap_or_default().into(),
            },
            tenant,
            implied: self.implied.of(bearer.scopes.iter().map(String::as_str)),
            scope_line: bearer.scopes.iter().map(|scope| percent::encode(scope)).collect::<Vec<_>>().join(" "),
            bearer,
            claims: jws.claims,
            times,
            bound_to,
            fetched_key,
            sha256: sha256(token),
            // The hash excludes the signature: an ECDSA signature has a second valid form, which would give a revoked token another hash.
            hash: hash_of_signed(jws.signed),
            is_plain,
            noted: Cell::new(None),
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

/// Reads the key that a token is bound to. Any other content of `cnf` (RFC 7800), including `null`, is rejected: the issuer requires a
/// proof that Callgate cannot verify.
fn read_binding(claims: &Value) -> Result<Option<Thumbprint>, Reason> {
    let Some(cnf) = claims.get("cnf") else { return Ok(None) };
    let only = cnf.as_object().filter(|members| members.len() == 1).and_then(|members| members.get("jkt"));
    let bytes = only.and_then(Value::as_str).and_then(|jkt| URL_SAFE_NO_PAD.decode(jkt).ok());
    let thumbprint = bytes.and_then(|bytes| bytes.try_into().ok()).map(Thumbprint);
    thumbprint.map(Some).ok_or(Reason::TokenBound)
}

/// Returns the hash that identifies a token in compact form in records, or `None` for other text.
#[must_use]
pub fn token_hash(token: &[u8]) -> Option<String> {
    Jws::parse(token).ok().map(|jws| hash_of_signed(jws.signed))
}

fn hash_of_signed(signed: &[u8]) -> String {
    sha256(signed).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns an upper estimate of the memory that a value uses outside itself.
fn memory_of(value: &Value) -> usize {
    // A tree node has room for eleven members and, except for the root, holds at least five. The rest is overhead of the node.
    const NODE: usize = 12 * (size_of::<String>() + size_of::<Value>()) + 128;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(items) => items.capacity() * size_of::<Value>() + items.iter().map(memory_of).sum::<usize>(),
        Value::Object(members) if members.is_empty() => 0,
        Value::Object(members) => {
            let own = members.iter().map(|(name, value)| name.capacity() + memory_of(value)).sum::<usize>();
            (members.len() / 5 + 1) * NODE + own
        }
    }
}
