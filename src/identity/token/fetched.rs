//! Fetched documents: the key sets of issuers, and the metadata that names them. Which issuer uses which key of a set is decided in
//! [`fetched_keys`](super::fetched_keys).

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use super::json::{self, Bounds};
use super::jwks::{self, MAX_FETCHED_BYTES, MAX_FETCHED_KEYS};
use super::tenant;
use crate::identity::crypto::{KeyIdentity, KeyUse, PublicJwk};
use crate::text::monotonic::Monotonic;

const MOST_DEPTH: u8 = 16;
/// The maximum length of a `kid`, which appears in the log.
const MOST_KID: usize = 256;
/// The members that identify a public key and its use. Others, such as certificate chains, are not shared with the workers.
const MEMBERS: [&str; 9] = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "issuer"];
/// The member that only SPIFFE bundles have (SPIFFE Trust Domain and Bundle, section 4.1).
const BUNDLE: &str = "spiffe_sequence";
/// The member of a published set that states since when the issuer has each key.
const SINCE: &str = "since";

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
    /// Its keys can be used, but by none of the issuers whose set it is.
    NoFittingKey,
    /// Other issuers of the policy have all keys that fit.
    KeysOfOthers,
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
            Self::NoFittingKey => {
                f.write_str("none of its keys fits the issuer; compare them with its `algorithms` and `profile`")
            }
            Self::KeysOfOthers => f.write_str("another issuer of the policy has all keys that fit the issuer"),
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
    pub(super) keys: Vec<FetchedKey>,
    /// What the keys verify. Those of a SPIFFE bundle verify only JWT-SVIDs.
    pub(super) wanted: KeyUse,
    /// The number of keys that cannot be used.
    pub(crate) dropped: usize,
}

/// A key of a fetched set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FetchedKey {
    pub(super) jwk: Map<String, Value>,
    identity: KeyIdentity,
    /// When the first of the fetches started that found the key, without one in between that did not. All workers share this clock, so
    /// they agree which of two issuers had a key first. It restarts with the host, as does the store.
    pub(super) since: Monotonic,
}

impl FetchedSet {
    /// Reads a fetched key set. Keys that cannot be used are dropped: a policy's author cannot correct them, and the other keys of
    /// the issuer must continue to work. The first of several keys with the same `kid` counts.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, DocumentFault> {
        Self::read(parse(document)?)
    }

    /// Reads a set that a worker published.
    pub(crate) fn parse_published(bytes: &[u8]) -> Result<Self, DocumentFault> {
        let mut document = parse(bytes)?;
        let since = document.as_object_mut().and_then(|members| members.remove(SINCE));
        let mut set = Self::read(document)?;
        let since = since.as_ref().and_then(Value::as_array).filter(|since| since.len() == set.keys.len());
        let since = since.filter(|_| set.dropped == 0).ok_or(DocumentFault::Member(SINCE))?;
        for (key, since) in set.keys.iter_mut().zip(since) {
            key.since = since.as_u64().map(Monotonic::from_millis).ok_or(DocumentFault::Member(SINCE))?;
        }
        Ok(set)
    }

    fn read(document: Value) -> Result<Self, DocumentFault> {
        let Value::Object(mut set) = document else { return Err(DocumentFault::Member("keys")) };
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
            let (kid, identity) = (kid.map(str::to_owned), key.identity());
            // The same key may have two names. Two keys without a name must differ.
            let is_new = match &kid {
                Some(kid) => names.insert(kid.clone()),
                None => identities.insert(identity.clone()),
            };
            if is_new {
                jwk.retain(|name, _| MEMBERS.contains(&name.as_str()) || wanted == KeyUse::JwtSvids && name == "use");
                keys.push(FetchedKey { jwk, identity, since: Monotonic::default() });
            }
        }
        if keys.is_empty() {
            return Err(DocumentFault::NoKey);
        }
        let dropped = count - keys.len();
        Ok(Self { keys, wanted, dropped })
    }

    /// Records since when the issuer has each key: since one of the sets before this one had it, or since `fetched`, when the fetch of
    /// this set started. A key that left the set and returns counts as new.
    pub(crate) fn dated(mut self, fetched: Monotonic, before: [Option<&Self>; 2]) -> Self {
        for key in &mut self.keys {
            let known = before.iter().flatten().flat_map(|set| &set.keys).filter(|own| own.identity == key.identity);
            key.since = known.map(|own| own.since).min().unwrap_or(fetched);
        }
        self
    }

    /// Returns the set as workers share it. The same keys in the same order have the same bytes.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let jwks: Vec<_> = self.keys.iter().map(|key| &key.jwk).collect();
        let since: Vec<_> = self.keys.iter().map(|key| key.since.as_millis()).collect();
        let mut set = json!({ "keys": jwks, "since": since });
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

#[cfg(test)]
#[path = "fetched_tests.rs"]
mod tests;
