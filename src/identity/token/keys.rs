//! The keys of one issuer, and which of them a token's header chooses.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::jwks;
use crate::document::{self, SecretEncoding};
use crate::document::{Findings, Place};
use crate::identity::crypto::{Algorithm, VerifyingKey};
use crate::reason::Reason;

/// Where secrets come from: the environment of the gateway's process, or of the command line's.
pub trait Secrets {
    /// Looks up what an environment variable holds.
    fn resolve(&self, name: &str) -> SecretLookup;
}

impl<F: Fn(&str) -> SecretLookup> Secrets for F {
    fn resolve(&self, name: &str) -> SecretLookup {
        self(name)
    }
}

/// What became of looking for a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretLookup {
    /// The variable's bytes as they stand.
    Found(Vec<u8>),
    /// There is no such variable, or it is empty.
    Missing,
    /// The policy is only being checked. What it compiles to refuses the tokens that this secret would verify.
    NotNeeded,
}

impl fmt::Debug for SecretLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Found(_) => "Found(..)",
            Self::Missing => "Missing",
            Self::NotNeeded => "NotNeeded",
        })
    }
}

/// The keys of one issuer.
#[derive(Debug)]
pub(super) enum Keys {
    /// Public keys.
    Set(Vec<Key>),
    /// One shared secret; none where secrets were not looked up.
    Secret(Option<Box<VerifyingKey>>),
}

/// A public key with what its JWK says about it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    /// What it verifies: those of the issuer's algorithms that fit the key's type and its `alg`.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: VerifyingKey,
    pub(super) place: Place,
}

impl Keys {
    /// The key that verifies a token with this `kid` and algorithm.
    pub(super) fn choose(&self, kid: Option<&Value>, algorithm: Algorithm) -> Result<&VerifyingKey, Reason> {
        let keys = match self {
            Self::Set(keys) => keys,
            // A secret has no name that could choose among several, and there are not several.
            Self::Secret(secret) => return secret.as_deref().ok_or(Reason::TokenKey),
        };
        let Some(kid) = kid else {
            let mut fitting = keys.iter().filter(|key| key.algorithms.contains(&algorithm)).map(|key| &key.key);
            let only = fitting.next().ok_or(Reason::TokenKey)?;
            // One key under two names is one key.
            return if fitting.all(|other| other.is_same_as(only)) { Ok(only) } else { Err(Reason::TokenKey) };
        };
        let kid = kid.as_str().ok_or(Reason::TokenKey)?;
        let named = keys.iter().find(|key| key.kid.as_deref() == Some(kid)).ok_or(Reason::TokenKey)?;
        if named.algorithms.contains(&algorithm) { Ok(&named.key) } else { Err(Reason::TokenAlgorithm) }
    }

    /// All keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        let (set, secret) = match self {
            Self::Set(keys) => (keys.as_slice(), None),
            Self::Secret(secret) => (&[][..], secret.as_deref()),
        };
        set.iter().map(|key| &key.key).chain(secret)
    }

    /// Reads the keys of an issuer. `None` when something is wrong with them, which then stands in the findings.
    pub(super) fn compile(
        raw: &document::Issuer,
        algorithms: &[Algorithm],
        place: &Place,
        secrets: &dyn Secrets,
        findings: &mut Findings,
    ) -> Option<Self> {
        let place = place.field("keys");
        let symmetric = algorithms.contains(&Algorithm::Hs256);
        match (&raw.keys.jwks, &raw.keys.secret) {
            (Some(_), Some(_)) => {
                findings.error(place, "an issuer has either `jwks` or `secret`: remove one of them");
                None
            }
            (None, None) => {
                findings.error(place, "there are no keys: write `jwks`, or `secret` for HS256");
                None
            }
            (Some(_), None) if symmetric => {
                findings.error(place, "HS256 takes its key from the environment: write `secret: { env: NAME }`");
                None
            }
            (None, Some(_)) if !symmetric => {
                findings.error(place.field("secret"), "a secret is for HS256 alone: write `jwks` with the public keys");
                None
            }
            (Some(set), None) => jwks::compile(set, algorithms, &place.field("jwks"), findings).map(Self::Set),
            (None, Some(secret)) => match Secret::read(secret, &place.field("secret"), secrets, findings)? {
                Secret::Key(key) => Some(Self::Secret(Some(key))),
                Secret::NotNeeded => Some(Self::Secret(None)),
            },
        }
    }
}

/// What a secret of the policy came to.
#[derive(Debug)]
pub(crate) enum Secret {
    /// The key that it is.
    Key(Box<VerifyingKey>),
    /// The policy is only being checked.
    NotNeeded,
}

impl Secret {
    /// Looks a secret up and decodes it. `None` when something is wrong, which then stands in the findings.
    pub(crate) fn read(
        raw: &document::Secret,
        place: &Place,
        secrets: &dyn Secrets,
        findings: &mut Findings,
    ) -> Option<Self> {
        let Some(bytes) = look_up(raw, place, secrets, findings).ok()? else { return Some(Self::NotNeeded) };
        match VerifyingKey::hmac(&bytes) {
            Ok(key) => Some(Self::Key(Box::new(key))),
            Err(error) => {
                findings.error(place.field("env"), error.to_string());
                None
            }
        }
    }
}

/// Something is wrong with a secret, and stands in the findings.
pub(crate) struct BadSecret;

/// Looks a secret up and decodes it; none while the policy is only being checked.
pub(crate) fn look_up(
    raw: &document::Secret,
    place: &Place,
    secrets: &dyn Secrets,
    findings: &mut Findings,
) -> Result<Option<Vec<u8>>, BadSecret> {
    let env = place.field("env");
    if raw.env.is_empty() || raw.env.contains(['=', '\0']) {
        findings.error(env, "write the name of the environment variable that holds the secret");
        return Err(BadSecret);
    }
    let text = match secrets.resolve(&raw.env) {
        SecretLookup::Found(text) => text,
        SecretLookup::Missing => {
            let name = raw.env.escape_debug();
            findings.error(env, format!("the environment variable `{name}` is not set: pass it to the gateway's VM"));
            return Err(BadSecret);
        }
        SecretLookup::NotNeeded => return Ok(None),
    };
    // None of these messages may say anything about the value but how it should have been written.
    let (bytes, form) = match raw.encoding {
        None => (Some(text), ""),
        Some(SecretEncoding::Base64) => (STANDARD.decode(&text).ok(), "base64 with padding"),
        Some(SecretEncoding::Base64url) => (URL_SAFE_NO_PAD.decode(&text).ok(), "base64url without padding"),
        Some(SecretEncoding::Hex) => (decode_hex(&text), "an even number of hexadecimal digits"),
    };
    let Some(bytes) = bytes else {
        let name = raw.env.escape_debug();
        findings.error(place.field("encoding"), format!("the value of `{name}` is not {form}, without white space"));
        return Err(BadSecret);
    };
    Ok(Some(bytes))
}

fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}
