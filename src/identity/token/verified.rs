//! The facts that a valid token proves.

use std::cell::{Cell, OnceCell};
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::claim::ClaimName;
use super::delegation::Chain;
use super::issuer::IssuerId;
use super::shape::Bearer;
use super::tenant::Tenant;
use super::times::Times;
use crate::identity::crypto::{KeyIdentity, Signer, Thumbprint};
use crate::identity::revocation::{Kind, Mark};
use crate::request::incoming::Source;
use crate::text::ascii::bytes_eq;
use crate::text::time::Timestamp;

/// A token that was valid when it was verified: signed by an issuer of the policy, with the right shape, for this audience. If the token
/// is [bound to a key](Self::bound_to) or to a certificate, a separate check decides whether its sender may use it.
///
/// Only [`Issuers::verify`](super::Issuers::verify) creates one.
#[derive(Debug)]
pub struct VerifiedToken {
    pub(super) issuer_id: IssuerId,
    pub(super) issuer_name: Arc<str>,
    pub(super) iss: Arc<str>,
    pub(super) tenant: Option<Tenant>,
    pub(super) bearer: Bearer,
    /// The scopes that its scopes include and that it does not have itself.
    pub(super) implied: Vec<String>,
    /// Its scopes as the upstream receives them with each request.
    pub(super) scope_line: String,
    pub(super) claims: Value,
    pub(super) times: Times,
    pub(super) bound_to: Option<Thumbprint>,
    /// Whether the token is a JWT-SVID, so its subject is a SPIFFE ID of its issuer's trust domain.
    pub(super) is_svid: bool,
    /// Whether it has an actor, regardless of its form.
    pub(super) is_delegated: bool,
    /// Its actors, if it has some and the policy accepts delegation.
    pub(super) chain: Option<Box<Chain>>,
    pub(super) certificate_bound_to: Option<[u8; 32]>,
    /// The key that verified it, if the issuer's keys are fetched.
    pub(super) fetched_key: Option<Arc<KeyIdentity>>,
    /// The names of the key that verified it. The first one is the token's `kid`, if it has one.
    pub(super) kids: Vec<String>,
    pub(super) sha256: [u8; 32],
    /// SHA-256 of its `header.payload`.
    pub(super) signed_sha256: [u8; 32],
    pub(super) hash: String,
    /// Whether client, subject and scopes need no escaping in records.
    pub(super) is_plain: bool,
    /// When its signer was last noted as one with valid credentials, and from which source.
    pub(super) noted: Cell<Option<(Option<Source>, Timestamp)>>,
    /// What entries of lists of revoked credentials can name of it. Computed when it is first needed.
    pub(super) marks: OnceCell<Box<[(Kind, Mark)]>>,
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

    /// Returns the claim `iss`. Only a JWT-SVID may lack it; it is empty then.
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
    #[inline]
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

    /// Returns the SPIFFE ID of a JWT-SVID, which belongs to the trust domain of its issuer. `None` for other tokens, regardless of
    /// their subject.
    pub(crate) fn spiffe_id(&self) -> Option<&str> {
        self.subject().filter(|_| self.is_svid)
    }

    /// Returns when the token was issued. Only a JWT-SVID may lack the claim.
    pub(crate) fn issued_at(&self) -> Option<Timestamp> {
        self.times.issued
    }

    /// Returns when the token expires, without the allowed clock skew.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.times.expires
    }

    /// Returns the key that the sender of this token must hold (RFC 9449, section 6.1), or `None` if it is bound to no key.
    #[must_use]
    pub fn bound_to(&self) -> Option<Thumbprint> {
        self.bound_to
    }

    /// Returns whether the token has an actor (`act`): somebody else than its subject sends it. Without `delegation` in the policy, the
    /// actor is not parsed.
    pub(crate) fn is_delegated(&self) -> bool {
        self.is_delegated
    }

    /// Returns the actors of the token, or `None` if it has none. Without `delegation` in the policy, it is `None` for every token.
    #[must_use]
    pub fn chain(&self) -> Option<&Chain> {
        self.chain.as_deref()
    }

    /// Returns SHA-256 of the certificate that the sender of this token must present (RFC 8705, section 3.1), or `None` if it is not
    /// bound to a certificate.
    pub(crate) fn certificate_bound_to(&self) -> Option<&[u8; 32]> {
        self.certificate_bound_to.as_ref()
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
            .chain(&self.kids)
            .chain([&self.hash, &self.scope_line]);
        // A token with a tenant has its own `iss`, and so may a JWT-SVID.
        let of_tenant = self.tenant.as_ref().map_or(0, |tenant| tenant.name.len());
        let own_iss = if self.is_svid || self.tenant.is_some() { self.iss.len() } else { 0 };
        size_of::<Self>()
            + of_tenant
            + own_iss
            + self.chain.as_ref().map_or(0, |chain| chain.memory())
            + self.marks_memory()
            + texts.map(|text| size_of::<String>() + text.capacity()).sum::<usize>()
            + memory_of(&self.claims)
    }
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
