//! The keys of issuers whose key sets are fetched, as one worker uses them.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use super::issuer::{IssuerId, Issuers};
use super::json::{self, Bounds};
use super::jwks::{self, MAX_FETCHED_BYTES, MAX_FETCHED_KEYS};
use super::keys::{Key, Keys};
use super::tenant;
use crate::identity::crypto::{Algorithm, KeyIdentity, KeyUse, PublicJwk};

const MOST_DEPTH: u8 = 16;
/// The maximum length of a `kid`, which appears in the log.
const MOST_KID: usize = 256;
/// The members that identify a public key and its use. Others, such as certificate chains, are not shared with the workers.
const MEMBERS: [&str; 9] = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "issuer"];
/// The member that only SPIFFE bundles have (SPIFFE Trust Domain and Bundle, section 4.1).
const BUNDLE: &str = "spiffe_sequence";

/// Why a fetched document is not used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DocumentFault {
    /// It exceeds the maximum size.
    Size,
    /// It is not JSON.
    Json(String),
    /// A member is missing or has another type.
    Member(&'static str),
    /// The set has too many keys.
    Keys(usize),
    /// None of its keys can be used.
    NoKey,
    /// `issuer` differs from the policy.
    Issuer(String),
    /// `jwks_uri` is not an absolute URL, or its host is not in the policy.
    KeyHost(String),
}

impl fmt::Display for DocumentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => write!(f, "it is larger than {} KiB", MAX_FETCHED_BYTES / 1024),
            Self::Json(why) => write!(f, "it is not JSON: {why}"),
            Self::Member(name) => write!(f, "it has no valid `{name}`"),
            Self::Keys(count) => write!(f, "it has {count} keys; at most {MAX_FETCHED_KEYS} are accepted"),
            Self::NoKey => f.write_str("none of its keys can be used"),
            Self::Issuer(issuer) => {
                write!(f, "its `issuer` is `{}`, which is not the issuer of the policy", issuer.escape_debug())
            }
            Self::KeyHost(url) => {
                write!(f, "its `jwks_uri` is `{}`; list its host in `key_hosts`, with its cluster", url.escape_debug())
            }
        }
    }
}

/// Keys of a fetched set that can be used, in the form in which workers share them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FetchedSet {
    keys: Vec<Map<String, Value>>,
    /// What the keys verify. Those of a SPIFFE bundle verify only JWT-SVIDs.
    wanted: KeyUse,
    /// The number of keys that cannot be used.
    pub(crate) dropped: usize,
}

impl FetchedSet {
    /// Reads a fetched key set. Keys that cannot be used are dropped: a policy's author cannot correct them, and the other keys of
    /// the issuer must continue to work. The first of several keys with the same `kid` counts.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, DocumentFault> {
        let Value::Object(mut set) = parse(document)? else { return Err(DocumentFault::Member("keys")) };
        let Some(Value::Array(mut all)) = set.remove("keys") else { return Err(DocumentFault::Member("keys")) };
        if all.len() > MAX_FETCHED_KEYS {
            return Err(DocumentFault::Keys(all.len()));
        }
        let wanted = if set.contains_key(BUNDLE) { KeyUse::JwtSvids } else { KeyUse::Signatures };
        if wanted == KeyUse::JwtSvids {
            all.retain(|jwk| !jwk.as_object().is_some_and(jwks::verifies_certificates));
        }
        let count = all.len();
        let (mut names, mut identities) = (BTreeSet::new(), BTreeSet::new());
        let mut keys = Vec::new();
        for jwk in all {
            let Value::Object(mut jwk) = jwk else { continue };
            let Ok(PublicJwk { key, kid, .. }) = PublicJwk::read_for(&jwk, wanted) else { continue };
            if kid.is_some_and(|kid| kid.len() > MOST_KID) {
                continue;
            }
            let kid = kid.map(str::to_owned);
            // The same key may have two names. Two keys without a name must differ.
            let is_new = match &kid {
                Some(kid) => names.insert(kid.clone()),
                None => identities.insert(key.identity()),
            };
            if is_new {
                jwk.retain(|name, _| MEMBERS.contains(&name.as_str()) || wanted == KeyUse::JwtSvids && name == "use");
                keys.push(jwk);
            }
        }
        if keys.is_empty() {
            return Err(DocumentFault::NoKey);
        }
        let dropped = count - keys.len();
        Ok(Self { keys, wanted, dropped })
    }

    /// Returns the set as workers share it. The same keys in the same order have the same bytes.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut set = json!({ "keys": self.keys });
        // The number changes with the keys for certificates too, so it is not shared.
        if let (KeyUse::JwtSvids, Value::Object(set)) = (self.wanted, &mut set) {
            set.insert(BUNDLE.to_owned(), json!(0));
        }
        set.to_string().into_bytes()
    }
}

/// Returns the URL of the key set in an issuer's metadata, whose `issuer` must be exactly `issuer` (RFC 8414, section 3.3). If the
/// issuer has tenants, the name of the variable may differ.
pub(crate) fn key_set_url(document: &[u8], issuer: &str) -> Result<String, DocumentFault> {
    let metadata = parse(document)?;
    match metadata.get("issuer") {
        Some(Value::String(own)) if own == issuer || tenant::is_same_template(own, issuer) => {}
        Some(Value::String(own)) => return Err(DocumentFault::Issuer(own.clone())),
        _ => return Err(DocumentFault::Member("issuer")),
    }
    match metadata.get("jwks_uri") {
        Some(Value::String(url)) => Ok(url.clone()),
        _ => Err(DocumentFault::Member("jwks_uri")),
    }
}

fn parse(document: &[u8]) -> Result<Value, DocumentFault> {
    if document.len() > MAX_FETCHED_BYTES {
        return Err(DocumentFault::Size);
    }
    json::parse(document, Bounds { bytes: MAX_FETCHED_BYTES, depth: MOST_DEPTH })
        .map_err(|error| DocumentFault::Json(error.to_string()))
}

/// The keys of one issuer from a fetched set.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    pub(super) keys: Vec<Key>,
}

/// The fetched keys that a worker uses, by issuer.
#[derive(Debug, Default)]
pub struct FetchedKeys(Vec<Option<KeySet>>);

/// How the keys of an issuer changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyChange {
    /// The `kid`s of the new keys.
    pub(crate) added: Vec<String>,
    /// The `kid`s of the keys that are no longer used.
    pub(crate) removed: Vec<String>,
    /// The number of keys that another issuer of the policy has. They are not used.
    pub(crate) of_others: usize,
    /// Whether tokens that were verified earlier may have been signed with a key that is no longer used.
    pub(crate) has_removed: bool,
    /// Whether a key that is still used verifies fewer tokens than before.
    pub(crate) has_narrowed: bool,
}

impl FetchedKeys {
    /// Returns no keys.
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn of(&self, id: IssuerId) -> Option<&KeySet> {
        self.0.get(id.position())?.as_ref()
    }

    /// Returns whether a worker uses this key for the issuer.
    pub(crate) fn contains(&self, id: IssuerId, key: &KeyIdentity) -> bool {
        self.of(id).is_some_and(|set| set.keys.iter().any(|own| *own.identity == *key))
    }

    /// Replaces the keys of an issuer. A key that another issuer of the policy has is not used, unless both share their keys: that
    /// issuer could sign tokens in the name of this one.
    pub(crate) fn replace(&mut self, issuers: &Issuers, id: IssuerId, set: &FetchedSet) -> KeyChange {
        let Some(issuer) = issuers.get(id) else { return KeyChange::default() };
        let (mut keys, mut of_others) = (Vec::new(), 0);
        // Without an `iss` no key for one issuer is used, because it is not known to be for this one.
        let iss = issuer.iss.as_deref().unwrap_or_default();
        let is_usable = set.wanted == KeyUse::Signatures || issuer.svid.is_some();
        for jwk in set.keys.iter().filter(|_| is_usable) {
            let Ok(key) = jwks::read(jwk, set.wanted, Some(iss), &issuer.algorithms) else { continue };
            let key = key.into_key();
            let others = issuers.ids().filter(|other| *other != id && !issuers.share_keys(id, *other));
            if others.into_iter().any(|other| self.has(issuers, other, &key)) {
                of_others += 1;
            } else {
                keys.push(key);
            }
        }
        self.set(id, Some(KeySet { keys }), of_others)
    }

    /// Stops using the keys of an issuer, because they are too old.
    pub(crate) fn remove(&mut self, id: IssuerId) -> KeyChange {
        self.set(id, None, 0)
    }

    fn set(&mut self, id: IssuerId, set: Option<KeySet>, of_others: usize) -> KeyChange {
        if self.0.len() <= id.position() {
            self.0.resize_with(id.position().saturating_add(1), || None);
        }
        let Some(slot) = self.0.get_mut(id.position()) else { return KeyChange::default() };
        let before = std::mem::replace(slot, set).unwrap_or_default().keys;
        let after = slot.as_ref().map_or(&[][..], |set| &set.keys);
        let missing = |from: &[Key], other: &[Key]| {
            let gone = from.iter().filter(|key| !other.iter().any(|own| own.identity == key.identity));
            gone.map(|key| key.kid.clone().unwrap_or_else(|| "(no kid)".to_owned())).collect::<Vec<_>>()
        };
        let (added, removed) = (missing(after, &before), missing(&before, after));
        let same = |key: &Key| after.iter().find(|own| own.identity == key.identity && own.kid == key.kid);
        let is_narrowed = |key: &&Key| {
            same(key).is_some_and(|own| {
                let lacks = |algorithm: &Algorithm| !own.algorithms.contains(algorithm);
                key.algorithms.iter().any(lacks) || own.only_tenant.is_some() && own.only_tenant != key.only_tenant
            })
        };
        let has_narrowed = before.iter().any(|key| is_narrowed(&key));
        let has_removed = before.iter().any(|key| same(key).is_none());
        KeyChange { added, removed, of_others, has_removed, has_narrowed }
    }

    fn has(&self, issuers: &Issuers, id: IssuerId, key: &Key) -> bool {
        let inline = issuers.get(id).is_some_and(|other| other.keys.iter().any(|own| own.is_same_as(&key.key)));
        inline || self.contains(id, &key.identity)
    }
}

impl Issuers {
    /// Returns the issuers whose keys are fetched.
    pub(crate) fn fetched(&self) -> impl Iterator<Item = IssuerId> {
        self.ids().filter(|id| self.get(*id).is_some_and(|issuer| matches!(issuer.keys, Keys::Fetched)))
    }

    /// Returns whether both issuers state that they have the same keys.
    fn share_keys(&self, one: IssuerId, other: IssuerId) -> bool {
        let names = self.get(one).zip(self.get(other));
        names.is_some_and(|(one, other)| one.shares_keys_with.iter().any(|name| **name == *other.name))
    }

    /// Returns all algorithms of the issuers whose keys are fetched.
    pub(crate) fn fetched_algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.fetched().filter_map(|id| self.get(id)).flat_map(|issuer| issuer.algorithms.iter().copied())
    }
}

#[cfg(test)]
#[path = "fetched_tests.rs"]
mod tests;
