//! What an allowed request looks like to the upstream: which headers go, which come.
//!
//! Only an [`Allow`] can be turned into headers. They come off first and are set afterwards, so that nothing inbound can pose
//! as ours.

use std::borrow::Cow;
use std::convert::Infallible;

use crate::decision::{Allow, Caller, Facts, Ground};
use crate::identity::token::VerifiedToken;
use crate::policy::{Agent, HostName};
use crate::reason::Reason;
use crate::request::percent::encode;

/// The longest value of an identity header, in bytes. Servers commonly take 8 KiB for a whole line; an identity beyond half
/// of that is refused rather than cut.
pub(crate) const MOST_VALUE: usize = 4096;

/// A change to the request's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// Every line of this name, spelled exactly so, goes.
    Remove(&'a [u8]),
    /// The line of this name, of which there is one, gets an empty value, since the gateway cannot remove it.
    Clear(&'a [u8]),
    /// The header is set to this value.
    Set(&'a str, Cow<'a, str>),
    /// The header, of which there is no line, gets this value. It spares the gateway looking for lines to replace.
    Add(&'a str, Cow<'a, str>),
}

impl Change<'_> {
    /// Makes the change in a list of header lines, as a gateway makes it. A line that a gateway cannot remove has an empty value there, and
    /// counts as removed here.
    pub fn apply(&self, lines: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        match self {
            Self::Remove(name) | Self::Clear(name) => lines.retain(|(own, _)| own != name),
            Self::Set(name, value) => {
                lines.retain(|(own, _)| !own.eq_ignore_ascii_case(name.as_bytes()));
                lines.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
            }
            Self::Add(name, value) => lines.push((name.as_bytes().to_vec(), value.as_bytes().to_vec())),
        }
    }
}

impl Allow<'_> {
    /// The changes, in the order in which they are to be made.
    #[must_use]
    pub fn changes(&self) -> Vec<Change<'_>> {
        let mut changes = Vec::new();
        let push = |change| -> Result<(), Infallible> {
            changes.push(change);
            Ok(())
        };
        let Ok(()) = self.change(Cow::Owned(self.facts.request.id.to_string()), push);
        changes
    }

    /// Hands over each change, in the order in which they are to be made, up to the first that fails.
    ///
    /// # Errors
    /// What `make` says of the one that failed.
    pub fn each_change<E>(&self, make: impl FnMut(Change<'_>) -> Result<(), E>) -> Result<(), E> {
        self.facts.request.id.with_text(|id| self.change(Cow::Borrowed(id), make))
    }

    /// The same, with the decision's name as text.
    fn change<'c, E>(&'c self, id: Cow<'c, str>, mut make: impl FnMut(Change<'c>) -> Result<(), E>) -> Result<(), E> {
        let facts = &self.facts;
        let head = &facts.head;
        let features = &facts.policy.features;
        let remove = if features.removes_headers { Change::Remove } else { Change::Clear };
        if !head.posing.is_empty() {
            self.unpose(&id, remove, &mut make)?;
        }
        // Where requests are observed, the upstream works as it did before the gate, for allowed requests too: it may verify the token.
        if !facts.is_observed() {
            head.overrides.iter().try_for_each(|name| make(remove(name)))?;
            if facts.caller.is_some() && !facts.policy.keeps_authorization {
                // A request whose signature proves the caller may have none, and nothing is made where nothing is to be removed.
                if features.removes_headers || head.authorization.count > 0 {
                    make(remove(b"authorization"))?;
                }
                if head.dpop.count > 0 {
                    make(remove(b"dpop"))?;
                }
            }
            if let Some(host) = facts.host.as_ref().filter(|host| host.is_rewritten() && features.sets_host) {
                let name = match features.host {
                    HostName::Authority if !head.host_in_line => ":authority",
                    HostName::Authority | HostName::Header => "host",
                };
                make(Change::Set(name, host.as_str().into()))?;
            }
        }
        // Where something posed as ours, our header replaces it, whatever became of the removal.
        let change = if head.posing.is_empty() { Change::Add } else { Change::Set };
        self.own_headers(id, |name, value| make(change(name, value)))
    }

    /// Takes away what poses as ours. Where a line can only be replaced, one that ours replaces is left for that: a line that was
    /// cleared is hidden from the replacement.
    fn unpose<'c, E>(
        &'c self,
        id: &str,
        remove: fn(&'c [u8]) -> Change<'c>,
        make: &mut impl FnMut(Change<'c>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Facts { head, policy, .. } = &*self.facts;
        let mut own = Vec::new();
        if !policy.features.removes_headers {
            let push = |name, _| -> Result<(), Infallible> {
                own.push(name);
                Ok(())
            };
            let Ok(()) = self.own_headers(Cow::Borrowed(id), push);
        }
        let is_replaced = |name: &[u8]| own.iter().any(|own: &&str| name.eq_ignore_ascii_case(own.as_bytes()));
        head.posing.iter().filter(|name| !is_replaced(name)).try_for_each(|name| make(remove(name)))
    }

    /// The headers that the upstream gets from the gate.
    fn own_headers<'c, 'v, E>(
        &'c self,
        id: Cow<'v, str>,
        mut set: impl FnMut(&'c str, Cow<'v, str>) -> Result<(), E>,
    ) -> Result<(), E>
    where
        'c: 'v,
    {
        let facts = &self.facts;
        let names = &facts.policy.header_names;
        // Observed, an identity that has no room is left out: the upstream gets what it would have got without the gate.
        if let Some(caller) = facts.caller.as_ref().filter(|_| !facts.denied(Reason::IdentityTooLong)) {
            let values = identity(caller);
            for (name, value) in names.identity.iter().zip(values) {
                if let Some(value) = value {
                    set(name, value)?;
                }
            }
        }
        if let Some(endpoint) = facts.endpoint {
            set(&names.endpoint, Cow::Borrowed(&endpoint.id))?;
        }
        set(&names.decision, id)?;
        set(&names.policy, Cow::Borrowed(&facts.policy.label))?;
        if self.ground() == Ground::Observed {
            set(&names.observed, "1".into())?;
        }
        Ok(())
    }
}

/// The values of a caller's identity headers: agent, issuer, client, subject and scopes.
fn identity<'c>(caller: &'c Caller<'_>) -> [Option<Cow<'c, str>>; 5] {
    let token = caller.token();
    let mut scopes = Cow::Borrowed(token.map_or("", VerifiedToken::scope_line));
    for scope in beside(token, caller.agent()) {
        let scopes = scopes.to_mut();
        if !scopes.is_empty() {
            scopes.push(' ');
        }
        scopes.push_str(&encode(scope));
    }
    [
        caller.agent().map(|agent| encode(&agent.name)),
        token.map(|token| encode(token.issuer_name())),
        token.and_then(VerifiedToken::client).map(encode),
        token.and_then(VerifiedToken::subject).map(encode),
        Some(scopes).filter(|scopes| !scopes.is_empty()),
    ]
}

/// The scopes that a caller has, from its token and its registration, each once.
pub(crate) fn granted<'c>(token: Option<&'c VerifiedToken>, agent: Option<&'c Agent>) -> impl Iterator<Item = &'c str> {
    token.map_or(&[][..], VerifiedToken::scopes).iter().map(String::as_str).chain(beside(token, agent))
}

/// The scopes of a registration that the token does not have.
fn beside<'c>(token: Option<&'c VerifiedToken>, agent: Option<&'c Agent>) -> impl Iterator<Item = &'c str> {
    let own = agent.into_iter().flat_map(|agent| &agent.scopes).map(|scope| &**scope);
    own.filter(move |scope| !token.is_some_and(|token| token.has_scope(scope)))
}

/// Whether every identity header has room.
pub(crate) fn identity_fits(caller: &Caller<'_>) -> bool {
    // Encoded, nothing grows to more than three times its length: most identities need no closer look.
    let length = |text: Option<&str>| text.map_or(0, str::len);
    let token = caller.token();
    let names = length(caller.agent().map(|agent| &*agent.name)).max(length(token.map(VerifiedToken::issuer_name)));
    let claims = length(token.and_then(VerifiedToken::client)).max(length(token.and_then(VerifiedToken::subject)));
    let scopes = granted(token, caller.agent()).map(|scope| scope.len() + 1).sum::<usize>();
    names.max(claims).max(scopes) * 3 <= MOST_VALUE
        || identity(caller).iter().flatten().all(|value| value.len() <= MOST_VALUE)
}
