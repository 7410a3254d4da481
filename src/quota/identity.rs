//! Whose calls a limit counts together.

use super::Limit;
use crate::identity::crypto::Signer;
use crate::identity::token::VerifiedToken;
use crate::request::incoming::Source;
use crate::state::{BucketKey, Identity, Namespace};
use crate::text::hash::{hash_of, spread};

/// What tells the callers of a limit apart: each combination is counted for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LimitKey {
    pub(crate) agent: bool,
    pub(crate) issuer: bool,
    pub(crate) source: bool,
    pub(crate) endpoint: bool,
    /// By whom a credential says that it was made: of the limit on failing credentials alone.
    pub(crate) signer: bool,
}

/// A caller that is known, as limits tell it from others: by its registration, its token, or both.
#[derive(Clone, Copy)]
pub(crate) struct Identified<'w> {
    /// The registered agent: its name, and its position among the policy's agents.
    pub(crate) agent: Option<(&'w str, u32)>,
    pub(crate) token: Option<&'w VerifiedToken>,
}

/// What is known of a call when its limits are charged.
#[derive(Clone, Copy)]
pub(crate) struct LimitSubject<'w> {
    pub(crate) caller: Option<Identified<'w>>,
    pub(crate) source: Option<Source>,
    pub(crate) endpoint: &'w str,
    pub(crate) signer: Option<Signer<'w>>,
}

impl Limit {
    /// Where its state is for this call; none where a part that it is told by is not known.
    ///
    /// Keys are made of names alone, never of positions, so that a policy can be changed around them. What the policy names
    /// has a place of its own, with all its limits under one key; everything else shares a table of fixed size.
    /// `entry` is what [`Limit::entry`] says.
    pub(crate) fn place(&self, entry: Option<u64>, who: LimitSubject<'_>, namespace: &Namespace) -> Option<BucketKey> {
        let LimitKey { agent, issuer, source, endpoint, signer } = self.per;
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
                Some((name, _)) => identity.text("agent").text(name),
                None => {
                    let token = caller.token?;
                    let identity = identity.text("unregistered").text(token.issuer_name());
                    identity.optional(token.client()).optional(token.subject())
                }
            };
        }
        if issuer {
            identity = identity.text("issuer").optional(who.caller?.token.map(VerifiedToken::issuer_name));
        }
        if source {
            identity = self::source(identity, who.source);
        }
        if endpoint && !(entry.is_some() && agent) {
            identity = identity.text("endpoint").text(who.endpoint);
        }
        if signer {
            identity = self::signer(identity, who.signer?);
        }
        let named = self.per.is_named(who);
        Some(if named { namespace.own(identity, entry.unwrap_or_default()) } else { namespace.slot(identity) })
    }

    /// What tells its entry from those of other limits under the same key; none where it has a key of its own.
    pub(super) fn entry(&self, who: LimitSubject<'_>) -> Option<u64> {
        let name = self.name_hash.filter(|_| self.per.is_named(who))?;
        // An agent's calls to all endpoints change one value, as they do where it has a limit over all of them.
        Some(if self.per.agent && self.per.endpoint { spread(name ^ hash_of(who.endpoint)) } else { name })
    }

    /// Whether two limits with an entry have it under the same key.
    pub(super) fn same_slot(&self, other: &Self) -> bool {
        let holder = |per: LimitKey| LimitKey { endpoint: per.endpoint && !per.agent, ..per };
        holder(self.per) == holder(other.per)
    }
}

impl LimitKey {
    /// Whether the policy names everything that calls are told apart by.
    fn is_named(self, who: LimitSubject<'_>) -> bool {
        let registered = || who.caller.is_some_and(|caller| caller.agent.is_some());
        !self.source && (!self.agent || registered())
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

/// An identity with a signer in it.
pub(super) fn signer(identity: Identity, signer: Signer<'_>) -> Identity {
    match signer {
        Signer::Token(signature) => identity.text("token").bytes(signature),
        Signer::Client { issuer, client, subject } => {
            identity.text("client").text(issuer).optional(client).optional(subject)
        }
        Signer::Key(keyid) => identity.text("key").text(keyid),
        Signer::Proof(key) => identity.text("proof").bytes(&key.0),
    }
}
