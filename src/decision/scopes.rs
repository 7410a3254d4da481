//! The scopes of a request: those of its token, and those that the policy grants to its agent.
//!
//! What ceilings exclude from them belongs in `reach`.

use super::Caller;
use crate::allowlist::Granted;
use crate::identity::token::VerifiedToken;
use crate::policy::Agent;

impl Granted for Caller<'_> {
    fn has(&self, scope: &str) -> bool {
        let token = self.token();
        let is_granted = token.is_some_and(|token| token.grants(scope))
            || contributing(token, self.agent).is_some_and(|agent| agent.grants(scope));
        is_granted && self.permits_scope(scope)
    }
}

/// Returns the agent if its registration adds scopes to those of the token.
///
/// It adds none to a token with an actor: its subject did not grant them, so the agent could do for somebody else what that person may not
/// do.
fn contributing<'c>(token: Option<&VerifiedToken>, agent: Option<&'c Agent>) -> Option<&'c Agent> {
    agent.filter(|_| !token.is_some_and(VerifiedToken::is_delegated))
}

/// Returns the scopes of a request with these credentials, without duplicates.
pub(crate) fn granted<'c>(token: Option<&'c VerifiedToken>, agent: Option<&'c Agent>) -> impl Iterator<Item = &'c str> {
    token.map_or(&[][..], VerifiedToken::scopes).iter().map(String::as_str).chain(added(token, agent))
}

/// Returns the scopes that the scopes of a request include. The upstream does not receive them.
pub(crate) fn implied<'c>(token: Option<&'c VerifiedToken>, agent: Option<&'c Agent>) -> impl Iterator<Item = &'c str> {
    let of_token = token.map_or(&[][..], VerifiedToken::implied);
    let of_agent = contributing(token, agent).map_or(&[][..], Agent::implied);
    of_token.iter().chain(of_agent).map(String::as_str)
}

/// Returns the scopes that the agent's registration adds to those of the token.
pub(super) fn added<'c>(token: Option<&'c VerifiedToken>, agent: Option<&'c Agent>) -> impl Iterator<Item = &'c str> {
    beyond(token, contributing(token, agent))
}

/// Returns the scopes of the agent's registration that neither the token has nor count, because the token has an actor.
pub(crate) fn withheld<'c>(
    token: Option<&'c VerifiedToken>,
    agent: Option<&'c Agent>,
) -> impl Iterator<Item = &'c str> {
    beyond(token, agent.filter(|_| contributing(token, agent).is_none()))
}

/// Returns the scopes of a registration that the token does not have.
fn beyond<'c>(token: Option<&'c VerifiedToken>, agent: Option<&'c Agent>) -> impl Iterator<Item = &'c str> {
    let own = agent.into_iter().flat_map(|agent| &agent.scopes).map(|scope| &**scope);
    own.filter(move |scope| !token.is_some_and(|token| token.has_scope(scope)))
}
