//! The identities by which limits count requests.

use super::Limit;
use crate::allowlist::operations::Operation;
use crate::identity::crypto::Signer;
use crate::identity::token::VerifiedToken;
use crate::request::incoming::Source;
use crate::state::{BucketKey, Identity, Namespace};
use crate::text::hash::{hash_of, spread};

/// The parts of a limit's key. Each combination of their values is counted separately.
///
/// The parts are bits of one byte, because keys are compared for every limit of every request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LimitKey(u8);

/// An authenticated caller, identified for limits by its registration, its token, or both.
#[derive(Clone, Copy)]
pub(crate) struct Identified<'w> {
    /// The registered agent: its name, and its position in the policy's list.
    pub(crate) agent: Option<(&'w str, u32)>,
    /// Whether the registration describes many clients or workloads, which are counted separately.
    pub(crate) is_class: bool,
    /// The SPIFFE ID of the caller's token or certificate.
    pub(crate) workload: Option<&'w str>,
    pub(crate) token: Option<&'w VerifiedToken>,
}

/// The known properties of a request when its limits are charged.
#[derive(Clone, Copy)]
pub(crate) struct LimitSubject<'w> {
    pub(crate) caller: Option<Identified<'w>>,
    pub(crate) source: Option<Source>,
    pub(crate) endpoint: &'w str,
    pub(crate) signer: Option<Signer<'w>>,
}

/// Returns a number that distinguishes an operation from the others of its endpoint.
fn number(operation: &Operation) -> u64 {
    spread(hash_of(operation.kind.name())) ^ hash_of(&operation.name)
}

impl Limit {
    /// Returns the bucket of the limit's state for this request, or `None` if a part of its key is unknown. `entry` is the result
    /// of [`Limit::entry`].
    ///
    /// Keys consist of names and never of positions, so a changed policy keeps its state. An identity that the policy names has
    /// its own key for all its limits. All other identities share a table of fixed size.
    ///
    /// `operation` is the operation that the request uses. Requests without one count together.
    pub(crate) fn place(
        &self,
        entry: Option<u64>,
        who: &LimitSubject<'_>,
        operation: Option<&Operation>,
        namespace: &Namespace,
    ) -> Option<BucketKey> {
        let per = self.per;
        let (agent, issuer) = (per.has(LimitKey::AGENT), per.has(LimitKey::ISSUER));
        if let (Some(entry), Some(agent)) = (entry, who.caller.and_then(|caller| caller.agent.filter(|_| agent)))
            && !issuer
        {
            let (name, position) = agent;
            let identity = || namespace.identity("limits").text("agent").text(name);
            return Some(namespace.known(position, identity).beside(0, entry));
        }
        let mut identity = match entry {
            Some(_) => namespace.identity("limits"),
            None => namespace.identity("limit").text(&self.name),
        };
        if agent {
            let caller = who.caller?;
            identity = match caller.agent {
                Some((name, _)) if caller.is_class => {
                    let identity = identity.text("class").text(name);
                    match (caller.workload, caller.token) {
                        (Some(id), _) => identity.text("workload").text(id),
                        (None, token) => {
                            let token = token?;
                            tenant(identity.optional(token.client()), token.tenant())
                        }
                    }
                }
                Some((name, _)) => identity.text("agent").text(name),
                None => {
                    let token = caller.token?;
                    let identity = identity.text("unregistered").text(token.issuer_name());
                    tenant(identity.optional(token.client()).optional(token.subject()), token.tenant())
                }
            };
        }
        if issuer {
            let token = who.caller?.token;
            identity = identity.text("issuer").optional(token.map(VerifiedToken::issuer_name));
            identity = tenant(identity, token.and_then(VerifiedToken::tenant));
        }
        if per.has(LimitKey::SOURCE) {
            identity = source(identity, who.source);
        }
        if per.has(LimitKey::ENDPOINT) && !(entry.is_some() && agent) {
            identity = identity.text("endpoint").text(who.endpoint);
        }
        if per.has(LimitKey::TOOL) && !(entry.is_some() && agent) {
            identity =
                identity.text("tool").text(who.endpoint).optional(operation.map(|operation| operation.kind.name()));
            identity = identity.optional(operation.map(|operation| &*operation.name));
        }
        if per.has(LimitKey::SIGNER) {
            identity = signer(identity, who.signer?);
        }
        if let Some(varied) = &self.varied {
            identity = varied.identify(identity, who);
        }
        let named = per.is_named(who);
        Some(if named { namespace.own(identity, entry.unwrap_or_default()) } else { namespace.slot(identity) })
    }

    /// Returns the value that distinguishes the limit's entry from those of other limits under the same key, or `None` if it has
    /// its own key.
    pub(super) fn entry(&self, who: &LimitSubject<'_>, operation: Option<&Operation>) -> Option<u64> {
        let name = self.name_hash.filter(|_| self.per.is_named(who))?;
        // An agent's limits for all endpoints are entries of one value, the same as that of its limits over all endpoints.
        let agent = self.per.has(LimitKey::AGENT);
        let is_of_endpoint = agent && self.per.has(LimitKey::ENDPOINT.with(LimitKey::TOOL));
        let entry = if is_of_endpoint { spread(name ^ hash_of(who.endpoint)) } else { name };
        let operation = operation.filter(|_| agent && self.per.has(LimitKey::TOOL));
        Some(operation.map_or(entry, |operation| spread(entry ^ number(operation))))
    }

    /// Reports whether two limits with an entry store it under the same key.
    pub(super) fn same_slot(&self, other: &Self) -> bool {
        self.per == other.per || self.per.holder() == other.per.holder()
    }
}

impl LimitKey {
    pub(crate) const AGENT: Self = Self(1);
    pub(crate) const ISSUER: Self = Self(1 << 1);
    pub(crate) const SOURCE: Self = Self(1 << 2);
    pub(crate) const ENDPOINT: Self = Self(1 << 3);
    /// The operation of an endpoint.
    pub(crate) const TOOL: Self = Self(1 << 4);
    /// The signer that a credential names. Only the limit on failed credentials uses it.
    pub(crate) const SIGNER: Self = Self(1 << 5);
    /// Claims of the token. Clients may choose them.
    pub(crate) const CLAIM: Self = Self(1 << 6);
    /// Attributes of the agent.
    pub(crate) const ATTRIBUTE: Self = Self(1 << 7);

    /// Returns a key with the parts of both.
    #[must_use]
    pub(crate) const fn with(self, parts: Self) -> Self {
        Self(self.0 | parts.0)
    }

    /// Returns a key without these parts.
    #[must_use]
    pub(crate) const fn without(self, parts: Self) -> Self {
        Self(self.0 & !parts.0)
    }

    /// Reports whether the key has at least one of these parts.
    pub(crate) const fn has(self, parts: Self) -> bool {
        self.0 & parts.0 != 0
    }

    /// Returns the parts that select the key of the state. An agent's limits per endpoint and operation are entries under its own key.
    const fn holder(self) -> Self {
        if self.has(Self::AGENT) { self.without(Self::ENDPOINT.with(Self::TOOL)) } else { self }
    }

    /// Reports whether the policy names every part of the key.
    fn is_named(self, who: &LimitSubject<'_>) -> bool {
        let registered = || who.caller.is_some_and(|caller| caller.agent.is_some() && !caller.is_class);
        // An agent has one tenant. Other tenants may be as many as their issuer has customers.
        let tenant_is_named =
            || who.caller.and_then(|caller| caller.token).is_none_or(VerifiedToken::is_of_named_issuer);
        let agent = self.has(Self::AGENT);
        !self.has(Self::SOURCE.with(Self::CLAIM))
            && (!agent || registered())
            && (!self.has(Self::ISSUER) || agent || tenant_is_named())
    }
}

/// Adds the tenant to an identity. Without a tenant the identity stays the same.
pub(super) fn tenant(identity: Identity, tenant: Option<&str>) -> Identity {
    match tenant {
        Some(tenant) => identity.text("tenant").text(tenant),
        None => identity,
    }
}

/// Adds a source address to an identity. All requests without an address count as one source.
pub(super) fn source(identity: Identity, source: Option<Source>) -> Identity {
    let identity = identity.text("source");
    match source {
        Some(source) => identity.bytes(&source.network()),
        None => identity.optional(None),
    }
}

/// Adds a signer to an identity.
pub(super) fn signer(identity: Identity, signer: Signer<'_>) -> Identity {
    match signer {
        Signer::Token(signature) => identity.text("token").bytes(signature),
        Signer::Client { issuer, tenant, client, subject } => {
            self::tenant(identity.text("client").text(issuer).optional(client).optional(subject), tenant)
        }
        Signer::Key(keyid) => identity.text("key").text(keyid),
        Signer::Proof(key) => identity.text("proof").bytes(&key.0),
        Signer::ApiKey(hash) => identity.text("API key").bytes(hash),
    }
}
