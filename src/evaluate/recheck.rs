//! What is checked again while a stream is open, such as an event stream or a WebSocket: whether the credentials that opened it are still
//! valid.

use std::rc::Rc;

use super::Engine;
use super::revocation::{Lists, moment, suspends};
use crate::decision::{Allow, Caller, Proven};
use crate::identity::revocation::{Entries, Mark};
use crate::identity::token::VerifiedToken;
use crate::policy::Agent;
use crate::reason::Reason;
use crate::state::StoreError;
use crate::text::time::Timestamp;

/// The verified credentials of a request.
#[derive(Debug, Clone)]
pub(super) struct Presented<'p> {
    pub(super) token: Option<Rc<VerifiedToken>>,
    /// The marks of the key that signed the request, of the API key, and of the certificate.
    pub(super) keys: [Option<Mark>; 3],
    pub(super) agent: Option<&'p Agent>,
    /// The checked agents that are earlier actors of the token.
    pub(super) prior: Vec<&'p Agent>,
}

impl Presented<'_> {
    /// Returns whether the request has no verified credential.
    pub(super) fn is_nothing(&self) -> bool {
        self.token.is_none() && self.agent.is_none() && self.keys.iter().all(Option::is_none)
    }
}

/// The credentials with which a stream was opened. [`Engine::recheck`] checks them again.
#[derive(Debug, Clone)]
pub struct Recheck {
    token: Option<Rc<VerifiedToken>>,
    keys: [Option<Mark>; 3],
    /// The agent's position in the order of names.
    agent: Option<u32>,
    /// The positions of the checked agents that are earlier actors of the token.
    prior: Vec<u32>,
    /// The mark of the endpoint.
    endpoint: Mark,
    /// When the API key and the key that signed the request expire, and the reasons for which they are not accepted then.
    ends: [Option<(Timestamp, Reason)>; 2],
    /// The last moment at which the certificate that identified the caller is valid.
    not_after: Option<Timestamp>,
}

impl Allow<'_> {
    /// Returns whether the credentials are checked again while data flows.
    pub(crate) fn is_rechecked(&self) -> bool {
        self.facts.endpoint.is_some_and(|endpoint| endpoint.rechecks) && !self.facts.is_observed()
    }

    /// Returns what is checked again while data flows, if the endpoint has `streams: recheck` and denials of the request are enforced.
    #[must_use]
    pub fn recheck(&self) -> Option<Recheck> {
        let facts = &*self.facts;
        let endpoint = facts.endpoint.filter(|_| self.is_rechecked())?;
        let Presented { token, keys, agent, prior } = Presented::of(facts);
        let signed_with = facts.signature.as_ref().and_then(|signature| signature.key.not_after);
        let ends = [
            facts.api_key.map(|key| (key.not_after, Reason::ApiKeyExpired)),
            signed_with.map(|not_after| (not_after, Reason::SignatureKeyTime)),
        ];
        let not_after = match &facts.caller {
            Some(Caller { by: Proven::Certificate(certificate), .. }) => Some(certificate.not_after()),
            _ => None,
        };
        Some(Recheck {
            token,
            keys,
            agent: agent.map(|agent| agent.position),
            prior: prior.iter().map(|agent| agent.position).collect(),
            endpoint: Mark::of_name(&endpoint.id),
            ends,
            not_after,
        })
    }
}

impl Engine {
    /// Checks whether an open stream may stay open. It is checked under the policy that allowed its request, and must not be revoked or
    /// suspended by the newest policy of that name.
    ///
    /// # Errors
    /// The reason for which a request with the same credentials would be denied now: the token, the API key, the signing key or the
    /// certificate has expired, the registration of an agent has ended, one of them was revoked, or the endpoint is suspended.
    pub fn recheck(&self, stream: &Recheck, now: Timestamp) -> Result<(), Reason> {
        let policy = self.policy();
        if let Some(token) = &stream.token {
            policy.issuers.check_times(token, now)?;
        }
        if let Some((_, reason)) = stream.ends.into_iter().flatten().find(|(ends, _)| now >= *ends) {
            return Err(reason);
        }
        if stream.not_after.is_some_and(|last| now.minus(policy.issuers.skew()) > last) {
            return Err(Reason::CertificateName);
        }
        let agent = stream.agent.and_then(|agent| policy.agents.get(agent));
        if let Some(agent) = agent {
            agent.registered(now)?;
        }
        let delegated = stream.token.as_deref().filter(|token| token.is_delegated());
        if let Some((token, agent)) = delegated.zip(agent) {
            policy.agents.check_others(token, agent, now).map_err(|(_, reason)| reason)?;
        }
        let prior: Vec<_> = stream.prior.iter().filter_map(|agent| policy.agents.get(*agent)).collect();
        if prior.iter().any(|agent| agent.registered(now).is_err()) {
            return Err(Reason::ActorUnknown);
        }
        let newest = self.newest(now).map_err(|StoreError| Reason::HostError)?;
        if newest.as_deref().is_some_and(|newest| suspends(newest, stream.endpoint, moment(policy, now))) {
            return Err(Reason::EndpointSuspended);
        }
        if policy.revocation.is_none() && newest.is_none() {
            return Ok(());
        }
        let presented = Presented { token: stream.token.clone(), keys: stream.keys, agent, prior };
        if presented.is_nothing() {
            return Ok(());
        }
        let checked = self.with_revocations(|fetched| {
            let lists = Lists { newest: newest.as_deref(), fetched };
            presented.check(policy, lists, now).map_err(|refused| refused.reason)
        });
        checked.unwrap_or(Err(Reason::HostError))
    }

    /// Passes the fetched list to `run`, if there is one. Returns `None` while the engine is in use.
    fn with_revocations<T>(&self, run: impl FnOnce(Option<&Entries>) -> T) -> Option<T> {
        match self.documents() {
            None => Some(run(None)),
            Some(documents) => documents.try_borrow().ok().map(|documents| run(documents.revocations())),
        }
    }
}
