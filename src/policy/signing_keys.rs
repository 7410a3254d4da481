//! Compiles the keys with which agents sign their requests. A key is found by the name in the signature.

use std::collections::BTreeMap;

use super::expiry::{parse_expiry, parse_start};
use crate::document;
use crate::document::{Findings, Place};
use crate::identity::crypto::{Algorithm, JwkError, KeyIdentity, PublicJwk, Thumbprint, VerifyingKey};
use crate::identity::signature::{SigningKey, SigningKeys};
use crate::identity::token::{Issuers, Secret, Secrets};
use crate::text::time::Timestamp;

/// The maximum length of a `keyid` in bytes; thumbprints have 43.
const LONGEST_KEYID: usize = 256;

impl SigningKeys {
    pub(super) fn compile(
        document: &document::Document,
        issuers: &Issuers,
        secrets: &dyn Secrets,
        findings: &mut Findings,
    ) -> Self {
        let mut taken = Taken::of_issuers(document, issuers);
        let mut keys = Self::default();
        let mut thumbprints = Vec::new();
        for (position, (name, agent)) in (0..).zip(&document.agents) {
            let Some(raw) = &agent.signing_keys else { continue };
            let place = Place::root().field("agents").field(name).field("signing_keys");
            if raw.is_empty() {
                findings.error(place.clone(), "the list is empty; write a key, or remove the field");
            }
            keys.add_signer(position);
            for (index, raw) in raw.iter().enumerate() {
                let place = place.index(index);
                let Some(read) = read(raw, &place, secrets, findings) else { continue };
                taken.claim(raw, &read, &place, findings);
                let (not_before, not_after) = validity(raw, &place, findings);
                let thumbprint = read.key.as_ref().and_then(VerifyingKey::thumbprint);
                thumbprints.extend(thumbprint.map(|thumbprint| (thumbprint, place)));
                // A secret that was not looked up verifies nothing, but its name is reserved.
                let Some(key) = read.key else { continue };
                keys.add(SigningKey {
                    keyid: read.keyid,
                    agent: position,
                    thumbprint: key.thumbprint(),
                    key,
                    algorithm: read.algorithm,
                    not_before,
                    not_after,
                });
            }
        }
        check_thumbprints_name_their_own_key(&thumbprints, &taken.keyids, findings);
        keys
    }
}

/// Keys and names that must be unique, with their places.
struct Taken<'p> {
    keys: BTreeMap<Unique<'p>, Place>,
    keyids: BTreeMap<Box<str>, Place>,
}

/// A key, or the variable of a secret. The variable lets a check without secrets find the same duplicates as the gateway.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Unique<'p> {
    Key(KeyIdentity),
    Variable(&'p str),
}

impl<'p> Taken<'p> {
    /// Starts with the issuers' keys. An agent that has one could also create the tokens that its signatures are meant to
    /// strengthen.
    fn of_issuers(document: &'p document::Document, issuers: &Issuers) -> Self {
        let place = |name: &str| Place::root().field("issuers").field(name).field("keys");
        let mut keys = BTreeMap::new();
        for (name, key) in issuers.keys() {
            keys.insert(Unique::Key(key.identity()), place(name));
        }
        for (name, issuer) in &document.issuers {
            if let Some(secret) = &issuer.keys.secret {
                keys.insert(Unique::Variable(&secret.env), place(name).field("secret"));
            }
        }
        Self { keys, keyids: BTreeMap::new() }
    }

    fn claim(&mut self, raw: &'p document::SigningKey, read: &Read, place: &Place, findings: &mut Findings) {
        let key = read.key.iter().map(|key| Unique::Key(key.identity()));
        let variable = raw.secret.iter().map(|secret| Unique::Variable(&secret.env));
        let others: Vec<Place> =
            key.chain(variable).filter_map(|unique| self.keys.insert(unique, place.clone())).collect();
        if let Some(other) = others.first() {
            findings.error(
                place.clone(),
                format!(
                    "`{other}` has the same key, so its owner can sign for both; use a different key for this agent"
                ),
            );
        }
        if let Some(other) = self.keyids.insert(read.keyid.clone(), place.clone()) {
            findings.error(
                place.clone(),
                format!("`{other}` has the same keyid `{}`, so it is ambiguous; rename one of them", read.keyid),
            );
        }
    }
}

/// Checks that no `keyid` is the thumbprint of another key. A thumbprint always identifies its own key.
fn check_thumbprints_name_their_own_key(
    thumbprints: &[(Thumbprint, Place)],
    keyids: &BTreeMap<Box<str>, Place>,
    findings: &mut Findings,
) {
    for (thumbprint, own) in thumbprints {
        if let Some(place) = keyids.get(thumbprint.to_string().as_str()).filter(|place| *place != own) {
            findings.error(place.clone(), format!("this keyid is the thumbprint of the key `{own}`; choose another"));
        }
    }
}

/// A key, parsed without regard to other keys.
struct Read {
    keyid: Box<str>,
    /// `None` if secrets were not looked up.
    key: Option<VerifyingKey>,
    algorithm: Algorithm,
}

fn read(raw: &document::SigningKey, place: &Place, secrets: &dyn Secrets, findings: &mut Findings) -> Option<Read> {
    match (&raw.jwk, &raw.pem, &raw.secret) {
        (Some(jwk), None, None) => {
            let place_of_jwk = place.field("jwk");
            let jwk = match PublicJwk::read(jwk) {
                Ok(jwk) => jwk,
                Err(JwkError::Wrong(member, why)) => {
                    findings.error(place_of_jwk.field(member), why);
                    return None;
                }
                Err(JwkError::Unknown(why)) => {
                    findings.error(place_of_jwk, format!("this key cannot sign requests: {why}"));
                    return None;
                }
            };
            let algorithm = algorithm(raw, &jwk.key, jwk.algorithm, place, findings)?;
            let keyid = keyid_of_jwk(raw, &jwk, place, findings)?;
            Some(Read { keyid, key: Some(jwk.key), algorithm })
        }
        (None, Some(pem), None) => {
            let key =
                VerifyingKey::from_pem(pem).map_err(|error| findings.error(place.field("pem"), error.to_string()));
            let keyid = written_keyid(raw, place, findings);
            let key = key.ok()?;
            let algorithm = algorithm(raw, &key, None, place, findings)?;
            Some(Read { keyid: keyid?, key: Some(key), algorithm })
        }
        (None, None, Some(secret)) => {
            let secret = Secret::read(secret, &place.field("secret"), secrets, findings);
            let keyid = written_keyid(raw, place, findings);
            if raw.algorithm.is_some_and(|algorithm| Algorithm::from(algorithm) != Algorithm::Hs256) {
                findings.error(
                    place.field("algorithm"),
                    "a secret can only be used with `hmac-sha256`; write that, or nothing",
                );
                return None;
            }
            let key = match secret? {
                Secret::Key(key) => Some(*key),
                Secret::NotNeeded => None,
            };
            Some(Read { keyid: keyid?, key, algorithm: Algorithm::Hs256 })
        }
        (None, None, None) => {
            findings.error(place.clone(), "the key is missing; write `jwk`, `pem` or `secret`");
            None
        }
        _ => {
            findings.error(place.clone(), "a signing key has only one of `jwk`, `pem` and `secret`; remove the others");
            None
        }
    }
}

/// Returns the algorithm of a public key: the declared one, or else the only one that it can have.
fn algorithm(
    raw: &document::SigningKey,
    key: &VerifyingKey,
    of_jwk: Option<Algorithm>,
    place: &Place,
    findings: &mut Findings,
) -> Option<Algorithm> {
    let written = raw.algorithm.map(Algorithm::from);
    let place_of_alg = place.field("jwk").field("alg");
    let place = place.field("algorithm");
    if let Some(unnamed) = of_jwk.filter(|algorithm| algorithm.http_name().is_none()) {
        findings.error(
            place_of_alg,
            format!(
                "HTTP message signatures do not define `{}`; sign with PS512 or RS256, and write that",
                unnamed.jose_name()
            ),
        );
        return None;
    }
    if let Some(unfit) = written.filter(|algorithm| !key.fits(*algorithm)) {
        let name = unfit.http_name().unwrap_or_default();
        findings
            .error(place, format!("`{name}` is not an algorithm of this key type; write an algorithm of this type"));
        return None;
    }
    if let Some((written, of_jwk)) = written.zip(of_jwk).filter(|(written, of_jwk)| written != of_jwk) {
        findings.error(
            place,
            format!(
                "`{}` contradicts the key's `alg`, `{}`; remove one of them",
                written.http_name().unwrap_or_default(),
                of_jwk.jose_name()
            ),
        );
        return None;
    }
    let only =
        || [Algorithm::Ed25519, Algorithm::Es256, Algorithm::Es384].into_iter().find(|algorithm| key.fits(*algorithm));
    let algorithm = written.or(of_jwk).or_else(only);
    if algorithm.is_none() {
        findings.error(
            place,
            "an RSA key has several algorithms, and the client must not choose; write `rsa-pss-sha512` or `rsa-v1_5-sha256`",
        );
    }
    algorithm
}

/// Returns the JWK's `kid` or its thumbprint. `keyid` may select either.
fn keyid_of_jwk(
    raw: &document::SigningKey,
    jwk: &PublicJwk<'_>,
    place: &Place,
    findings: &mut Findings,
) -> Option<Box<str>> {
    let thumbprint = jwk.key.thumbprint()?.to_string();
    match &raw.keyid {
        Some(written) if *written == thumbprint || Some(written.as_str()) == jwk.kid => {}
        Some(_) => {
            findings.error(
                place.field("keyid"),
                format!(
                    "this is neither the JWK's `kid` nor its thumbprint `{thumbprint}`; write it as the JWK's `kid`"
                ),
            );
            return None;
        }
        None => {}
    }
    let place = if jwk.kid.is_some() { place.field("jwk").field("kid") } else { place.field("keyid") };
    check_keyid(raw.keyid.as_deref().or(jwk.kid).unwrap_or(&thumbprint), &place, findings)
}

fn written_keyid(raw: &document::SigningKey, place: &Place, findings: &mut Findings) -> Option<Box<str>> {
    let place = place.field("keyid");
    match &raw.keyid {
        Some(keyid) => check_keyid(keyid, &place, findings),
        None => {
            findings.error(place, "this key has no name; write the `keyid` in the agent's signatures");
            None
        }
    }
}

/// Checks a `keyid`, which is a String of RFC 9651, section 3.3.3.
fn check_keyid(keyid: &str, place: &Place, findings: &mut Findings) -> Option<Box<str>> {
    if keyid.is_empty() || keyid.len() > LONGEST_KEYID || !keyid.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        findings.error(
            place.clone(),
            format!(
                "invalid keyid `{}`; expected 1 to {LONGEST_KEYID} printable ASCII characters",
                keyid.escape_debug()
            ),
        );
        return None;
    }
    Some(keyid.into())
}

fn validity(
    raw: &document::SigningKey,
    place: &Place,
    findings: &mut Findings,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let mut read = |text: &Option<String>, field: &str, parse: fn(&str) -> Option<Timestamp>| {
        let text = text.as_deref()?;
        let moment = parse(text);
        if moment.is_none() {
            findings.error(
                place.field(field),
                format!("invalid date `{}`; expected `2027-06-30` or `2027-06-30T12:00:00Z`", text.escape_debug()),
            );
        }
        moment
    };
    let start = read(&raw.not_before, "not_before", parse_start);
    let end = read(&raw.not_after, "not_after", parse_expiry);
    // Keys that are published for Web Bot Auth contain their validity.
    let mut of_jwk = |member: &str| {
        let value = raw.jwk.as_ref()?.get(member)?;
        let seconds = value.as_u64();
        if seconds.is_none() {
            findings.error(place.field("jwk").field(member), "expected a whole number of seconds since 1970");
        }
        seconds.map(Timestamp::from_secs)
    };
    let start = [start, of_jwk("nbf")].into_iter().flatten().max();
    let end = [end, of_jwk("exp")].into_iter().flatten().min();
    if start.zip(end).is_some_and(|(start, end)| end <= start) {
        findings.error(place.field("not_after"), "the key would never be valid, because this is before `not_before`");
    }
    (start, end)
}

impl From<document::HttpAlgorithm> for Algorithm {
    fn from(name: document::HttpAlgorithm) -> Self {
        match name {
            document::HttpAlgorithm::EcdsaP256Sha256 => Self::Es256,
            document::HttpAlgorithm::EcdsaP384Sha384 => Self::Es384,
            document::HttpAlgorithm::Ed25519 => Self::Ed25519,
            document::HttpAlgorithm::HmacSha256 => Self::Hs256,
            document::HttpAlgorithm::RsaPssSha512 => Self::Ps512,
            document::HttpAlgorithm::RsaV15Sha256 => Self::Rs256,
        }
    }
}

#[cfg(test)]
#[path = "signing_keys_tests.rs"]
mod tests;
