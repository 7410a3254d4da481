//! Who may use an endpoint or an operation, regardless of the credential: lists of agents, and the ceilings of agents. Also how fresh a
//! token must be.
//!
//! Agents and endpoints are positions here. Which caller a request has does not belong in this module.

use std::time::Duration;

use super::scopes::{Granted, Origin};
use crate::document::Effect;
use crate::text::time::Timestamp;

/// What an agent gets at most. A part that is `None` restricts nothing.
#[derive(Debug)]
pub(crate) struct Ceiling {
    /// The scopes that count, sorted.
    pub(crate) scopes: Option<Box<[Box<str>]>>,
    pub(crate) effects: Option<Box<[Effect]>>,
    /// The endpoints, by their positions in the policy, sorted.
    pub(crate) endpoints: Option<Box<[u32]>>,
}

impl Ceiling {
    /// Returns whether a required scope counts. A scope that includes it is not looked at.
    pub(crate) fn permits_scope(&self, scope: &str) -> bool {
        self.scopes.as_ref().is_none_or(|own| own.binary_search_by(|own| (**own).cmp(scope)).is_ok())
    }

    /// Returns whether endpoints and operations with this effect are within the ceiling.
    pub(crate) fn permits_effect(&self, effect: Effect) -> bool {
        self.effects.as_ref().is_none_or(|own| own.contains(&effect))
    }

    /// Returns whether an endpoint is within the ceiling, by its position and its effect.
    pub(crate) fn permits_endpoint(&self, position: u32, effect: Effect) -> bool {
        self.permits_effect(effect) && self.endpoints.as_ref().is_none_or(|own| own.binary_search(&position).is_ok())
    }
}

/// The most that a token could grant: every scope within the ceiling.
impl Granted for Ceiling {
    fn has(&self, scope: &str) -> bool {
        self.permits_scope(scope)
    }
}

/// What an endpoint or an operation requires of its caller in addition to scopes and bindings.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// The agents that may use it, by their positions in the order of names, sorted. `None` for every caller.
    pub(crate) agents: Option<Box<[u32]>>,
    /// The maximum age of the token.
    pub(crate) max_age: Option<Span>,
    /// The maximum lifetime of the token.
    pub(crate) max_lifetime: Option<Span>,
}

/// A maximum, and the part of the policy that requires it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) most: Duration,
    pub(crate) origin: Origin,
}

impl Reach {
    /// Returns whether a caller may use it, by the position of the agent. An unregistered caller is in no list.
    pub(crate) fn lists(&self, agent: Option<u32>) -> bool {
        self.agents.as_ref().is_none_or(|listed| agent.is_some_and(|agent| listed.binary_search(&agent).is_ok()))
    }

    /// Returns itself, or `None` if it requires nothing.
    pub(crate) fn if_any(self) -> Option<Box<Self>> {
        (self.agents.is_some() || self.max_age.is_some() || self.max_lifetime.is_some()).then(|| Box::new(self))
    }
}

impl Span {
    /// Returns whether something that was issued at this time is too old. What does not state when it was issued is.
    pub(crate) fn is_exceeded_since(self, issued: Option<Timestamp>, now: Timestamp, skew: Duration) -> bool {
        issued.is_none_or(|issued| now > issued.plus(self.most).plus(skew))
    }

    /// Returns whether a lifetime is too long. One without a beginning is.
    pub(crate) fn is_exceeded_between(self, issued: Option<Timestamp>, expires: Timestamp) -> bool {
        issued.is_none_or(|issued| expires > issued.plus(self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceiling(scopes: Option<&[&str]>, effects: Option<&[Effect]>, endpoints: Option<&[u32]>) -> Ceiling {
        Ceiling {
            scopes: scopes.map(|scopes| scopes.iter().map(|scope| Box::from(*scope)).collect()),
            effects: effects.map(Box::from),
            endpoints: endpoints.map(Box::from),
        }
    }

    #[test]
    fn an_absent_part_restricts_nothing_and_an_empty_one_permits_nothing() {
        let open = ceiling(None, None, None);
        assert!(open.permits_scope("a") && open.permits_effect(Effect::Destructive));
        assert!(open.permits_endpoint(9, Effect::Write));
        let closed = ceiling(Some(&[]), Some(&[]), Some(&[]));
        assert!(!closed.permits_scope("a") && !closed.permits_scope("") && !closed.permits_effect(Effect::Read));
        assert!(!closed.permits_endpoint(0, Effect::Read));
    }

    #[test]
    fn parts_compare_exactly_and_all_apply() {
        let own = ceiling(Some(&["a", "b:read"]), Some(&[Effect::Read]), Some(&[1, 4]));
        for (scope, permits) in [("a", true), ("b:read", true), ("A", false), ("b", false), ("b:read ", false)] {
            assert_eq!(own.permits_scope(scope), permits, "{scope}");
            assert_eq!(own.has(scope), permits, "{scope}");
        }
        for (position, effect, permits) in [
            (1, Effect::Read, true),
            (4, Effect::Read, true),
            (4, Effect::Write, false),
            (0, Effect::Read, false),
            (2, Effect::Read, false),
            (5, Effect::Read, false),
        ] {
            assert_eq!(own.permits_endpoint(position, effect), permits, "{position} {effect:?}");
        }
    }

    #[test]
    fn an_unregistered_caller_is_in_no_list() {
        let listed = Reach { agents: Some(Box::from([0, 3])), ..Reach::default() };
        assert!(listed.lists(Some(0)) && listed.lists(Some(3)));
        assert!(!listed.lists(Some(1)) && !listed.lists(Some(4)) && !listed.lists(None));
        assert!(Reach::default().lists(None) && Reach::default().lists(Some(7)));
        assert!(Reach::default().if_any().is_none() && listed.if_any().is_some());
    }

    #[test]
    fn spans_include_their_last_moment() {
        let span = Span { most: Duration::from_secs(300), origin: Origin::Endpoint };
        let (at, skew) = (Timestamp::from_secs, Duration::from_secs(60));
        let issued = Some(at(1_000));
        assert!(!span.is_exceeded_since(issued, at(1_360), skew));
        assert!(span.is_exceeded_since(issued, Timestamp::from_nanos(1_360_000_000_001), skew));
        assert!(!span.is_exceeded_since(issued, at(900), skew), "a time in the future is checked elsewhere");
        assert!(span.is_exceeded_since(None, at(0), skew));
        assert!(!span.is_exceeded_between(issued, at(1_300)));
        assert!(span.is_exceeded_between(issued, at(1_301)));
        assert!(span.is_exceeded_between(None, at(1)));
        let longest = Span { most: Duration::MAX, origin: Origin::Endpoint };
        assert!(!longest.is_exceeded_since(issued, Timestamp::from_nanos(u64::MAX), skew));
        assert!(!longest.is_exceeded_between(issued, Timestamp::from_nanos(u64::MAX)));
    }
}
