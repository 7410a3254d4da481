//! Scopes: what a call takes, and whether the caller has it.

use crate::policy::raw::ScopesAsked;

/// The scopes that a call takes: those of its effect and of its endpoint, both.
#[derive(Debug, Clone, Default)]
pub(crate) struct ScopesWanted {
    all: Vec<Box<str>>,
    /// Of each group, one.
    any: Vec<Vec<Box<str>>>,
}

/// The scopes that a caller has.
pub(crate) trait Granted {
    /// Whether this scope is among them; compared exactly.
    fn has(&self, scope: &str) -> bool;
}

impl ScopesWanted {
    /// Adds what one place of the policy asks.
    pub(crate) fn add(&mut self, asked: &ScopesAsked) {
        for scope in &asked.all {
            if !self.all.iter().any(|known| **known == **scope) {
                self.all.push(scope.as_str().into());
            }
        }
        if !asked.any.is_empty() {
            self.any.push(asked.any.iter().map(|scope| scope.as_str().into()).collect());
        }
    }

    /// Whether the caller has what it takes.
    pub(crate) fn satisfied_by(&self, granted: &impl Granted) -> bool {
        self.all.iter().all(|scope| granted.has(scope))
            && self.any.iter().all(|group| group.iter().any(|scope| granted.has(scope)))
    }

    /// Every scope that the call may take, each once: what a challenge names (RFC 6750, section 3.1).
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for scope in self.all.iter().chain(self.any.iter().flatten()) {
            if !names.contains(&&**scope) {
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
        for (all, any) in lists {
            let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
            wanted.add(&ScopesAsked { all: owned(all), any: owned(any), none: false });
        }
        wanted
    }

    #[test]
    fn all_of_all_and_one_of_each_any() {
        let wanted = wanted(&[(&["a"], &["x", "y"]), (&["b"], &["z"])]);
        assert!(wanted.satisfied_by(&&["a", "b", "y", "z"][..]));
        for missing in [&["b", "x", "z"][..], &["a", "x", "z"], &["a", "b", "z"], &["a", "b", "x"], &[]] {
            assert!(!wanted.satisfied_by(&missing), "{missing:?}");
        }
        assert_eq!(wanted.names(), ["a", "b", "x", "y", "z"]);
    }

    #[test]
    fn nothing_wanted_is_satisfied_and_scopes_are_compared_exactly() {
        assert!(wanted(&[]).satisfied_by(&&[][..]));
        for close in ["pulls:Write", "pulls:write ", "pulls", "pulls:*", "pulls:write2"] {
            assert!(!wanted(&[(&["pulls:write"], &[])]).satisfied_by(&&[close][..]), "{close}");
        }
    }
}
