//! The scopes that a request requires, and the check that the agent has them.

use crate::document::{Effect, ScopesAsked};

/// The scopes that a request requires: those of its effect and those of its endpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct ScopesWanted {
    parts: Vec<(Origin, ScopesAsked)>,
}

/// The part of the policy with the requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The requirements of the endpoint's effect.
    Effect(Effect),
    /// The endpoint itself.
    Endpoint,
}

/// The scopes that an agent has.
pub(crate) trait Granted {
    /// Returns whether this scope is one of them. Scopes are compared exactly.
    fn has(&self, scope: &str) -> bool;
}

impl ScopesWanted {
    /// Adds the requirements of one part of the policy.
    pub(crate) fn add(&mut self, origin: Origin, asked: &ScopesAsked) {
        if !asked.none {
            self.parts.push((origin, asked.clone()));
        }
    }

    /// Returns the first part of the policy whose requirement the agent does not meet.
    pub(crate) fn missing(&self, granted: &impl Granted) -> Option<Origin> {
        let has = |scope: &String| granted.has(scope);
        let lacking =
            |asked: &ScopesAsked| !asked.all.iter().all(has) || !(asked.any.is_empty() || asked.any.iter().any(has));
        self.parts.iter().find(|(_, asked)| lacking(asked)).map(|(origin, _)| *origin)
    }

    /// Iterates over the requirements: the scopes that are all required, and those of which one is, if there are any.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&[String], &[String])> {
        self.parts.iter().map(|(_, asked)| (&*asked.all, &*asked.any))
    }

    /// Returns every scope that the request may require, without duplicates, for a challenge (RFC 6750, section 3.1).
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let all = self.parts.iter().flat_map(|(_, asked)| &asked.all);
        for scope in all.chain(self.parts.iter().flat_map(|(_, asked)| &asked.any)) {
            if !names.contains(&scope.as_str()) {
                names.push(scope);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Granted for &[&str] {
        fn has(&self, scope: &str) -> bool {
            self.contains(&scope)
        }
    }

    fn wanted(lists: &[(&[&str], &[&str])]) -> ScopesWanted {
        let mut wanted = ScopesWanted::default();
        for ((all, any), origin) in lists.iter().zip([Origin::Effect(Effect::Write), Origin::Endpoint]) {
            let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
            wanted.add(origin, &ScopesAsked { all: owned(all), any: owned(any), none: false });
        }
        wanted
    }

    #[test]
    fn requires_all_scopes_and_one_of_each_any_list() {
        let wanted = wanted(&[(&["a"], &["x", "y"]), (&["b"], &["z"])]);
        assert_eq!(wanted.missing(&&["a", "b", "y", "z"][..]), None);
        let effect = Some(Origin::Effect(Effect::Write));
        for (held, origin) in [
            (&["b", "x", "z"][..], effect),
            (&["a", "b", "z"], effect),
            (&[], effect),
            (&["a", "x", "z"], Some(Origin::Endpoint)),
            (&["a", "b", "x"], Some(Origin::Endpoint)),
        ] {
            assert_eq!(wanted.missing(&held), origin, "{held:?}");
        }
        assert_eq!(wanted.names(), ["a", "b", "x", "y", "z"]);
    }

    #[test]
    fn accepts_if_none_are_required_and_compares_exactly() {
        assert_eq!(wanted(&[]).missing(&&[][..]), None);
        for close in ["pulls:Write", "pulls:write ", "pulls", "pulls:*", "pulls:write2"] {
            assert!(wanted(&[(&["pulls:write"], &[])]).missing(&&[close][..]).is_some(), "{close}");
        }
    }
}
