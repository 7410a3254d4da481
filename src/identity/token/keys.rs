//! The keys of one issuer, and the choice of the key by a token's header.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::fetched_keys::KeySet;
use super::jwks;
use crate::document::{self, SecretEncoding};
use crate::document::{Findings, Place};
use crate::identity::crypto::{Algorithm, KeyIdentity, VerifyingKey};
use crate::reason::Reason;

/// The source of secrets: the environment of the gateway's process, or that of the command line.
pub trait Secrets {
    /// Looks up the value of an environment variable.
    fn resolve(&self, name: &str) -> SecretLookup;
}

impl<F: Fn(&str) -> SecretLookup> Secrets for F {
    fn resolve(&self, name: &str) -> SecretLookup {
        self(name)
    }
}

/// The result of looking up a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretLookup {
    /// The variable's bytes, unchanged.
    Found(Vec<u8>),
    /// The variable does not exist or is empty.
    Missing,
    /// The policy is only checked. The compiled policy rejects the tokens that this secret would verify.
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
    /// One shared secret, or `None` if secrets were not looked up.
    Secret(Option<Box<VerifyingKey>>),
    /// Public keys that the gate fetches. Each worker has them in its [`FetchedKeys`](super::FetchedKeys).
    Fetched,
}

/// The keys that may have signed a token.
#[derive(Debug)]
pub(super) enum Choice<'k> {
    /// The key that the token names, or the only one that fits.
    Key(&'k VerifyingKey),
    /// The fetched key that the token names.
    Fetched(&'k Key),
    /// Fetched keys. The token names none, and while an issuer rotates its keys, two fit.
    AnyOf(Vec<&'k Key>),
    /// None. A newer set may have the key.
    Awaited(Reason),
}

/// The maximum number of keys that are tried for a token that names none.
const MOST_TRIED: usize = 4;

/// A public key and the metadata in its JWK.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    /// The issuer's algorithms that fit the key's type and its `alg`.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: VerifyingKey,
    pub(super) identity: Arc<KeyIdentity>,
    /// The only tenant whose tokens the key verifies. `None` if it verifies all tokens of the issuer.
    pub(super) only_tenant: Option<Box<str>>,
}

impl Key {
    /// Returns whether the key verifies tokens of this tenant.
    fn serves(&self, tenant: Option<&str>) -> bool {
        self.only_tenant.is_none() || self.only_tenant.as_deref() == tenant
    }
}

impl Keys {
    /// Returns the keys that may verify a token of this tenant with this `kid` and algorithm. `fetched` is the issuer's fetched set,
    /// if its keys are fetched and present.
    pub(super) fn choose<'k>(
        &'k self,
        kid: Option<&Value>,
        algorithm: Algorithm,
        tenant: Option<&str>,
        fetched: Option<&'k KeySet>,
    ) -> Result<Choice<'k>, Reason> {
        match self {
            Self::Set(keys) => choose_one(keys, kid, algorithm, tenant).map(Choice::Key),
            // An issuer has only one secret, so `kid` is not needed to choose it.
            Self::Secret(secret) => secret.as_deref().map(Choice::Key).ok_or(Reason::TokenKey),
            Self::Fetched => match fetched {
                Some(set) => choose_fetched(&set.keys, kid, algorithm, tenant),
                None => Ok(Choice::Awaited(Reason::KeysUnavailable)),
            },
        }
    }

    /// Returns the names of the key that verified a token: the token's `kid`, and each name that the set gives to that key. A token without
    /// `kid`, or with another name of its key, has the same names.
    pub(super) fn names(
        &self,
        chosen: &Choice<'_>,
        identity: Option<&KeyIdentity>,
        kid: Option<&Value>,
        fetched: Option<&KeySet>,
    ) -> Vec<String> {
        let mut names: Vec<String> = kid.and_then(Value::as_str).map(str::to_owned).into_iter().collect();
        let set: &[Key] = match (self, fetched) {
            (Self::Set(keys), _) => keys,
            (Self::Fetched, Some(set)) => &set.keys,
            (Self::Fetched, None) | (Self::Secret(_), _) => &[],
        };
        for key in set {
            let is_own = match chosen {
                Choice::Key(own) => key.key.is_same_as(own),
                Choice::Fetched(_) | Choice::AnyOf(_) | Choice::Awaited(_) => identity == Some(&*key.identity),
            };
            if let Some(name) = key.kid.as_ref().filter(|name| is_own && !names.contains(name)) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Returns all keys that the policy contains.
    pub(super) fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        let (set, secret) = match self {
            Self::Set(keys) => (keys.as_slice(), None),
            Self::Secret(secret) => (&[][..], secret.as_deref()),
            Self::Fetched => (&[][..], None),
        };
        set.iter().map(|key| &key.key).chain(secret)
    }

    /// Reads the keys of an issuer. Returns `None` if there is an error, which is added to the findings.
    pub(super) fn compile(
        raw: &document::Issuer,
        algorithms: &[Algorithm],
        place: &Place,
        secrets: &dyn Secrets,
        findings: &mut Findings,
    ) -> Option<Self> {
        let place = place.field("keys");
        let symmetric = algorithms.contains(&Algorithm::Hs256);
        let document::Keys { jwks, secret, remote, discover } = &raw.keys;
        let sources = [jwks.is_some(), secret.is_some(), remote.is_some(), discover.is_some()];
        match sources.into_iter().filter(|present| *present).count() {
            1 => {}
            0 => {
                findings.error(
                    place,
                    "the issuer has no keys; write `jwks`, `remote` or `discover`, or `secret` for HS256",
                );
                return None;
            }
            _ => {
                findings.error(place, "`jwks`, `secret`, `remote` and `discover` cannot be combined; keep one of them");
                return None;
            }
        }
        if symmetric && secret.is_none() {
            findings.error(place, "HS256 requires a secret from the environment; write `secret: { env: NAME }`");
            return None;
        }
        if let Some(set) = jwks {
            return jwks::compile(set, raw, algorithms, &place.field("jwks"), findings).map(Self::Set);
        }
        let Some(secret) = secret else { return Some(Self::Fetched) };
        if !symmetric {
            findings.error(
                place.field("secret"),
                "a secret can only be used with HS256; write `jwks` with the public keys",
            );
            return None;
        }
        match Secret::read(secret, &place.field("secret"), secrets, findings)? {
            Secret::Key(key) => Some(Self::Secret(Some(key))),
            Secret::NotNeeded => Some(Self::Secret(None)),
        }
    }
}

/// Returns the key of the policy that a token names, or the only one that fits.
fn choose_one<'k>(
    keys: &'k [Key],
    kid: Option<&Value>,
    algorithm: Algorithm,
    tenant: Option<&str>,
) -> Result<&'k VerifyingKey, Reason> {
    let Some(kid) = kid else {
        let fits = |key: &&Key| key.algorithms.contains(&algorithm) && key.serves(tenant);
        let mut fitting = keys.iter().filter(fits).map(|key| &key.key);
        let only = fitting.next().ok_or(Reason::TokenKey)?;
        // The same key under two names counts as one key.
        return if fitting.all(|other| other.is_same_as(only)) { Ok(only) } else { Err(Reason::TokenKey) };
    };
    let named = named(keys, kid, tenant)?.ok_or(Reason::TokenKey)?;
    if named.algorithms.contains(&algorithm) { Ok(&named.key) } else { Err(Reason::TokenAlgorithm) }
}

/// Returns the fetched keys that may have signed a token.
fn choose_fetched<'k>(
    keys: &'k [Key],
    kid: Option<&Value>,
    algorithm: Algorithm,
    tenant: Option<&str>,
) -> Result<Choice<'k>, Reason> {
    if let Some(kid) = kid {
        return match named(keys, kid, tenant)? {
            None => Ok(Choice::Awaited(Reason::TokenKey)),
            Some(key) if key.algorithms.contains(&algorithm) => Ok(Choice::Fetched(key)),
            Some(_) => Err(Reason::TokenAlgorithm),
        };
    }
    let mut fitting: Vec<&Key> = Vec::new();
    for key in keys.iter().filter(|key| key.algorithms.contains(&algorithm) && key.serves(tenant)) {
        if fitting.len() < MOST_TRIED && !fitting.iter().any(|other| other.identity == key.identity) {
            fitting.push(key);
        }
    }
    Ok(if fitting.is_empty() { Choice::Awaited(Reason::TokenKey) } else { Choice::AnyOf(fitting) })
}

fn named<'k>(keys: &'k [Key], kid: &Value, tenant: Option<&str>) -> Result<Option<&'k Key>, Reason> {
    let kid = kid.as_str().ok_or(Reason::TokenKey)?;
    Ok(keys.iter().find(|key| key.kid.as_deref() == Some(kid) && key.serves(tenant)))
}

/// The result of reading a secret of the policy.
#[derive(Debug)]
pub(crate) enum Secret {
    /// The key made from the secret.
    Key(Box<VerifyingKey>),
    /// The policy is only checked.
    NotNeeded,
}

impl Secret {
    /// Looks up a secret and decodes it. Returns `None` if there is an error, which is added to the findings.
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

/// A secret is invalid. The error is in the findings.
pub(crate) struct BadSecret;

/// Looks up a secret and decodes it. Returns `None` inside `Ok` if the policy is only checked.
pub(crate) fn look_up(
    raw: &document::Secret,
    place: &Place,
    secrets: &dyn Secrets,
    findings: &mut Findings,
) -> Result<Option<Vec<u8>>, BadSecret> {
    let env = place.field("env");
    if raw.env.is_empty() || raw.env.contains(['=', '\0']) {
        findings.error(env, "invalid value; expected the name of the environment variable that contains the secret");
        return Err(BadSecret);
    }
    let text = match secrets.resolve(&raw.env) {
        SecretLookup::Found(text) => text,
        SecretLookup::Missing => {
            let name = raw.env.escape_debug();
            findings.error(env, format!("the environment variable `{name}` is not set; pass it to the gateway's VM"));
            return Err(BadSecret);
        }
        SecretLookup::NotNeeded => return Ok(None),
    };
    // These messages must not reveal anything about the value except the format that was expected.
    let (bytes, form) = match raw.encoding {
        None => (Some(text), ""),
        Some(SecretEncoding::Base64) => (STANDARD.decode(&text).ok(), "base64 with padding"),
        Some(SecretEncoding::Base64url) => (URL_SAFE_NO_PAD.decode(&text).ok(), "base64url without padding"),
        Some(SecretEncoding::Hex) => (decode_hex(&text), "an even number of hexadecimal digits"),
    };
    let Some(bytes) = bytes else {
        let name = raw.env.escape_debug();
        findings
            .error(place.field("encoding"), format!("invalid value of `{name}`; expected {form}, without white space"));
        return Err(BadSecret);
    };
    Ok(Some(bytes))
}

fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}
