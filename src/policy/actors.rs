//! Agents that act for others, found by the actors of a token (`act`).

use super::agents::{Agent, Agents};
use super::delegation;
use crate::document;
use crate::document::names::{check_distinct, did_you_mean};
use crate::document::{Findings, Place, Profile};
use crate::identity::token::{Actor, IssuerId, Issuers, MOST_IDENTIFIER, VerifiedToken};
use crate::reason::Reason;
use crate::text::hash::PolicyMap;
use crate::text::time::Timestamp;

/// The agents that can be actors, by the issuer of the token and the actor's `sub`.
#[derive(Debug, Default)]
pub(super) struct Actors(PolicyMap<IssuerId, PolicyMap<Box<str>, Vec<Registered>>>);

/// An agent that can be an actor.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) agent: u32,
    tenant: Option<Box<str>>,
    /// The actor's `iss`. `None` if it is the token's.
    iss: Option<Box<str>>,
    /// The clients that may send tokens in which the agent is the current actor.
    clients: Vec<Box<str>>,
    /// Whether the agent may be the current actor.
    pub(super) may_act: bool,
}

impl Registered {
    /// Returns whether the client of a token belongs to the agent. `actor` is the token's current actor, which may state a client too.
    pub(super) fn is_sent_by(&self, token: &VerifiedToken, actor: &Actor) -> bool {
        let client = token.client();
        client.is_some_and(|client| self.clients.iter().any(|own| **own == *client))
            && actor.client_id().is_none_or(|stated| client == Some(stated))
    }
}

impl Actors {
    pub(super) fn compile(document: &document::Document, issuers: &Issuers, findings: &mut Findings) -> Self {
        let mut actors = Self::default();
        // The position of an agent is that of its name.
        for ((name, agent), position) in document.agents.iter().zip(0..) {
            let Some(identity) = agent.identity.as_ref() else { continue };
            let Some(raw) = &identity.actor else { continue };
            let place = Place::root().field("agents").field(name).field("identity").field("actor");
            let compiling = Compiling { document, identity, raw, issuers, place: &place };
            let Some((issuer, registered)) = compiling.registered(name, position, findings) else { continue };
            let same_subject = actors.0.entry(issuer).or_default().entry(raw.sub.as_str().into()).or_default();
            let taken =
                same_subject.iter().find(|other| other.tenant == registered.tenant && other.iss == registered.iss);
            if let Some(other) = taken {
                let other = document.agents.keys().nth(other.agent as usize).map_or("", String::as_str);
                findings.error(
                    place,
                    format!("agent `{}` is the same actor; each actor must be one agent", other.escape_debug()),
                );
                continue;
            }
            same_subject.push(registered);
        }
        actors
    }

    /// Returns the agent that an actor of a token is.
    pub(super) fn find(&self, token: &VerifiedToken, actor: &Actor) -> Option<&Registered> {
        let same_subject = self.0.get(&token.issuer_id())?.get(actor.sub())?;
        same_subject.iter().find(|own| own.tenant.as_deref() == token.tenant() && own.iss.as_deref() == actor.iss())
    }

    /// Returns the agents that an entry about an actor can mean: the agent that an actor of a token is, and the agent that has this name at
    /// the actor's own issuer.
    pub(super) fn meant<'a>(
        &'a self,
        token: &VerifiedToken,
        actor: &Actor,
        issuers: &Issuers,
    ) -> impl Iterator<Item = u32> + use<'a> {
        let own = self.find(token, actor).map(|found| found.agent);
        let issuer = actor.iss().and_then(|iss| issuers.id_of_iss(iss));
        let same_subject = issuer.and_then(|issuer| self.0.get(&issuer)?.get(actor.sub()));
        let of_issuer = same_subject.into_iter().flatten().filter(|other| other.iss.is_none());
        own.into_iter().chain(of_issuer.map(|other| other.agent))
    }
}

impl Agents {
    /// Returns the agent that is the current actor of a token, and to whose client the token was issued.
    ///
    /// # Errors
    /// Returns [`Reason::ActorUnknown`] or [`Reason::ActorMismatch`].
    pub(crate) fn find_actor(&self, token: &VerifiedToken) -> Result<&Agent, Reason> {
        let current = token.chain().and_then(|chain| chain.actors().first()).ok_or(Reason::ActorUnknown)?;
        let found = self.actors.find(token, current).filter(|found| found.may_act).ok_or(Reason::ActorUnknown)?;
        if !found.is_sent_by(token, current) {
            return Err(Reason::ActorMismatch);
        }
        self.get(found.agent).ok_or(Reason::ActorUnknown)
    }

    /// Returns the agents that the client, the subject or the claims of a delegated token identify. The current actor can be one of them.
    pub(crate) fn parties<'i>(&'i self, token: &'i VerifiedToken) -> impl Iterator<Item = &'i Agent> + 'i {
        self.fits(token).filter_map(move |position| self.get(position))
    }

    /// Checks the registrations of the agents other than the current actor that the client or the subject of a delegated token identifies.
    /// The clients of an agent that was suspended must not act under the name of another one.
    ///
    /// # Errors
    /// Returns the agent, and [`Reason::AgentSuspended`] or [`Reason::AgentExpired`].
    pub(crate) fn check_others(
        &self,
        token: &VerifiedToken,
        own: &Agent,
        now: Timestamp,
    ) -> Result<(), (&Agent, Reason)> {
        let mut others =
            self.fits(token).filter(|position| *position != own.position).filter_map(|other| self.get(other));
        others.try_for_each(|other| other.registered(now).map_err(|reason| (other, reason)))
    }

    /// Returns the agents that are the actors of a token before the current one, the latest first.
    ///
    /// # Errors
    /// Returns [`Reason::ActorUnknown`] if one of them is no agent, or its registration is not valid at this moment.
    pub(crate) fn find_prior_actors(&self, token: &VerifiedToken, now: Timestamp) -> Result<Vec<&Agent>, Reason> {
        let prior = token.chain().into_iter().flat_map(|chain| chain.actors().iter().skip(1));
        let agents = prior.map(|actor| {
            let agent = self.actors.find(token, actor).and_then(|found| self.get(found.agent));
            agent.filter(|agent| agent.registered(now).is_ok()).ok_or(Reason::ActorUnknown)
        });
        agents.collect()
    }
}

/// The state while one actor is compiled.
struct Compiling<'a> {
    document: &'a document::Document,
    identity: &'a document::Identity,
    raw: &'a document::ActorIdentity,
    issuers: &'a Issuers,
    /// The place of `identity.actor`.
    place: &'a Place,
}

impl Compiling<'_> {
    /// Returns `None` if there is an error that makes the actor impossible to find.
    fn registered(&self, name: &str, agent: u32, findings: &mut Findings) -> Option<(IssuerId, Registered)> {
        let Self { document, identity, raw, place, .. } = self;
        if identity.each.is_some() {
            findings.error(
                (*place).clone(),
                "`each: client` describes many clients, and an actor is one agent; remove `actor`, or remove `each`",
            );
        }
        let Some((issuer, raw_issuer)) = self.issuers.id(&raw.issuer).zip(document.issuers.get(&raw.issuer)) else {
            findings.error(
                place.field("issuer"),
                format!(
                    "unknown issuer `{}`; {}",
                    raw.issuer.escape_debug(),
                    did_you_mean(
                        &raw.issuer,
                        document.issuers.keys().map(String::as_str),
                        "expected a name from `issuers`"
                    )
                ),
            );
            return None;
        };
        if !raw_issuer.names_clients() {
            let instead = match raw_issuer.profile {
                Profile::JwtSvid => "write an issuer with another profile than `jwt-svid`",
                Profile::AccessToken | Profile::Jwt => "add `token.client` to that issuer",
            };
            findings.error(
                place.field("issuer"),
                format!(
                    "tokens of `{}` contain no client, so another client could send those of this actor; {instead}",
                    raw.issuer.escape_debug()
                ),
            );
        }
        self.check_names(raw_issuer.issuer.as_deref().unwrap_or_default(), findings);
        let tenant = self.tenant(issuer, findings);
        let clients = self.clients(findings);
        let iss = raw.iss.as_deref().map(Into::into);
        Some((issuer, Registered { agent, tenant, iss, clients, may_act: delegation::may_act(document, name) }))
    }

    fn check_names(&self, iss_of_tokens: &str, findings: &mut Findings) {
        let Self { raw, place, .. } = self;
        let is_name = |text: &str| !text.is_empty() && text.len() <= MOST_IDENTIFIER;
        if !is_name(&raw.sub) {
            findings.error(
                place.field("sub"),
                format!("invalid value; expected the exact `act.sub`, of 1 to {MOST_IDENTIFIER} bytes"),
            );
        }
        match raw.iss.as_deref() {
            Some(iss) if iss == iss_of_tokens => {
                findings.error(place.field("iss"), "this is the issuer of the token, which is the default; remove it")
            }
            Some(iss) if !is_name(iss) || iss.contains('#') => findings.error(
                place.field("iss"),
                format!("invalid value; expected the exact `act.iss`, of 1 to {MOST_IDENTIFIER} bytes without `#`"),
            ),
            _ => {}
        }
    }

    /// Returns the tenant of the tokens, if the issuer has tenants. It is that of the identity.
    fn tenant(&self, issuer: IssuerId, findings: &mut Findings) -> Option<Box<str>> {
        let Self { identity, raw, issuers, place, .. } = self;
        if !issuers.has_tenants(issuer) {
            return None;
        }
        let tenant = identity.tenant.as_deref();
        let is_accepted = tenant.is_some_and(|tenant| issuers.accepts_tenant(issuer, tenant));
        // The tenant is an error of the identity if both have the same issuer.
        if !is_accepted && !self.is_issuer_of_identity() {
            findings.error(
                place.field("issuer"),
                format!(
                    "two tenants of `{}` may have actors of the same name; write `identity.tenant`, with one of its tenants",
                    raw.issuer.escape_debug()
                ),
            );
        }
        tenant.map(Into::into)
    }

    fn clients(&self, findings: &mut Findings) -> Vec<Box<str>> {
        let Self { identity, raw, place, .. } = self;
        // Another issuer may give the same identifier to somebody else.
        let own = identity.client_id.as_ref().filter(|_| self.is_issuer_of_identity());
        let of_field = place.field("clients");
        check_distinct("client", &raw.clients, &of_field, findings);
        for (index, client) in raw.clients.iter().enumerate() {
            if client.is_empty() {
                findings.error(of_field.index(index), "the value is empty; write the exact value");
            } else if own == Some(client) {
                findings.error(
                    of_field.index(index),
                    "this is the `client_id` of the identity, which is accepted already; remove it",
                );
            }
        }
        let clients: Vec<Box<str>> = own.into_iter().chain(&raw.clients).map(|client| client.as_str().into()).collect();
        if clients.is_empty() {
            findings.error(
                of_field,
                "no client could send tokens of this actor; write `clients`, or the `client_id` of the identity at the same issuer",
            );
        }
        clients
    }

    fn is_issuer_of_identity(&self) -> bool {
        self.identity.issuer.as_ref() == Some(&self.raw.issuer)
    }
}
