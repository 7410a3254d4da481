//! The chain of actors of a delegated token (`act`, RFC 8693, section 4.1): who acts for the token's subject, and through whom.
//!
//! The claim `may_act` (RFC 8693, section 4.4) is not read anywhere. It states who could become the actor of a later token, which the
//! authorization server decides when it exchanges tokens. It delegates nothing and names no actor, so a malformed one has no effect.
//!
//! Which actors are agents, and what they may do, does not belong in this module.

use serde_json::{Map, Value};

use crate::reason::Reason;
use crate::request::percent;
use crate::request::shown::is_shown_as_is;

/// The highest `max_depth` that a policy can set.
pub(crate) const MOST_ACTORS: u8 = 8;
/// The maximum length of an actor's `iss`, `sub` and `client_id`, in bytes each.
pub(crate) const MOST_IDENTIFIER: usize = 256;
/// The maximum length of all of these texts of a chain together, in bytes.
const MOST_TEXT: usize = 4096;

/// The claim with the actor, in tokens and in actors.
pub(super) const CLAIM: &str = "act";

/// The members that an actor may have. All of them identify it. `exp`, `nbf` and `aud` have no meaning in an actor (RFC 8693,
/// section 4.1), and other members could be restrictions that Callgate would not apply.
const MEMBERS: [&str; 4] = ["iss", "sub", "client_id", CLAIM];

/// The actors of a token, from the current one to the first.
#[derive(Debug)]
pub struct Chain {
    /// At least one.
    actors: Vec<Actor>,
    /// The chain as the upstream receives it.
    line: String,
}

/// An actor. It is identified by its issuer and subject together.
#[derive(Debug, PartialEq, Eq)]
pub struct Actor {
    /// The issuer that the subject belongs to. `None` if it is the token's.
    iss: Option<Box<str>>,
    sub: Box<str>,
    client_id: Option<Box<str>>,
}

impl Chain {
    /// Reads the value of `act` in a token with this issuer and subject. `most` is the maximum number of actors.
    ///
    /// # Errors
    /// [`Reason::DelegationMalformed`] if an actor is no object with a `sub`, has members that do not identify it, or occurs twice; if the
    /// token has no subject; or if there are too many actors or too much text.
    pub(super) fn read(act: &Value, iss: &str, subject: Option<&str>, most: u8) -> Result<Self, Reason> {
        // A token without a subject is for nobody.
        let subject = subject.ok_or(Reason::DelegationMalformed)?;
        let mut actors: Vec<Actor> = Vec::new();
        let mut room = MOST_TEXT;
        let mut next = Some(act);
        while let Some(value) = next {
            let members = value.as_object().ok_or(Reason::DelegationMalformed)?;
            let actor = Actor::read(members, iss).ok_or(Reason::DelegationMalformed)?;
            let is_subject = actor.iss.is_none() && *actor.sub == *subject;
            let is_repeated = is_subject || actors.iter().any(|later| later.is_same_as(&actor));
            let left = actor.texts().try_fold(room, |room, text| room.checked_sub(text.len()));
            match left {
                Some(left) if !is_repeated && actors.len() < usize::from(most) => room = left,
                _ => return Err(Reason::DelegationMalformed),
            }
            actors.push(actor);
            next = members.get(CLAIM);
        }
        let line = line(subject, &actors);
        Ok(Self { actors, line })
    }

    /// Returns the actors, from the current one to the first.
    #[must_use]
    pub fn actors(&self) -> &[Actor] {
        &self.actors
    }

    /// Returns the chain as the upstream receives it: the subject, then the actors from the current one to the first, separated by commas.
    /// An actor of another issuer than the token's is its `iss`, `#` and its `sub`. Commas and `#` within a name are percent-encoded.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Returns whether all its texts need no escaping in records.
    pub(super) fn is_plain(&self) -> bool {
        self.actors.iter().flat_map(Actor::texts).all(is_shown_as_is)
    }

    /// Returns an upper estimate of its memory use.
    pub(super) fn memory(&self) -> usize {
        let texts = self.actors.iter().flat_map(Actor::texts).map(str::len).sum::<usize>();
        size_of::<Self>() + self.actors.capacity() * size_of::<Actor>() + texts + self.line.capacity()
    }
}

impl Actor {
    /// Returns the `iss`, if it is not the token's.
    #[must_use]
    pub fn iss(&self) -> Option<&str> {
        self.iss.as_deref()
    }

    /// Returns the `sub`.
    #[must_use]
    pub fn sub(&self) -> &str {
        &self.sub
    }

    /// Returns the `client_id`, if the token states it.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Returns `None` for an object that does not identify an actor, or has members that do not.
    fn read(members: &Map<String, Value>, iss_of_token: &str) -> Option<Self> {
        if members.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
            return None;
        }
        let text = |name: &str| match members.get(name) {
            None => Some(None),
            Some(Value::String(text)) if !text.is_empty() && text.len() <= MOST_IDENTIFIER => Some(Some(text.as_str())),
            Some(_) => None,
        };
        let (iss, sub, client_id) = (text("iss")?, text("sub")??, text("client_id")?);
        // Records separate `iss` and `sub` by `#`. Identifiers of issuers have no fragment.
        if iss.is_some_and(|iss| iss.contains('#')) {
            return None;
        }
        let other = iss.filter(|iss| *iss != iss_of_token);
        Some(Self { iss: other.map(Into::into), sub: sub.into(), client_id: client_id.map(Into::into) })
    }

    fn is_same_as(&self, other: &Self) -> bool {
        self.iss == other.iss && self.sub == other.sub
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let others = self.iss.iter().chain(&self.client_id).map(|text| &**text);
        std::iter::once(&*self.sub).chain(others)
    }
}

fn line(subject: &str, actors: &[Actor]) -> String {
    let mut line = encode(subject);
    for actor in actors {
        line.push(',');
        if let Some(iss) = &actor.iss {
            line.push_str(&encode(iss));
            line.push('#');
        }
        line.push_str(&encode(&actor.sub));
    }
    line
}

/// Encodes a name as other identity headers are encoded, and the characters that separate names here.
fn encode(name: &str) -> String {
    let encoded = percent::encode(name);
    if encoded.contains([',', '#']) { encoded.replace(',', "%2C").replace('#', "%23") } else { encoded.into_owned() }
}

/// Describes an accepted claim, for explanations.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn expected(most: Option<u8>) -> String {
    format!(
        "an object with `sub`, and at most `iss`, `client_id` and the actor before it (`act`); no identity occurs twice, the subject of \
         the token included; at most {} actors, the policy's `delegation.max_depth`",
        most.unwrap_or_default()
    )
}

#[cfg(test)]
#[path = "delegation_tests.rs"]
mod tests;
