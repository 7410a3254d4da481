//! The identities by which limits count requests.

use super::Limit;
use crate::allowlist::operations::Operation;
use crate::identity::crypto::Signer;
use crate::identity::token::VerifiedToken;
use crate::request::incoming::Source;
use crate::state::{BucketKey, Identity, Namespace};
use crate::text::hash::{hash_of, spread};

/// The parts of a limit's key. Each combination of their values is counted separately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LimitKey {
    pub(crate) agent: bool,
    pub(crate) issuer: bool,
    pub(crate) source: bool,
    pub(crate) endpoint: bool,
    /// The operation of an endpoint.
    pub(crate) tool: bool,
    /// The signer that a credential names. Only the limit on failed credentials uses it.
    pub(crate) signer: bool,
}

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
        who: LimitSubject<'_>,
        operation: Option<&Operation>,
        namespace: &Namespace,
    ) -> Option<BucketKey> {
        let LimitKey { agent, issuer, source, endpoint, tool, signer } = self.per;
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
        if source {
            identity = self::source(identity, who.source);
        }
        if endpoint && !(entry.is_some() && agent) {
            identity = identity.text("endpoint").text(who.endpoint);
        }
        if tool && !(entry.is_some() && agent) {
            identity =
                identity.text("tool").text(who.endpoint).optional(operation.map(|operation| operation.kind.name()));
            identity = identity.optional(operation.map(|operation| &*operation.name));
        }
        if signer {
            identity = self::signer(identity, who.signer?);
        }
        let named = self.per.is_named(who);
        Some(if named { namespace.own(identity, entry.unwrap_or_default()) } else { namespace.slot(identity) })
    }

    /// Returns the value that distinguishes the limit's entry from those of other limits under the same key, or `None` if it has
    /// its own key.
    pub(super) fn entry(&self, who: LimitSubject<'_>, operation: Option<&Operation>) -> Option<u64> {
        let name = self.name_hash.filter(|_| self.per.is_named(who))?;
        // An agent's limits for all endpoints are entries of one value, the same as that of its limits over all endpoints.
        let is_of_endpoint = self.per.agent && (self.per.endpoint || self.per.tool);
        let entry = if is_of_endpoint { spread(name ^ hash_of(who.endpoint)) } else { name };
        let operation = operation.filter(|_| self.per.agent && self.per.tool);
        Some(operation.map_or(entry, |operation| spread(entry ^ number(operation))))
    }

    /// Reports whether two limits with an entry store it under the same key.
    pub(super) fn same_slot(&self, other: &Self) -> bool {
        let holder =
            |per: LimitKey| LimitKey { endpoint: per.endpoint && !per.agent, tool: per.tool && !per.agent, ..per };
        holder(self.per) == holder(other.per)
    }
}

impl LimitKey {
    /// Reports whether the policy names every part of the key.
    fn is_named(self, who: LimitSubject<'_>) -> bool {
        let registered = || who.caller.is_some_and(|caller| caller.agent.is_some() && !caller.is_class);
        // An agent has one tenant. Other tenants may be as many as their issuer has customers.
        let tenant_is_named =
            || who.caller.and_then(|caller| caller.token).is_none_or(VerifiedToken::is_of_named_issuer);
        !self.source && (!self.agent || registered()) && (!self.issuer || self.agent || tenant_is_named())
    }
}

/// Adds the tenant to an identity. Without a tenant the identity stays the same.
fn tenant(identity: Identity, tenant: Option<&str>) -> Identity {
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
