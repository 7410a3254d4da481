//! The scopes that other scopes include, as the policy's `scope_implies` states them.

use std::collections::BTreeMap;

use super::VerifiedToken;
use crate::document::names::{check_distinct, check_scope};
use crate::document::{Findings, Place};

/// Maps a scope to all scopes that it includes, directly or through others.
#[derive(Debug, Default)]
pub struct ImpliedScopes(BTreeMap<String, Vec<String>>);

impl ImpliedScopes {
    /// Compiles the policy's `scope_implies`. Scopes that include each other are an error.
    pub fn compile(raw: &BTreeMap<String, Vec<String>>, findings: &mut Findings) -> Self {
        let place = Place::root().field("scope_implies");
        for (scope, included) in raw {
            let place = place.field(scope);
            check_scope(scope, &place, findings);
            if included.is_empty() {
                findings.error(place.clone(), "the list is empty; write the scopes that this scope includes");
            }
            check_distinct("scope", included, &place, findings);
            for (index, scope) in included.iter().enumerate() {
                check_scope(scope, &place.index(index), findings);
            }
        }
        let mut all = BTreeMap::new();
        for scope in raw.keys() {
            let included = closure(scope, raw);
            if included.contains(scope) {
                findings.error(
                    place.field(scope),
                    format!(
                        "`{}` includes itself, directly or through the scopes that it includes; remove one of the entries",
                        scope.escape_debug()
                    ),
                );
            }
            all.insert(scope.clone(), included);
        }
        Self(all)
    }

    /// Returns the scopes that these scopes include and that are not among them, without duplicates.
    pub(crate) fn of<'s>(&self, scopes: impl Iterator<Item = &'s str> + Clone) -> Vec<String> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut included: Vec<String> = Vec::new();
        for scope in scopes.clone().filter_map(|scope| self.0.get(scope)).flatten() {
            if !scopes.clone().any(|own| own == scope.as_str()) && !included.contains(scope) {
                included.push(scope.clone());
            }
        }
        included
    }
}

impl VerifiedToken {
    /// Returns the scopes that its scopes include and that it does not have itself.
    pub(crate) fn implied(&self) -> &[String] {
        &self.implied
    }

    /// Returns whether a requirement of this scope is met: the token has it, or has a scope that includes it.
    pub(crate) fn grants(&self, scope: &str) -> bool {
        self.has_scope(scope) || self.implied.iter().any(|included| included == scope)
    }
}

/// Returns every scope that a scope includes. Each is visited once, so scopes that include each other end the search too.
fn closure(scope: &str, raw: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut found: Vec<String> = raw.get(scope).cloned().unwrap_or_default();
    let mut next = 0;
    while let Some(scope) = found.get(next).cloned() {
        next += 1;
        for included in raw.get(&scope).into_iter().flatten() {
            if !found.contains(included) {
                found.push(included.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn compile(raw: Value) -> (ImpliedScopes, Vec<String>) {
        let raw = serde_json::from_value(raw).unwrap();
        let mut findings = Findings::default();
        let implied = ImpliedScopes::compile(&raw, &mut findings);
        (implied, findings.errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn includes_scopes_through_other_scopes() {
        let (implied, errors) = compile(json!({ "admin": ["write"], "write": ["read"], "audit": ["read", "logs"] }));
        assert_eq!(errors, [""; 0]);
        let of = |scopes: &[&str]| {
            let mut included = implied.of(scopes.iter().copied());
            included.sort();
            included
        };
        assert_eq!(of(&["admin"]), ["read", "write"]);
        assert_eq!(of(&["write"]), ["read"]);
        assert_eq!(of(&["admin", "read"]), ["write"]);
        assert_eq!(of(&["admin", "audit"]), ["logs", "read", "write"]);
        for none in [&["read"][..], &[], &["Admin"], &["admin "], &["adminn"]] {
            assert_eq!(of(none), [""; 0], "{none:?}");
        }
    }

    #[test]
    fn rejects_scopes_that_include_each_other() {
        for (raw, places) in [
            (json!({ "a": ["a"] }), &["scope_implies.a"][..]),
            (json!({ "a": ["b"], "b": ["a"] }), &["scope_implies.a", "scope_implies.b"]),
            (json!({ "a": ["b"], "b": ["c"], "c": ["b"] }), &["scope_implies.b", "scope_implies.c"]),
        ] {
            let (_, errors) = compile(raw);
            assert_eq!(errors.len(), places.len(), "{errors:?}");
            for (error, place) in errors.iter().zip(places) {
                assert!(error.starts_with(&format!("{place}: ")) && error.contains("includes itself"), "{error}");
            }
        }
    }

    #[test]
    fn rejects_invalid_entries() {
        for (raw, place, says) in [
            (json!({ "a": [] }), "scope_implies.a", "the list is empty"),
            (json!({ "a": ["b", "b"] }), "scope_implies.a[1]", "is listed twice"),
            (json!({ "a": ["b*"] }), "scope_implies.a[0]", "looks like a pattern"),
            (json!({ "*": ["b"] }), "scope_implies[\"*\"]", "looks like a pattern"),
            (json!({ "a b": ["c"] }), "scope_implies[\"a b\"]", "invalid scope"),
        ] {
            let (_, errors) = compile(raw);
            assert!(errors.len() == 1 && errors[0].starts_with(place) && errors[0].contains(says), "{errors:?}");
        }
    }
}
