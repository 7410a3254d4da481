//! Reviews the keys of a set: which of them a policy can use, and what its author must know about the others.
//!
//! The engine reads the keys. This module only words the results.

use std::collections::BTreeMap;

use callgate::identity::crypto::{Algorithm, KeyUse, private_member};
use callgate::identity::token::{
    KeyProblem, MAX_FETCHED_BYTES, MAX_FETCHED_KEYS, UsableKey, read_keys, verifies_certificates,
};
use serde_json::{Map, Value};

use super::document::{self, Keys};

/// A JWK as it was given.
type Jwk = Map<String, Value>;

/// What the engine makes of a key.
type Reading<'j> = Result<UsableKey<'j>, KeyProblem>;

/// Something that the user must know about a key, or about the set if the place is empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remark {
    pub(super) place: String,
    pub(super) message: String,
}

/// A key set as a policy can use it.
#[derive(Debug)]
pub(super) struct Review {
    /// The usable keys, each with the members that a policy needs.
    pub(super) keys: Vec<BTreeMap<String, Value>>,
    /// The algorithms that they verify.
    pub(super) algorithms: Vec<Algorithm>,
    /// Whether a key does not state which of several algorithms it is for.
    pub(super) is_ambiguous: bool,
    /// The version of the set, if it is a SPIFFE bundle.
    pub(super) spiffe_sequence: Option<u64>,
    pub(super) warnings: Vec<Remark>,
}

/// Reads a key set for an issuer that signs with some of these algorithms.
///
/// # Errors
/// Returns the reasons why no part of the document may be printed.
pub(super) fn review(bytes: &[u8], algorithms: &[Algorithm]) -> Result<Review, Vec<Remark>> {
    let Keys { keys, is_single, spiffe_sequence } = document::read(bytes).map_err(|message| vec![of_set(message)])?;
    let leaks: Vec<Remark> = keys.iter().enumerate().filter_map(leak).collect();
    if !leaks.is_empty() {
        return Err(leaks);
    }
    let mut warnings = about_document(bytes.len(), keys.len(), is_single);
    let wanted = if spiffe_sequence.is_some() { KeyUse::JwtSvids } else { KeyUse::Signatures };
    let read = read_keys(&keys, wanted, None, algorithms);
    let (mut printed, mut verified, mut is_ambiguous) = (Vec::new(), Vec::new(), false);
    for (index, (jwk, key)) in keys.iter().zip(&read).enumerate() {
        let key = key.as_ref().map_err(|problem| describe(problem, &keys)).and_then(|key| {
            let has_its_name =
                |other: &Reading<'_>| matches!(other, Err(KeyProblem::Ambiguous(first)) if *first == index);
            let namesake = read.iter().position(has_its_name);
            namesake.map_or(Ok(key), |other| Err(ambiguous(other, &keys)))
        });
        match key {
            Ok(key) => {
                let notes = about_key(jwk, key, read.get(..index).unwrap_or_default(), &keys);
                warnings.extend(notes.into_iter().map(|message| Remark { place: place(index, jwk), message }));
                verified.extend(&key.algorithms);
                is_ambiguous |= key.algorithms.len() > 1;
                printed.push(needed(jwk));
            }
            // Every SPIFFE bundle has keys for certificates.
            Err(_) if wanted == KeyUse::JwtSvids && verifies_certificates(jwk) => {}
            Err(message) => warnings.push(Remark { place: place(index, jwk), message }),
        }
    }
    if printed.is_empty() {
        let none = if keys.is_empty() { "the set has no keys" } else { "no key of the set can be used" };
        let message = format!("{none}; an issuer with it would verify no token");
        warnings.push(of_set(message));
        return Err(warnings);
    }
    verified.sort_unstable();
    verified.dedup();
    Ok(Review { keys: printed, algorithms: verified, is_ambiguous, spiffe_sequence, warnings })
}

/// Returns the sentence about a private key in a document, whose beginning names it.
pub(super) fn leaked(what: &str) -> String {
    format!(
        "{what}; treat it as leaked, because whoever received this document can sign tokens with it: replace it at the \
         issuer, and publish only public keys"
    )
}

fn leak((index, jwk): (usize, &Jwk)) -> Option<Remark> {
    let kind = if jwk.get("kty").is_some_and(|kty| kty == "oct") { "secret" } else { "private" };
    let member = private_member(jwk)?;
    Some(Remark {
        place: place(index, jwk),
        message: leaked(&format!("this is a {kind} key, with the member `{member}`")),
    })
}

/// Returns what prevents Callgate from fetching the document, and what must be known to copy it.
fn about_document(bytes: usize, keys: usize, is_single: bool) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if is_single {
        remarks.push("this is a single key, not a set; it is printed as a set of one key".to_owned());
    }
    if bytes > MAX_FETCHED_BYTES {
        let most = MAX_FETCHED_BYTES >> 10;
        remarks.push(format!("the document has {bytes} bytes; Callgate fetches at most {most} KiB"));
    }
    if keys > MAX_FETCHED_KEYS {
        remarks.push(format!("the set has {keys} keys; Callgate fetches at most {MAX_FETCHED_KEYS}"));
    }
    remarks.into_iter().map(of_set).collect()
}

/// Returns why a key is left out.
fn describe(problem: &KeyProblem, keys: &[Jwk]) -> String {
    let why = match problem {
        KeyProblem::Unused(why) => return format!("left out, because Callgate does not use it: {why}"),
        KeyProblem::Invalid(member, why) => format!("`{member}`: {why}"),
        KeyProblem::Repeated(first) => format!("it is the same key as {}", name(*first, keys)),
        KeyProblem::Ambiguous(first) => return ambiguous(*first, keys),
    };
    format!("left out, because a policy with it is invalid: {why}")
}

fn ambiguous(other: usize, keys: &[Jwk]) -> String {
    format!(
        "left out, because {} is another key with the same `kid`, so it identifies neither; ask the issuer to name its \
         keys differently",
        name(other, keys)
    )
}

/// Returns what must be known about a key that is printed.
fn about_key(jwk: &Jwk, key: &UsableKey<'_>, earlier: &[Reading<'_>], keys: &[Jwk]) -> Vec<String> {
    let mut notes = Vec::new();
    if key.kid.is_none() {
        notes.push(
            "without `kid`, it verifies only tokens without `kid`, and only if no other key fits their algorithm"
                .to_owned(),
        );
    }
    if !jwk.contains_key("alg") {
        let names: Vec<_> = key.algorithms.iter().map(|algorithm| algorithm.jose_name()).collect();
        notes.push(format!(
            "without `alg`, it verifies each of the issuer's `algorithms` that fits it: {}",
            names.join(", ")
        ));
    }
    let is_same = |other: &Reading<'_>| other.as_ref().is_ok_and(|other| other.key.is_same_as(&key.key));
    if let Some(first) = earlier.iter().position(is_same) {
        notes.push(format!("it is the same key as {}, which Callgate accepts under both names", name(first, keys)));
    }
    // A shared set of several tenants restricts keys with this member, as Entra ID does. `{` begins a placeholder for any tenant.
    if let Some(issuer) = jwk.get("issuer").and_then(Value::as_str).filter(|issuer| !issuer.contains('{')) {
        notes.push(format!("it is only for tokens with the `iss` `{issuer}`"));
    }
    notes
}

/// Returns the members of a JWK that a policy needs. `issuer` is one of them, because without it a key would be less restricted.
fn needed(jwk: &Jwk) -> BTreeMap<String, Value> {
    let of_type: &[&str] = match jwk.get("kty").and_then(Value::as_str) {
        Some("RSA") => &["n", "e"],
        Some("EC") => &["crv", "x", "y"],
        _ => &["crv", "x"],
    };
    let members = ["kty", "kid", "alg", "use", "issuer"].iter().chain(of_type);
    members.filter_map(|member| Some(((*member).to_owned(), jwk.get(*member)?.clone()))).collect()
}

fn name(index: usize, keys: &[Jwk]) -> String {
    keys.get(index).map_or_else(String::new, |jwk| place(index, jwk))
}

fn place(index: usize, jwk: &Jwk) -> String {
    match jwk.get("kid").and_then(Value::as_str) {
        Some(kid) => format!("keys[{index}] (kid `{kid}`)"),
        None => format!("keys[{index}]"),
    }
}

fn of_set(message: String) -> Remark {
    Remark { place: String::new(), message }
}
