//! What an allowed call looks like to the upstream: which headers go, which come.
//!
//! Only an [`Allow`] can be turned into headers. They come off first and are set afterwards, so that nothing inbound can pose
//! as ours.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::decision::{Allow, Caller, Grant};
use crate::policy::Agent;
use crate::reason::Reason;
use crate::token::VerifiedToken;

/// The longest value of an identity header, in bytes. Servers commonly take 8 KiB for a whole line; an identity beyond half
/// of that is refused rather than cut.
pub(crate) const MOST_VALUE: usize = 4096;

/// A change to the request's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// Every line of this name, spelled exactly so, goes.
    Remove(&'a [u8]),
    /// The header is set to this value.
    Set(Cow<'a, str>, Cow<'a, str>),
}

impl<'a> Allow<'a> {
    /// The changes, in the order in which they are to be made.
    #[must_use]
    pub fn changes(&self) -> Vec<Change<'_>> {
        let facts = &self.facts;
        let head = &facts.head;
        let mut changes: Vec<Change<'_>> = head.posing.iter().map(|name| Change::Remove(name)).collect();
        // A call that is only observed goes on as it came.
        if self.grant != Grant::Observed {
            changes.extend(head.overrides.iter().map(|name| Change::Remove(name)));
            if facts.caller.is_some() && !facts.policy.keeps_authorization {
                changes.push(Change::Remove(b"authorization"));
            }
            if let Some(host) = facts.host.as_ref().filter(|host| host.is_rewritten()) {
                changes.push(Change::Set(":authority".into(), host.as_str().to_owned().into()));
            }
        }
        let mut set = |name: &str, value: Cow<'a, str>| {
            changes.push(Change::Set(format!("{}{name}", facts.policy.prefix).into(), value));
        };
        // Observed, an identity that has no room is left out: the upstream gets what it would have got without the gate.
        let caller = facts.caller.as_ref().filter(|_| !facts.denied(Reason::IdentityTooLong));
        for (name, value) in identity(caller) {
            set(name, value.into());
        }
        if let Some(endpoint) = facts.endpoint {
            set("endpoint", Cow::Borrowed(&endpoint.id));
        }
        set("decision", facts.call.id.to_string().into());
        set("policy", Cow::Borrowed(&facts.policy.label));
        if self.grant == Grant::Observed {
            set("observed", "1".into());
        }
        changes
    }
}

/// The identity headers of a caller, without the prefix.
fn identity(caller: Option<&Caller<'_>>) -> Vec<(&'static str, String)> {
    let Some(caller) = caller else { return Vec::new() };
    let token = caller.token();
    let mut headers = Vec::with_capacity(5);
    if let Some(agent) = caller.agent() {
        headers.push(("agent", encode(&agent.name)));
    }
    headers.push(("issuer", encode(token.issuer_name())));
    if let Some(client) = token.client() {
        headers.push(("client", encode(client)));
    }
    if let Some(subject) = token.subject() {
        headers.push(("subject", encode(subject)));
    }
    let scopes = granted(token, caller.agent()).map(encode).collect::<Vec<_>>().join(" ");
    if !scopes.is_empty() {
        headers.push(("scopes", scopes));
    }
    headers
}

/// The scopes that a caller has, from its token and its registration, each once.
pub(crate) fn granted<'c>(token: &'c VerifiedToken, agent: Option<&'c Agent>) -> impl Iterator<Item = &'c str> {
    let own = agent.into_iter().flat_map(|agent| &agent.scopes).map(|scope| &**scope);
    token.scopes().iter().map(String::as_str).chain(own.filter(|scope| !token.has_scope(scope)))
}

/// Whether every identity header has room.
pub(crate) fn identity_fits(caller: &Caller<'_>) -> bool {
    identity(Some(caller)).iter().all(|(_, value)| value.len() <= MOST_VALUE)
}

/// UTF-8 in which every byte but visible ASCII, and `%` itself, is percent-encoded.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_visible_ascii_and_can_be_read_back() {
        assert_eq!(encode("coding-agent"), "coding-agent");
        assert_eq!(encode("a b%\r\né\u{7f}"), "a%20b%25%0D%0A%C3%A9%7F");
        assert_eq!(encode(""), "");
    }
}
