//! Whose calls a limit counts together.

use crate::call::Source;
use crate::decision::Caller;
use crate::state::{Identity, Namespace, Place};
use crate::token::VerifiedToken;

/// What tells the callers of a limit apart: each combination is counted for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Per {
    pub(crate) agent: bool,
    pub(crate) issuer: bool,
    pub(crate) source: bool,
    pub(crate) endpoint: bool,
}

/// What is known of a call when its limits are charged.
#[derive(Clone, Copy)]
pub(crate) struct Who<'w> {
    pub(crate) caller: Option<&'w Caller<'w>>,
    pub(crate) source: Option<Source>,
    pub(crate) endpoint: &'w str,
}

impl Per {
    /// Where the state of a limit is for this call; none where a part that it is told by is not known.
    ///
    /// Keys are made of names alone, never of positions, so that a policy can be changed around them.
    pub(crate) fn place(self, limit: &str, who: Who<'_>, namespace: &Namespace) -> Option<Place> {
        let mut identity = namespace.identity("limit").text(limit);
        // What the policy does not name shares a table of fixed size.
        let mut named = true;
        if self.agent {
            let caller = who.caller?;
            identity = match caller.agent() {
                Some(agent) => identity.text("agent").text(&agent.name),
                None => {
                    named = false;
                    let token = caller.token()?;
                    let identity = identity.text("unregistered").text(token.issuer_name());
                    identity.optional(token.client()).optional(token.subject())
                }
            };
        }
        if self.issuer {
            identity = identity.text("issuer").optional(who.caller?.token().map(VerifiedToken::issuer_name));
        }
        if self.source {
            named = false;
            identity = source(identity, who.source);
        }
        if self.endpoint {
            identity = identity.text("endpoint").text(who.endpoint);
        }
        Some(if named { namespace.own(identity) } else { namespace.slot(identity) })
    }
}

/// An identity with a source address in it. All calls without one are told apart by nothing.
pub(super) fn source(identity: Identity, source: Option<Source>) -> Identity {
    let identity = identity.text("source");
    match source {
        Some(source) => identity.bytes(&source.network()),
        None => identity.optional(None),
    }
}
