//! Checks which issuers have the same keys (`shares_keys_with`).

use std::collections::{BTreeMap, BTreeSet};

use super::issuer::Issuer;
use crate::document::{self, Findings, Place, did_you_mean};
use crate::identity::crypto::KeyIdentity;

/// Tenants of one provider share its keys. Both issuers must state it, so the sharing is known to both.
pub(super) fn check_sharing_is_mutual(
    raw: &BTreeMap<String, document::Issuer>,
    issuers: &Place,
    findings: &mut Findings,
) {
    for (name, issuer) in raw {
        let place = issuers.field(name).field("shares_keys_with");
        for (index, other) in issuer.shares_keys_with.iter().enumerate() {
            let theirs = issuers.field(other);
            let mistake = if other == name {
                "an issuer cannot share keys with itself; remove this entry".to_owned()
            } else if issuer.shares_keys_with.iter().take(index).any(|earlier| earlier == other) {
                format!("`{theirs}` is listed twice; remove one")
            } else {
                match raw.get(other) {
                    None => format!(
                        "there is no `{theirs}`; {}",
                        did_you_mean(
                            other,
                            raw.keys().map(String::as_str).filter(|known| known != name),
                            "write the name of another issuer of this policy"
                        )
                    ),
                    Some(back) if !back.shares_keys_with.contains(name) => {
                        format!(
                            "`{theirs}` does not list this issuer; add `{}` to its `shares_keys_with`",
                            name.escape_debug()
                        )
                    }
                    Some(_) => continue,
                }
            };
            findings.error(place.index(index), mistake);
        }
    }
}

/// If two issuers have the same key, one can sign tokens in the name of the other.
pub(super) fn check_shared_keys(
    raw: &BTreeMap<String, document::Issuer>,
    compiled: &[Issuer],
    issuers: &Place,
    findings: &mut Findings,
) {
    /// Includes the variable's name, so a check without secrets finds the same problems as the gateway.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Shared<'p> {
        Key(KeyIdentity),
        Variable(&'p str),
    }
    let says = |one: &str, other: &str| raw.get(one).is_some_and(|one| one.shares_keys_with.iter().any(|n| n == other));
    let mut owners: BTreeMap<Shared<'_>, Vec<&str>> = BTreeMap::new();
    for (issuer, raw) in compiled.iter().zip(raw.values()) {
        let keys = issuer.keys.iter().map(|key| Shared::Key(key.identity()));
        let variable = raw.keys.secret.iter().map(|secret| Shared::Variable(&secret.env));
        let mut surprised = BTreeSet::new();
        for key in keys.chain(variable) {
            let owners = owners.entry(key).or_default();
            let others = owners.iter().filter(|other| **other != &*issuer.name);
            surprised.extend(others.filter(|o| !(says(o, &issuer.name) && says(&issuer.name, o))).copied());
            owners.push(&issuer.name);
        }
        for other in surprised {
            findings.error(
                issuers.field(&issuer.name).field("keys"),
                format!(
                    "`{}` has one of these keys too, so each issuer could sign tokens for the other; use separate keys, or \
                     if both are tenants of one provider, list each in the other's `shares_keys_with`",
                    issuers.field(other)
                ),
            );
        }
    }
}
