//! Compiles the API keys of agents into one table, and checks where clients send them.

use std::collections::BTreeMap;

use super::agents::Agents;
use super::expiry::parse_expiry;
use super::{advice, credentials, overrides, reserved};
use crate::document::names::is_plain_header;
use crate::document::{self, Authenticate};
use crate::document::{Findings, Place};
use crate::identity::api_key::{ApiKeys, KeyPlace};
use crate::request::headers::name_reads_as;
use crate::text::sort;
use crate::text::time::Timestamp;

/// The maximum length of the header's name and the lengths of a prefix, in bytes.
const MOST_NAME: usize = 128;
const MOST_PREFIX: usize = 16;
/// A key is reported this long before it expires.
const EXPIRES_SOON_SECONDS: u64 = 14 * 86_400;

impl ApiKeys {
    /// Returns `None` for a policy without API keys.
    pub(super) fn compile(document: &document::Document, findings: &mut Findings) -> Option<Self> {
        let root = Place::root();
        let with_keys = || document.agents.iter().filter(|(_, agent)| agent.api_keys.is_some());
        let Some(raw) = &document.api_keys else {
            if let Some((name, _)) = with_keys().next() {
                findings.error(
                    root.field("api_keys"),
                    format!(
                        "agent `{}` has API keys, so the policy must state where clients send them; write `{{ header: x-api-key }}` \
                         or `{{ bearer_prefix: cgk_ }}`",
                        name.escape_debug()
                    ),
                );
            }
            // The keys themselves are checked in any case.
            Self::new(KeyPlace::Header("".into())).add_all(document, findings);
            return None;
        };
        let place = key_place(raw, document, findings);
        let mut keys = Self::new(place.unwrap_or_else(|| KeyPlace::Header("".into())));
        keys.add_all(document, findings);
        if with_keys().next().is_none() {
            findings.warn(root.field("api_keys"), "no agent has API keys, so every key is rejected; remove this");
        } else {
            warn_of_unused(document, findings);
        }
        Some(keys)
    }

    fn add_all(&mut self, document: &document::Document, findings: &mut Findings) {
        let mut places: BTreeMap<[u8; 32], Place> = BTreeMap::new();
        for (position, (name, agent)) in (0..).zip(&document.agents) {
            let Some(raw) = &agent.api_keys else { continue };
            let place = Place::root().field("agents").field(name).field("api_keys");
            if raw.is_empty() {
                findings.error(place.clone(), "the list is empty; write a key, or remove the field");
            }
            for (index, key) in (0..).zip(raw) {
                let place = place.index(index as usize);
                let hash = decode(&key.sha256);
                if hash.is_none() {
                    findings.error(
                        place.field("sha256"),
                        "invalid hash; expected the 64 hexadecimal digits that `callgate keygen --api-key` prints, and never the \
                         key itself",
                    );
                }
                let not_after = parse_expiry(&key.not_after);
                if not_after.is_none() {
                    findings.error(
                        place.field("not_after"),
                        format!(
                            "invalid date `{}`; expected `2027-06-30` or `2027-06-30T12:00:00Z`",
                            key.not_after.escape_debug()
                        ),
                    );
                }
                let (Some(hash), Some(not_after)) = (hash, not_after) else { continue };
                self.add(hash, (position, index), not_after);
                if let Some(other) = places.insert(hash, place.clone()) {
                    findings.error(
                        place.field("sha256"),
                        format!("`{other}` has the same hash, and a key identifies one agent and is listed once; make another key"),
                    );
                }
            }
        }
    }
}

impl ApiKeys {
    /// Warns about each key that has expired or expires soon.
    pub(super) fn warn_at(&self, agents: &Agents, now: Timestamp, findings: &mut Findings) {
        let mut keys: Vec<_> = self.iter().collect();
        sort::sort_by_key(&mut keys, |key| (key.agent, key.index));
        for key in keys {
            let Some(agent) = agents.get(key.agent) else { continue };
            let place = Place::root().field("agents").field(&agent.name).field("api_keys").index(key.index as usize);
            let left = key.not_after.as_secs().saturating_sub(now.as_secs());
            if now >= key.not_after {
                findings.warn(
                    place.field("not_after"),
                    "this API key has expired and every request with it is denied; remove it, or replace it by a new key",
                );
            } else if left <= EXPIRES_SOON_SECONDS {
                findings.warn(
                    place.field("not_after"),
                    format!(
                        "this API key expires {}; make a new one with `callgate keygen --api-key`, and list both until the client \
                         uses it",
                        advice::when(left)
                    ),
                );
            }
        }
    }
}

fn key_place(raw: &document::ApiKeys, document: &document::Document, findings: &mut Findings) -> Option<KeyPlace> {
    let place = Place::root().field("api_keys");
    match (&raw.header, &raw.bearer_prefix) {
        (Some(name), None) => {
            check_header(name, document, &place.field("header"), findings);
            Some(KeyPlace::Header(name.as_str().into()))
        }
        (None, Some(prefix)) => {
            check_prefix(prefix, &place.field("bearer_prefix"), findings);
            if !document.credentials_from.contains(&document::CredentialPlace::Authorization) {
                findings.error(
                    place.field("bearer_prefix"),
                    "`Authorization` is no credential, because `credentials_from` does not list `authorization`; add it, or write \
                     `header` instead",
                );
            }
            Some(KeyPlace::Bearer(prefix.as_str().into()))
        }
        _ => {
            findings.error(
                place,
                "clients send all keys in one place; write exactly one of `header: x-api-key` and `bearer_prefix: cgk_`",
            );
            None
        }
    }
}

fn check_header(name: &str, document: &document::Document, place: &Place, findings: &mut Findings) {
    let shown = name.escape_debug();
    if !is_plain_header(name) || name.len() > MOST_NAME {
        findings.error(
            place.clone(),
            format!(
                "invalid header name `{shown}`; expected at most {MOST_NAME} lower-case letters, digits and hyphens, such as \
                 `x-api-key`"
            ),
        );
    } else if name == "authorization" {
        findings.error(
            place.clone(),
            "keys in `Authorization` need a prefix that tokens do not have; write `bearer_prefix: cgk_` instead",
        );
    } else if credentials::carry(name, document) {
        findings.error(
            place.clone(),
            format!("`{shown}` carries access tokens (`credentials_from`); name a header that contains only the key"),
        );
    } else if reserved::is_needed(name)
        || reserved::is_of_the_gate(name, document)
        || overrides::is_listed(name, document)
    {
        findings.error(
            place.clone(),
            format!("`{shown}` has another meaning for gateways, servers or the gate; name a header that contains only the key"),
        );
    }
    let reads_alike = |other: &str| name_reads_as(other.as_bytes(), name);
    let include = document.audit.include.iter().position(|other| reads_alike(other));
    if let Some(index) = include {
        findings.error(
            Place::root().field("audit").field("include").index(index),
            format!("`{shown}` contains API keys, and records never contain credentials; remove it"),
        );
    }
    for (index, endpoint) in document.endpoints.iter().enumerate() {
        for (left, _) in endpoint.bind.iter() {
            if left.strip_prefix("header.").is_some_and(reads_alike) {
                findings.error(
                    Place::root().field("endpoints").index(index).field("bind").field(left),
                    format!("`{shown}` contains API keys; bind another header"),
                );
            }
        }
    }
}

fn check_prefix(prefix: &str, place: &Place, findings: &mut Findings) {
    let shown = prefix.escape_debug();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !(2..=MOST_PREFIX).contains(&prefix.len()) || !prefix.bytes().all(plain) || !prefix.ends_with(['-', '_']) {
        findings.error(
            place.clone(),
            format!(
                "invalid prefix `{shown}`; expected 2 to {MOST_PREFIX} letters, digits, `-` or `_`, with `-` or `_` at the end, such \
                 as `cgk_`"
            ),
        );
    } else if prefix.starts_with(['e', 'C', 'D', 'I']) {
        // `{` and the white space before it, in base64url.
        findings.error(
            place.clone(),
            format!("a token can begin with `{shown}`; choose a prefix that does not begin with `e`, `C`, `D` or `I`"),
        );
    }
}

/// Warns if agents have keys that no endpoint accepts.
fn warn_of_unused(document: &document::Document, findings: &mut Findings) {
    let accepts = |kinds: &Option<document::Authentication>| {
        kinds.as_ref().is_some_and(|kinds| kinds.0.contains(&Authenticate::ApiKey))
    };
    let by_effect = document.requirements.values().any(|asked| accepts(&asked.authenticate));
    if !by_effect && !document.endpoints.iter().any(|endpoint| accepts(&endpoint.authenticate)) {
        findings.warn(
            Place::root().field("api_keys"),
            "no endpoint accepts API keys; write `authenticate: api-key` or `authenticate: [token, api-key]` at those that should",
        );
    }
}

/// Decodes SHA-256 in hexadecimal digits.
pub(super) fn decode(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect();
    bytes.filter(|_| rest.is_empty())?.try_into().ok()
}

#[cfg(test)]
#[path = "api_keys_tests.rs"]
mod tests;
