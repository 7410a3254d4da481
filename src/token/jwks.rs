//! A JSON Web Key Set (RFC 7517) of public keys: those that are not ours are skipped, those that are wrong stop the policy.

use serde_json::{Map, Value};

use super::keys::Key;
use crate::crypto::{Algorithm, JwkError, PublicJwk};
use crate::policy::raw;
use crate::policy::{Findings, Place};

/// Reads the keys that verify with one of these algorithms. `None` when something is wrong.
pub(super) fn compile(
    raw: &raw::JwkSet,
    algorithms: &[Algorithm],
    place: &Place,
    findings: &mut Findings,
) -> Option<Vec<Key>> {
    let place = place.field("keys");
    let errors_before = findings.errors.len();
    let mut keys: Vec<Key> = Vec::new();
    let mut kids: Vec<(&str, Place)> = Vec::new();
    for (index, jwk) in raw.keys.iter().enumerate() {
        let place = place.index(index);
        if let Some(kid) = jwk.get("kid").and_then(Value::as_str) {
            match kids.iter().find(|(taken, _)| *taken == kid) {
                Some((_, first)) => findings.error(
                    place.field("kid"),
                    format!("this is the `kid` of `{first}` as well, so it chooses neither: remove one of the keys"),
                ),
                None => kids.push((kid, place.clone())),
            }
        }
        match read(jwk, algorithms, &place) {
            Ok(key) => match keys.iter().find(|other| other.key.identity() == key.key.identity()) {
                Some(same) => {
                    findings.error(place, format!("this is the same key as `{}`: remove one of them", same.place));
                }
                None => keys.push(key),
            },
            Err(JwkError::Unknown(why)) => findings.warn(place, format!("this key is not used: {why}")),
            Err(JwkError::Wrong(member, why)) => findings.error(place.field(member), why),
        }
    }
    if findings.errors.len() > errors_before {
        return None;
    }
    if keys.is_empty() {
        findings.error(place, "no key here verifies with one of the issuer's `algorithms`: copy the issuer's key set");
        return None;
    }
    Some(keys)
}

fn read(jwk: &Map<String, Value>, algorithms: &[Algorithm], place: &Place) -> Result<Key, JwkError> {
    let PublicJwk { key, kid, algorithm } = PublicJwk::read(jwk)?;
    let meant = |asked: &Algorithm| algorithm.map_or_else(|| key.fits(*asked), |meant| meant == *asked);
    let algorithms: Vec<_> = algorithms.iter().copied().filter(meant).collect();
    if algorithms.is_empty() {
        return Err(JwkError::Unknown("none of the issuer's `algorithms` fits it".to_owned()));
    }
    Ok(Key { kid: kid.map(str::to_owned), algorithms, key, place: place.clone() })
}
