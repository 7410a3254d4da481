//! JSON Web Key Sets (RFC 7517) of public keys. Unsupported keys are skipped; invalid keys are errors of the policy.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::keys::Key;
use super::tenant;
use crate::document::{self, Profile};
use crate::document::{Findings, Place};
use crate::identity::crypto::{Algorithm, JwkError, KeyUse, PublicJwk, VerifyingKey};

/// The maximum size of a key set that is fetched from its issuer, in bytes.
pub const MAX_FETCHED_BYTES: usize = 256 << 10;

/// The maximum number of keys in a key set that is fetched from its issuer.
pub const MAX_FETCHED_KEYS: usize = 100;

/// A key of a set that verifies tokens of an issuer.
#[derive(Debug)]
pub struct UsableKey<'j> {
    /// Its key ID.
    pub kid: Option<&'j str>,
    /// The issuer's algorithms that fit the key's type and its `alg`. There is at least one.
    pub algorithms: Vec<Algorithm>,
    /// The only tenant whose tokens the key verifies. `None` if it verifies all tokens of the issuer.
    pub(super) only_tenant: Option<Box<str>>,
    /// The key.
    pub key: VerifyingKey,
}

impl UsableKey<'_> {
    pub(super) fn into_key(self) -> Key {
        let Self { kid, algorithms, only_tenant, key } = self;
        Key { kid: kid.map(str::to_owned), identity: Arc::new(key.identity()), algorithms, only_tenant, key }
    }
}

/// The reason why a key of a set verifies no tokens of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyProblem {
    /// The key is for another purpose, or of a type that is not supported. The set is valid.
    Unused(String),
    /// A member has an invalid value.
    Invalid(&'static str, String),
    /// The earlier key with this index is the same key.
    Repeated(usize),
    /// The earlier key with this index has the same `kid`, so it identifies neither key.
    Ambiguous(usize),
}

impl From<JwkError> for KeyProblem {
    fn from(error: JwkError) -> Self {
        match error {
            JwkError::Unknown(why) => Self::Unused(why),
            JwkError::Wrong(member, why) => Self::Invalid(member, why),
        }
    }
}

/// Reads the keys of a set for an issuer with these algorithms. `wanted` is the use of the set's keys, and `issuer` the `iss` of its
/// tokens, if it is known. The result has one item for each key, in the order of the set.
#[must_use]
pub fn read_keys<'j>(
    keys: &'j [Map<String, Value>],
    wanted: KeyUse,
    issuer: Option<&str>,
    algorithms: &[Algorithm],
) -> Vec<Result<UsableKey<'j>, KeyProblem>> {
    let mut all: Vec<Result<UsableKey<'j>, KeyProblem>> = Vec::with_capacity(keys.len());
    for jwk in keys {
        // Names are compared after unused keys are left out, because some providers use the same `kid` for an encryption key and a
        // signing key.
        let key = read(jwk, wanted, issuer, algorithms).and_then(|key| match conflict(&key, &all) {
            None => Ok(key),
            Some(problem) => Err(problem),
        });
        all.push(key);
    }
    all
}

/// Checks that a name identifies one key. One key may have two names, for example while it is renamed.
fn conflict(key: &UsableKey<'_>, earlier: &[Result<UsableKey<'_>, KeyProblem>]) -> Option<KeyProblem> {
    let mut usable = earlier.iter().enumerate().filter_map(|(index, other)| Some((index, other.as_ref().ok()?)));
    let (first, other) = usable.find(|(_, other)| match key.kid {
        Some(_) => other.kid == key.kid,
        None => other.kid.is_none() && other.key.is_same_as(&key.key),
    })?;
    Some(if other.key.is_same_as(&key.key) { KeyProblem::Repeated(first) } else { KeyProblem::Ambiguous(first) })
}

/// Reads one key.
pub(super) fn read<'j>(
    jwk: &'j Map<String, Value>,
    wanted: KeyUse,
    issuer: Option<&str>,
    algorithms: &[Algorithm],
) -> Result<UsableKey<'j>, KeyProblem> {
    let PublicJwk { key, kid, algorithm } = PublicJwk::read_for(jwk, wanted)?;
    let only_tenant = issuer.map_or(Ok(None), |issuer| tenant::only_tenant(jwk, issuer))?;
    let meant = |asked: &Algorithm| algorithm.map_or_else(|| key.fits(*asked), |meant| meant == *asked);
    let algorithms: Vec<_> = algorithms.iter().copied().filter(meant).collect();
    if algorithms.is_empty() {
        return Err(KeyProblem::Unused("none of the issuer's `algorithms` fits it".to_owned()));
    }
    Ok(UsableKey { kid, algorithms, only_tenant, key })
}

/// Returns whether a key of a SPIFFE bundle verifies certificates. Every bundle has such keys, so they are ignored
/// without a message.
#[must_use]
pub fn verifies_certificates(jwk: &Map<String, Value>) -> bool {
    jwk.get("use").is_some_and(|usage| usage == "x509-svid")
}

/// Reads the keys that verify tokens of this issuer with one of these algorithms. Returns `None` if there is an error.
pub(super) fn compile(
    raw: &document::JwkSet,
    issuer: &document::Issuer,
    algorithms: &[Algorithm],
    place: &Place,
    findings: &mut Findings,
) -> Option<Vec<Key>> {
    let wanted = if raw.spiffe_sequence.is_some() { KeyUse::JwtSvids } else { KeyUse::Signatures };
    if wanted == KeyUse::JwtSvids && issuer.profile != Profile::JwtSvid {
        findings.error(
            place.field("spiffe_sequence"),
            "this is a SPIFFE bundle, whose keys verify only JWT-SVIDs; write `profile: jwt-svid`, or the issuer's own key set",
        );
        return None;
    }
    let place = place.field("keys");
    let errors_before = findings.errors.len();
    let mut keys: Vec<Key> = Vec::new();
    // Without an `iss` no key for one issuer is used, because it is not known to be for this one.
    let iss = issuer.issuer.as_deref().unwrap_or_default();
    let read = read_keys(&raw.keys, wanted, Some(iss), algorithms);
    for (index, (key, jwk)) in read.into_iter().zip(&raw.keys).enumerate() {
        let here = place.index(index);
        match key {
            Err(KeyProblem::Unused(_)) if wanted == KeyUse::JwtSvids && verifies_certificates(jwk) => {}
            Ok(key) => keys.push(key.into_key()),
            Err(KeyProblem::Unused(why)) => findings.warn(here, format!("this key is not used: {why}")),
            Err(KeyProblem::Invalid(member, why)) => findings.error(here.field(member), why),
            Err(KeyProblem::Repeated(first)) => {
                findings.error(here, format!("`{}` is the same key; remove one of them", place.index(first)));
            }
            Err(KeyProblem::Ambiguous(first)) => {
                let first = place.index(first);
                let why = format!("`{first}` has the same `kid`, so it identifies neither key; remove one of the keys");
                findings.error(here.field("kid"), why);
            }
        }
    }
    if findings.errors.len() > errors_before {
        return None;
    }
    if keys.is_empty() {
        findings.error(
            place,
            "none of these keys can be used with this issuer and its `algorithms`; copy the issuer's key set",
        );
        return None;
    }
    Some(keys)
}
