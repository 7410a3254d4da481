//! Checks whether a credential of the request was revoked, and whether the endpoint is suspended.
//!
//! Verified tokens are cached, and this check comes after the cache, so an entry applies to the next request with any token.

use std::rc::Rc;

use super::body::note_reason;
use super::recheck::Presented;
use super::{CheckDetails, Context, Denied, DocumentUse, Evaluation};
use crate::decision::evidence::{EndpointActive, NotRevoked};
use crate::decision::trace::Check;
use crate::decision::{Facts, Rule};
use crate::identity::revocation::{Entries, Kind, Mark, Moment, Revoked};
use crate::identity::signature::VerifiedSignature;
use crate::identity::token::VerifiedToken;
use crate::policy::{Agent, Endpoint, Policy};
use crate::reason::Reason;
use crate::state::StoreError;
use crate::text::time::Timestamp;

/// Why the credentials of a request are not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused<'p> {
    pub(super) reason: Reason,
    pub(super) rule: Rule<'p>,
    /// The reason of the entry, for the record.
    pub(super) why: Option<Box<str>>,
}

/// The lists in which credentials are looked up, in addition to the entries of the policy itself.
#[derive(Clone, Copy)]
pub(super) struct Lists<'l> {
    /// What the newest policy of this name revokes and suspends, if it is another one.
    pub(super) newest: Option<&'l Entries>,
    /// The fetched list, if there is one.
    pub(super) fetched: Option<&'l Entries>,
}

impl<'a> Evaluation<'a, '_> {
    /// Rejects credentials that were revoked, after they were verified. Nothing is charged before.
    pub(super) fn revocation(&mut self) -> Result<Option<NotRevoked>, Denied> {
        if self.facts.policy.revocation.is_some() || !newest_has_nothing(&self.context, self.facts.request.now) {
            return self.look_up_credentials();
        }
        // What was reserved for a wait for keys is free again before the body is held.
        self.waited = None;
        Ok(Some(NotRevoked::assertion()))
    }

    /// Not inlined, because most policies revoke nothing. Others get here once a second.
    #[inline(never)]
    fn look_up_credentials(&mut self) -> Result<Option<NotRevoked>, Denied> {
        let policy = self.facts.policy;
        let newest = self.newest();
        if policy.revocation.is_none() && matches!(newest, Ok(None)) {
            // Nothing is revoked, and what is suspended is checked elsewhere.
            self.waited = None;
            return Ok(Some(NotRevoked::assertion()));
        }
        let presented = Presented::of(self.facts);
        let checked = match newest {
            _ if presented.is_nothing() => Ok(()),
            Err(reason) => Err(Refused { reason, rule: Rule::Gate, why: None }),
            Ok(newest) => with_list(self.context.documents, |fetched| {
                let lists = Lists { newest: newest.as_deref(), fetched };
                presented.check(policy, lists, self.facts.request.now)
            }),
        };
        let checked = match checked {
            Err(refused) if refused.reason == Reason::RevocationsUnavailable => {
                self.await_revocations()?;
                Err(refused)
            }
            other => {
                // What was reserved for the wait is free again before the body is held.
                self.waited = None;
                other
            }
        };
        if checked.as_ref().is_err_and(|refused| is_known(self.facts, refused)) {
            return Ok(None);
        }
        let (rule, result) = match checked {
            Ok(()) => (Rule::Gate, Ok(NotRevoked::assertion())),
            Err(Refused { reason, rule, why }) => {
                self.facts.revoked = why.or_else(|| self.facts.revoked.take());
                (rule, Err(reason))
            }
        };
        let documents = self.context.documents;
        self.record_check(Check::Revocation, rule, result, |_| {
            let rules = policy.revocation.as_ref();
            let mut details = vec![("entries", rules.map_or(0, |rules| rules.own.len()).to_string())];
            if rules.is_some_and(|rules| rules.needs_list) {
                let fetched = with_list(documents, |list| Ok(list.map_or(0, Entries::len)));
                details.push(("fetched", fetched.unwrap_or_default().to_string()));
            }
            details
        })
    }

    /// Looks the credentials up again after the body has arrived.
    pub(super) fn look_up_again(&mut self) -> Result<(), Denied> {
        let again = revoked_since(self.facts, &self.context, self.facts.request.now);
        let Err(Refused { reason, rule, why }) = again else { return Ok(()) };
        self.facts.revoked = why.or_else(|| self.facts.revoked.take());
        note_reason(self.facts, Some(&reason));
        self.record_check(Check::Revocation, rule, Err::<(), _>(reason), |()| CheckDetails::new()).map(|_| ())
    }

    /// Looks up the key of a signature that was verified after the other credentials. Returns the rule that revokes it.
    pub(super) fn revoked_key(&mut self, signature: &VerifiedSignature<'a>) -> Option<Rule<'a>> {
        let mark = Mark::of_hash(&signature.key.thumbprint?.0);
        let moment = moment(self.facts.policy, self.facts.request.now);
        let find = |list: &Entries| {
            let found = list.find(Kind::Thumbprint, mark, None, moment)?;
            Some(found.reason.map(Box::<str>::from))
        };
        // If it cannot be read, the request was denied before.
        let newest = self.newest().ok().flatten();
        let own = self.facts.policy.revocation.as_ref().map(|rules| &rules.own);
        let own = own.and_then(find).or_else(|| newest.as_deref().and_then(find));
        let found = own.map(|why| (Rule::Policy("revoked"), why)).or_else(|| {
            // Without a list, the request was denied before.
            let fetched = with_list(self.context.documents, |list| Ok(list.and_then(find)));
            fetched.ok().flatten().map(|why| (Rule::Policy("revocations"), why))
        });
        let (rule, why) = found?;
        self.facts.revoked = why;
        Some(rule)
    }

    /// Rejects all requests to an endpoint that is suspended.
    pub(super) fn active(&mut self, endpoint: &'a Endpoint) -> Result<Option<EndpointActive>, Denied> {
        if endpoint.suspended || !newest_has_nothing(&self.context, self.facts.request.now) {
            return self.look_up_endpoint(endpoint);
        }
        Ok(Some(EndpointActive::assertion()))
    }

    /// Not inlined, because most policies suspend nothing.
    #[inline(never)]
    fn look_up_endpoint(&mut self, endpoint: &'a Endpoint) -> Result<Option<EndpointActive>, Denied> {
        let moment = moment(self.facts.policy, self.facts.request.now);
        let reason = match self.newest() {
            _ if endpoint.suspended => Reason::EndpointSuspended,
            Ok(Some(newest)) if suspends(&newest, Mark::of_name(&endpoint.id), moment) => Reason::EndpointSuspended,
            Ok(_) => return Ok(Some(EndpointActive::assertion())),
            Err(reason) => reason,
        };
        let rule = Rule::Endpoint(endpoint.position, "suspended");
        self.record_check(Check::Revocation, rule, Err(reason), |_| CheckDetails::new())
    }

    /// Returns what the newest policy of this name revokes and suspends, if it is another one.
    fn newest(&self) -> Result<Option<Rc<Entries>>, Reason> {
        let Some(newest) = self.context.newest else { return Ok(None) };
        newest.entries(self.facts.request.now).map_err(|StoreError| Reason::HostError)
    }
}

/// Returns whether no other policy of this name has to be applied, as far as the last look shows, which was less than a second ago.
#[inline]
fn newest_has_nothing(context: &Context<'_>, now: Timestamp) -> bool {
    context.newest.is_none_or(|newest| newest.has_nothing(now))
}

/// Checks that no credential of a request was revoked, and that its endpoint was not suspended, since its headers were checked: a body may
/// take long to arrive. A denial that was observed then is not repeated.
pub(super) fn revoked_since<'p>(facts: &Facts<'p>, context: &Context<'_>, now: Timestamp) -> Result<(), Refused<'p>> {
    let policy = facts.policy;
    if policy.revocation.is_none() && newest_has_nothing(context, now) {
        return Ok(());
    }
    let checked = look_up_at(facts, context, now);
    if checked.as_ref().is_err_and(|refused| is_known(facts, refused)) { Ok(()) } else { checked }
}

/// Returns whether a denial for the same reason was observed before. It is not repeated: both policies of a name may suspend an agent.
fn is_known(facts: &Facts<'_>, refused: &Refused<'_>) -> bool {
    facts.denials.iter().any(|denial| denial.reason == refused.reason)
}

/// Not inlined, because most policies revoke nothing.
#[inline(never)]
fn look_up_at<'p>(facts: &Facts<'p>, context: &Context<'_>, now: Timestamp) -> Result<(), Refused<'p>> {
    let policy = facts.policy;
    let newest = match context.newest.map(|newest| newest.entries(now)) {
        Some(Err(StoreError)) => return Err(Refused { reason: Reason::HostError, rule: Rule::Gate, why: None }),
        Some(Ok(newest)) => newest,
        None => None,
    };
    if let (Some(newest), Some(endpoint)) = (newest.as_deref(), facts.endpoint)
        && suspends(newest, Mark::of_name(&endpoint.id), moment(policy, now))
    {
        let rule = Rule::Endpoint(endpoint.position, "suspended");
        return Err(Refused { reason: Reason::EndpointSuspended, rule, why: None });
    }
    let presented = Presented::of(facts);
    if presented.is_nothing() {
        return Ok(());
    }
    with_list(context.documents, |fetched| {
        let lists = Lists { newest: newest.as_deref(), fetched };
        presented.check(policy, lists, now)
    })
}

/// Returns whether the newest policy suspends an endpoint.
pub(super) fn suspends(newest: &Entries, endpoint: Mark, moment: Moment) -> bool {
    newest.find(Kind::Endpoint, endpoint, None, moment).is_some()
}

/// Passes the fetched list to `run`, if there is one.
fn with_list<'p, T>(
    documents: Option<DocumentUse<'_>>,
    run: impl FnOnce(Option<&Entries>) -> Result<T, Refused<'p>>,
) -> Result<T, Refused<'p>> {
    match documents.map(|documents| documents.all.try_borrow()) {
        None => run(None),
        Some(Ok(documents)) => run(documents.revocations()),
        Some(Err(_)) => Err(Refused { reason: Reason::HostError, rule: Rule::Gate, why: None }),
    }
}

pub(super) fn moment(policy: &Policy, now: Timestamp) -> Moment {
    Moment { now, skew: policy.issuers.skew() }
}

impl<'p> Presented<'p> {
    /// Returns the verified credentials of a request.
    pub(super) fn of(facts: &Facts<'p>) -> Self {
        let key = facts.signature.as_ref().and_then(|signature| signature.key.thumbprint);
        let keys = [
            key.map(|key| Mark::of_hash(&key.0)),
            facts.api_key.map(|key| Mark::of_hash(&key.hash)),
            // A certificate that cannot be read identifies nobody, and an entry can name it.
            facts.certificate_sha256.as_ref().map(Mark::of_hash),
        ];
        let prior = facts.caller.as_ref().map(|caller| caller.prior.clone()).unwrap_or_default();
        Self { token: facts.token.clone(), keys, agent: facts.agent, prior }
    }

    /// Checks that none of the credentials was revoked.
    pub(super) fn check<'r>(&self, policy: &'r Policy, lists: Lists<'_>, now: Timestamp) -> Result<(), Refused<'r>> {
        let moment = moment(policy, now);
        let own = Rule::Policy("revoked");
        if let Some(newest) = lists.newest {
            self.look_up(newest, own, policy, moment)?;
        }
        let Some(rules) = &policy.revocation else { return Ok(()) };
        let issuer = self.token.as_ref().map(|token| token.issuer_id());
        if let Some(issuer) = issuer.filter(|issuer| rules.suspended.contains(issuer)) {
            let rule = Rule::Issuer(policy.issuers.name(issuer), "suspended");
            return Err(Refused { reason: Reason::TokenRevoked, rule, why: None });
        }
        self.look_up(&rules.own, own, policy, moment)?;
        match lists.fetched {
            Some(list) => self.look_up(list, Rule::Policy("revocations"), policy, moment),
            None if rules.needs_list => {
                let rule = Rule::Policy("revocations");
                Err(Refused { reason: Reason::RevocationsUnavailable, rule, why: None })
            }
            None => Ok(()),
        }
    }

    /// Looks up everything that an entry can name.
    fn look_up<'r>(&self, list: &Entries, rule: Rule<'r>, policy: &Policy, moment: Moment) -> Result<(), Refused<'r>> {
        if list.is_empty() {
            return Ok(());
        }
        let token = self.token.as_deref();
        // Only tokens state when they were issued.
        let issued = token.and_then(VerifiedToken::issued_at);
        let of_token = token.map(VerifiedToken::marks).unwrap_or_default().iter().copied();
        let keys = self.keys.into_iter().flatten().map(|mark| (Kind::Thumbprint, mark));
        let actors = token
            .into_iter()
            .flat_map(|token| policy.agents.actors_of(token, &policy.issuers))
            .map(|agent| (Kind::Actor, agent.mark()));
        for (kind, mark) in of_token.chain(keys).chain(actors) {
            if let Some(found) = list.find(kind, mark, issued, moment) {
                return Err(Refused { reason: Reason::TokenRevoked, rule, why: found.reason.map(Into::into) });
            }
        }
        let delegated = token.filter(|token| token.is_delegated());
        let parties = delegated.into_iter().flat_map(|token| policy.agents.parties(token));
        let own = self.agent.into_iter().chain(parties).map(|agent| (agent, Reason::AgentSuspended));
        let prior = self.prior.iter().map(|agent| (*agent, Reason::ActorUnknown));
        for (agent, reason) in own.chain(prior) {
            if let Some(found) = self.revokes(list, agent, moment) {
                return Err(Refused { reason, rule, why: found.reason.map(Into::into) });
            }
        }
        Ok(())
    }

    /// Finds the entry that revokes the credentials of an agent.
    fn revokes<'l>(&self, list: &'l Entries, agent: &Agent, moment: Moment) -> Option<Revoked<'l>> {
        let issued = self.token.as_deref().and_then(VerifiedToken::issued_at);
        list.find(Kind::Agent, agent.mark(), issued, moment)
    }
}

#[cfg(test)]
#[path = "revocation_tests.rs"]
mod tests;
