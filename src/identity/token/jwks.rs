//! JSON Web Key Sets (RFC 7517) of public keys. Unsupported keys are skipped; invalid keys are errors of the policy.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::keys::Key;
use super::tenant;
use crate::document;
use crate::document::{Findings, Place};
use crate::identity::crypto::{Algorithm, JwkError, PublicJwk};

/// Reads the keys that verify tokens of this `iss` with one of these algorithms. Returns `None` if there is an error.
pub(super) fn compile(
    raw: &document::JwkSet,
    issuer: &str,
    algorithms: &[Algorithm],
    place: &Place,
    findings: &mut Findings,
) -> Option<Vec<Key>> {
    let place = place.field("keys");
    let errors_before = findings.errors.len();
    let mut keys: Vec<Key> = Vec::new();
    for (index, jwk) in raw.keys.iter().enumerate() {
        let place = place.index(index);
        match read(jwk, issuer, algorithms, &place) {
            Ok(key) => {
                check_kid(&key, &keys, findings);
                keys.push(key);
            }
            // This comes before the comparison of names, because some providers use the same `kid` for an encryption key and a signing
            // key.
            Err(JwkError::Unknown(why)) => findings.warn(place, format!("this key is not used: {why}")),
            Err(JwkError::Wrong(member, why)) => findings.error(place.field(member), why),
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

/// Checks that a name identifies one key. One key may have two names, for example while it is renamed.
fn check_kid(key: &Key, others: &[Key], findings: &mut Findings) {
    let Some(other) = others.iter().find(|other| match &key.kid {
        Some(kid) => other.kid.as_ref() == Some(kid),
        None => other.kid.is_none() && other.key.is_same_as(&key.key),
    }) else {
        return;
    };
    let first = &other.place;
    match &key.kid {
        _ if other.key.is_same_as(&key.key) => {
            findings.error(key.place.clone(), format!("`{first}` is the same key; remove one of them"));
        }
        _ => findings.error(
            key.place.field("kid"),
            format!("`{first}` has the same `kid`, so it identifies neither key; remove one of the keys"),
        ),
    }
}

/// Reads one key. `issuer` is the `iss` of the tokens that it verifies, and `place` its place in the policy.
pub(super) fn read(
    jwk: &Map<String, Value>,
    issuer: &str,
    algorithms: &[Algorithm],
    place: &Place,
) -> Result<Key, JwkError> {
    let PublicJwk { key, kid, algorithm } = PublicJwk::read(jwk)?;
    let only_tenant = tenant::only_tenant(jwk, issuer)?;
    let meant = |asked: &Algorithm| algorithm.map_or_else(|| key.fits(*asked), |meant| meant == *asked);
    let algorithms: Vec<_> = algorithms.iter().copied().filter(meant).collect();
    if algorithms.is_empty() {
        return Err(JwkError::Unknown("none of the issuer's `algorithms` fits it".to_owned()));
    }
    let identity = Arc::new(key.identity());
    Ok(Key { kid: kid.map(str::to_owned), algorithms, key, identity, only_tenant, place: place.clone() })
}
