//! API keys: long random texts that identify an agent to anyone who has them.
//!
//! The policy contains only SHA-256 of each key. A key has so much randomness that its hash reveals nothing about it, and that finding
//! the hash in a table takes no constant time. Where a request contains a key is decided by the caller of this module.

use std::fmt;
use std::ops::RangeInclusive;

use crate::identity::crypto::{BadSignature, Signer, VerifySignature, sha256};
use crate::reason::Reason;
use crate::text::hash::PolicyMap;
use crate::text::time::Timestamp;

/// The number of characters of a key after the prefix. 22 characters of base64url have 128 bits; the maximum bounds the cost of the hash.
pub(crate) const LENGTH: RangeInclusive<usize> = 22..=256;

/// Where clients send API keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyPlace {
    /// In a header that contains nothing else. The name is in lower case, with hyphens as its only separators.
    Header(Box<str>),
    /// In `Authorization: Bearer`, with this prefix.
    Bearer(Box<str>),
}

/// The API keys of a policy, by their hashes.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    place: KeyPlace,
    by_hash: PolicyMap<[u8; 32], ApiKey>,
}

/// An API key of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiKey {
    /// The agent's position in the order of names.
    pub(crate) agent: u32,
    /// The key's position in the agent's list.
    pub(crate) index: u32,
    /// The key's name in records: the first 16 hexadecimal digits of its hash.
    pub(crate) name: Box<str>,
    /// SHA-256 of the key.
    pub(crate) hash: [u8; 32],
    /// The first moment at which the key is no longer accepted.
    pub(crate) not_after: Timestamp,
}

/// A key that the sender of a request has, and that was valid at that time. Only [`ApiKeys::verify`] creates one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VerifiedApiKey<'p>(&'p ApiKey);

impl<'p> VerifiedApiKey<'p> {
    /// Returns the key in the policy.
    pub(crate) fn key(self) -> &'p ApiKey {
        self.0
    }
}

/// The reason why a key was rejected, and the key if the policy has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RejectedApiKey<'p> {
    pub(crate) reason: Reason,
    pub(crate) key: Option<&'p ApiKey>,
}

impl From<Reason> for RejectedApiKey<'_> {
    fn from(reason: Reason) -> Self {
        Self { reason, key: None }
    }
}

impl ApiKeys {
    /// Creates a table without keys.
    pub(crate) fn new(place: KeyPlace) -> Self {
        Self { place, by_hash: PolicyMap::default() }
    }

    /// Adds the key of an agent at a position in its list, by its hash. Returns the key that had the same hash, which is replaced.
    pub(crate) fn add(&mut self, hash: [u8; 32], (agent, index): (u32, u32), not_after: Timestamp) -> Option<ApiKey> {
        let name = hash.iter().take(8).fold(String::with_capacity(16), |mut name, byte| {
            // Writing to a string does not fail.
            let _ = fmt::Write::write_fmt(&mut name, format_args!("{byte:02x}"));
            name
        });
        self.by_hash.insert(hash, ApiKey { agent, index, name: name.into(), hash, not_after })
    }

    /// Returns all keys, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.by_hash.values()
    }

    /// Returns the header that contains keys. `None` if clients send them as bearer credentials.
    pub(crate) fn header(&self) -> Option<&str> {
        match &self.place {
            KeyPlace::Header(name) => Some(name),
            KeyPlace::Bearer(_) => None,
        }
    }

    /// Returns whether a bearer credential is an API key and not a token.
    pub(crate) fn is_key(&self, bearer: &[u8]) -> bool {
        match &self.place {
            KeyPlace::Header(_) => false,
            KeyPlace::Bearer(prefix) => bearer.starts_with(prefix.as_bytes()),
        }
    }

    /// Finds a key that a request contains. Every byte counts: nothing is trimmed, decoded or folded.
    ///
    /// # Errors
    ///
    /// [`Reason::ApiKeyUnknown`] or [`Reason::ApiKeyExpired`], which count as failed credentials unless the length rules the key out, or
    /// [`Reason::CredentialsLimited`] if too many credentials from the source have failed.
    pub(crate) fn verify(
        &self,
        presented: &[u8],
        now: Timestamp,
        verifier: &dyn VerifySignature,
    ) -> Result<VerifiedApiKey<'_>, RejectedApiKey<'_>> {
        let prefix = match &self.place {
            KeyPlace::Header(_) => 0,
            KeyPlace::Bearer(prefix) => prefix.len(),
        };
        // Such a key is in no policy, and its hash is not computed, so it is not charged either.
        if !LENGTH.contains(&presented.len().saturating_sub(prefix)) {
            return Err(Reason::ApiKeyUnknown.into());
        }
        // The hash of so few bytes is cheap, and it names the holder of the key without revealing the key.
        let hash = sha256(presented);
        verifier.admit(&[Signer::ApiKey(&hash)]).map_err(|BadSignature| Reason::CredentialsLimited)?;
        match self.by_hash.get(&hash) {
            Some(key) if now < key.not_after => {
                verifier.known_key().map_err(|BadSignature| Reason::CredentialsLimited)?;
                Ok(VerifiedApiKey(key))
            }
            known => {
                verifier.unknown_key();
                let reason = if known.is_some() { Reason::ApiKeyExpired } else { Reason::ApiKeyUnknown };
                Err(RejectedApiKey { reason, key: known })
            }
        }
    }
}

#[cfg(test)]
#[path = "api_key_tests.rs"]
mod tests;
