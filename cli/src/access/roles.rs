//! How an agent can identify itself at an endpoint: with which kinds of credentials, for itself or for somebody else.

use callgate::document::{Agent, Authenticate, DelegationAsked, Document, Identity, Issuer, Revoked};
use callgate::policy::Endpoint;

use super::agents::is_over;

/// The kinds of credentials that an agent can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// A token without an actor.
    token: bool,
    /// A token in which the agent is the current actor.
    actor: bool,
    /// Scopes in such a token. Those of the agent's entry do not count for it.
    actor_scopes: bool,
    certificate: bool,
    api_key: bool,
    /// A key for request signatures.
    pub(super) signing_key: bool,
}

/// Whether an agent can send requests for itself, and for somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Roles {
    own: bool,
    delegated: bool,
}

impl Held {
    /// What a client has that is no registered agent. An unregistered actor is never accepted.
    pub(super) const UNREGISTERED: Self =
        Self { token: true, actor: false, actor_scopes: false, certificate: false, api_key: false, signing_key: false };

    /// Returns what an agent can have at this time, in seconds since 1970.
    pub(super) fn of(document: &Document, name: &str, agent: &Agent, time: u64) -> Self {
        let identity = agent.identity.as_ref();
        let is_actor = |identity: &Identity| {
            let closed = identity.actor.as_ref().is_none_or(|actor| is_closed(document, &actor.issuer, identity, time));
            let revoked =
                document.revoked.iter().any(|entry| entry.actor.as_deref() == Some(name) && applies(entry, time));
            !closed && !revoked && may_act(document, name)
        };
        let actor_scopes = |identity: &Identity| {
            let issuer = identity.actor.as_ref().and_then(|actor| document.issuers.get(&actor.issuer));
            issuer.is_some_and(Issuer::grants_scopes)
        };
        Self {
            token: identity.is_some_and(|identity| has_token(document, identity, time)),
            actor: identity.is_some_and(is_actor),
            actor_scopes: identity.is_some_and(actor_scopes),
            certificate: identity.is_some_and(|identity| has_certificate(document, identity)),
            api_key: agent.api_keys.is_some(),
            signing_key: agent.signing_keys.is_some(),
        }
    }

    /// Returns in which roles the agent can use an endpoint.
    pub(super) fn roles(self, endpoint: &Endpoint, asked: DelegationAsked) -> Roles {
        let has = |kind: &Authenticate| match kind {
            Authenticate::Token => self.token,
            Authenticate::Signature | Authenticate::WebBotAuth => self.signing_key,
            Authenticate::ApiKey => self.api_key,
            Authenticate::Certificate => self.certificate,
        };
        let kinds = endpoint.accepted_credentials();
        let all = Roles { own: kinds.iter().any(has), delegated: self.actor && kinds.contains(&Authenticate::Token) };
        self.with_scopes(all.limited_to(asked), &endpoint.required_scopes())
    }

    /// Returns the roles that remain where these scopes are required: all of the first, and one of each list.
    pub(super) fn with_scopes(self, roles: Roles, (all, any): &(Vec<&str>, Vec<Vec<&str>>)) -> Roles {
        let is_met = self.actor_scopes || (all.is_empty() && any.is_empty());
        Roles { delegated: roles.delegated && is_met, ..roles }
    }
}

impl Roles {
    /// Returns the roles that remain where this is asked of requests.
    pub(super) fn limited_to(self, asked: DelegationAsked) -> Self {
        Self {
            own: self.own && asked != DelegationAsked::Required,
            delegated: self.delegated && asked != DelegationAsked::None,
        }
    }

    /// Reports whether the agent can send no request.
    pub(super) fn is_none(self) -> bool {
        !self.own && !self.delegated
    }
}

/// Reports whether some token that the policy accepts can name an identity as its client, subject or workload.
fn has_token(document: &Document, identity: &Identity, time: u64) -> bool {
    let is_described = identity.client_id.is_some() || identity.subject.is_some() || !identity.claims.is_empty();
    let by_issuer = identity.issuer.as_deref().filter(|_| is_described);
    let trust_domain = trust_domain(identity);
    let of_workloads = document.issuers.iter().filter(|(_, issuer)| {
        trust_domain.is_some_and(|trust_domain| issuer.trust_domain.as_deref() == Some(trust_domain))
    });
    by_issuer.into_iter().chain(of_workloads.map(|(name, _)| name.as_str())).any(|issuer| {
        let is_revoked = |entry: &Revoked| {
            let names = |own: &Option<String>, entry: &Option<String>| entry.is_some() && own == entry;
            entry.issuer.as_deref() == Some(issuer)
                && is_of_tenant(entry, identity)
                && (names(&identity.client_id, &entry.client) || names(&identity.subject, &entry.subject))
                && applies(entry, time)
        };
        !is_closed(document, issuer, identity, time) && !document.revoked.iter().any(is_revoked)
    })
}

/// Reports whether the gateway can accept a certificate with a name of an identity.
fn has_certificate(document: &Document, identity: &Identity) -> bool {
    let Some(tls) = &document.tls else { return false };
    let is_trusted = |domain: &str| tls.trust_domains.iter().any(|own| own == domain);
    identity.certificate.is_some() || trust_domain(identity).is_some_and(is_trusted)
}

/// Returns the trust domain of the SPIFFE ID of an identity.
fn trust_domain(identity: &Identity) -> Option<&str> {
    identity.spiffe.as_deref()?.strip_prefix("spiffe://")?.split('/').next()
}

/// Reports whether the policy rejects all tokens of an issuer, or of the identity's tenant.
fn is_closed(document: &Document, issuer: &str, identity: &Identity, time: u64) -> bool {
    let names_issuer = |entry: &Revoked| {
        let others = [&entry.jti, &entry.subject, &entry.client, &entry.kid];
        entry.issuer.as_deref() == Some(issuer)
            && others.into_iter().all(Option::is_none)
            && is_of_tenant(entry, identity)
    };
    document.issuers.get(issuer).is_none_or(|own| own.suspended)
        || document.revoked.iter().any(|entry| names_issuer(entry) && applies(entry, time))
}

fn is_of_tenant(entry: &Revoked, identity: &Identity) -> bool {
    entry.tenant.is_none() || entry.tenant == identity.tenant
}

/// Reports whether an entry revokes what it names, whenever that was issued.
pub(super) fn applies(entry: &Revoked, time: u64) -> bool {
    entry.issued_before.is_none() && entry.until.as_deref().is_none_or(|until| !is_over(until, time))
}

/// Reports whether the policy accepts an agent as the current actor.
fn may_act(document: &Document, name: &str) -> bool {
    let Some(delegation) = &document.delegation else { return false };
    let is_member = |listed: &String| {
        listed == name || document.groups.get(listed).is_some_and(|members| members.iter().any(|own| own == name))
    };
    delegation.actors.as_ref().is_none_or(|listed| listed.iter().any(is_member))
}
