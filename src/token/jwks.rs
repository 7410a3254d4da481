//! A JSON Web Key Set (RFC 7517) of public keys, read strictly where a mistake would open the gate and leniently where
//! providers differ.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::keys::Key;
use crate::crypto::{Algorithm, KeyError, VerifyingKey};
use crate::policy::raw;
use crate::policy::{Findings, Place};

/// Members that only a private or secret key has (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1), with `priv` of the types for
/// post-quantum algorithms.
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// Why a key of a set is not used.
enum Unused {
    /// The set may contain it; it is none of ours.
    Skip(String),
    /// It must not be there.
    Wrong(&'static str, String),
}

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
            Err(Unused::Skip(why)) => findings.warn(place, format!("this key is not used: {why}")),
            Err(Unused::Wrong(member, why)) => findings.error(place.field(member), why),
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

fn read(jwk: &Map<String, Value>, algorithms: &[Algorithm], place: &Place) -> Result<Key, Unused> {
    if let Some(member) = PRIVATE_MEMBERS.into_iter().find(|member| jwk.contains_key(*member)) {
        let why = "this belongs to a private or secret key, which has no place in a policy: write the public key, and \
                   replace the one that was exposed here";
        return Err(Unused::Wrong(member, why.to_owned()));
    }
    let kid = text(jwk, "kid")?.map(str::to_owned);
    meant_for_verifying(jwk)?;
    let key = match (required(jwk, "kty")?, text(jwk, "crv")?) {
        ("EC", Some("P-256")) => VerifyingKey::p256(&coordinate(jwk, "x")?, &coordinate(jwk, "y")?),
        ("EC", Some("P-384")) => VerifyingKey::p384(&coordinate(jwk, "x")?, &coordinate(jwk, "y")?),
        ("OKP", Some("Ed25519")) => VerifyingKey::ed25519(&coordinate(jwk, "x")?),
        ("RSA", _) => VerifyingKey::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?),
        ("EC" | "OKP", None) => return Err(wrong("crv", "the curve is missing: write `crv`")),
        ("EC" | "OKP", Some(curve)) => return Err(skip(format!("its curve `{}` is not known", curve.escape_debug()))),
        (other, _) => return Err(skip(format!("its type `{}` is not known", other.escape_debug()))),
    };
    let key = key.map_err(|error| {
        let member = match error {
            KeyError::Point => "x",
            KeyError::RsaShort | KeyError::RsaLong | KeyError::RsaValues | KeyError::SecretShort => "n",
        };
        Unused::Wrong(member, error.to_string())
    })?;
    let algorithms: Vec<_> = match text(jwk, "alg")? {
        None => algorithms.iter().copied().filter(|algorithm| key.fits(*algorithm)).collect(),
        Some(name) => match Algorithm::from_jose(name) {
            None => return Err(skip(format!("its algorithm `{}` is not known", name.escape_debug()))),
            Some(named) if !key.fits(named) => {
                return Err(wrong(
                    "alg",
                    format!("`{}` is no algorithm for a key of this type: copy the key again", named.jose_name()),
                ));
            }
            Some(named) => algorithms.iter().copied().filter(|algorithm| *algorithm == named).collect(),
        },
    };
    if algorithms.is_empty() {
        return Err(skip("none of the issuer's `algorithms` fits it".to_owned()));
    }
    Ok(Key { kid, algorithms, key, place: place.clone() })
}

/// `use` and `key_ops` (RFC 7517, sections 4.2 and 4.3).
fn meant_for_verifying(jwk: &Map<String, Value>) -> Result<(), Unused> {
    match text(jwk, "use")? {
        None | Some("sig") => {}
        Some(other) => return Err(skip(format!("its `use` is `{}`, not `sig`", other.escape_debug()))),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().all(Value::is_string) => {
            let verifies = operations.iter().any(|operation| operation == "verify");
            if verifies { Ok(()) } else { Err(skip("its `key_ops` do not contain `verify`".to_owned())) }
        }
        Some(_) => Err(wrong("key_ops", "write a list of operations, such as `[\"verify\"]`")),
    }
}

fn text<'j>(jwk: &'j Map<String, Value>, member: &'static str) -> Result<Option<&'j str>, Unused> {
    match jwk.get(member) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(wrong(member, "write a text that is not empty")),
    }
}

fn required<'j>(jwk: &'j Map<String, Value>, member: &'static str) -> Result<&'j str, Unused> {
    text(jwk, member)?
        .ok_or_else(|| wrong(member, format!("the key has no `{member}`: copy it from the issuer's key set")))
}

fn bytes(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, Unused> {
    let text = required(jwk, member)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong(member, "this is no base64url without padding: copy the key again"))
}

/// A coordinate of exactly the curve's length (RFC 7518, section 6.2.1.2).
fn coordinate<const N: usize>(jwk: &Map<String, Value>, member: &'static str) -> Result<[u8; N], Unused> {
    bytes(jwk, member)?.try_into().map_err(|_| {
        wrong(member, format!("this does not have the {N} bytes that the curve asks for: copy the key again"))
    })
}

fn wrong(member: &'static str, why: impl Into<String>) -> Unused {
    Unused::Wrong(member, why.into())
}

fn skip(why: String) -> Unused {
    Unused::Skip(why)
}
