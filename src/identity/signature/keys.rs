//! The keys with which agents sign their requests, found by the `keyid` of a signature.

use crate::identity::crypto::{Algorithm, Thumbprint, VerifyingKey};
use crate::text::hash::PolicyMap;
use crate::text::time::Timestamp;

/// A key with which an agent signs.
#[derive(Debug)]
pub struct SigningKey {
    /// The `keyid` that signatures use for it.
    pub(crate) keyid: Box<str>,
    /// The agent that owns it, as an index into the policy's agents.
    pub(crate) agent: u32,
    pub(crate) key: VerifyingKey,
    /// The only algorithm for which the key is used, even if a signature names another one. It has a name in HTTP message signatures.
    pub(crate) algorithm: Algorithm,
    /// `None` for secrets.
    pub(crate) thumbprint: Option<Thumbprint>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) not_after: Option<Timestamp>,
}

impl SigningKey {
    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Returns the only algorithm for which the key is used.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the time from which the policy accepts the key, and the first time at which it no longer does.
    #[must_use]
    pub fn validity(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.not_before, self.not_after)
    }

    /// Returns whether the policy accepts the key at this time.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|start| start <= now) && self.not_after.is_none_or(|end| now < end)
    }
}

/// The signing keys of all agents.
#[derive(Debug, Default)]
pub(crate) struct SigningKeys {
    list: Vec<SigningKey>,
    by_keyid: PolicyMap<Box<str>, u32>,
    by_thumbprint: PolicyMap<Box<str>, u32>,
    /// The indexes of agents with a signing key, each once. If secrets are not looked up, it includes agents that have no key in `list`.
    signers: Vec<u32>,
}

impl SigningKeys {
    /// Records that an agent signs, even if its keys are not known.
    pub(crate) fn add_signer(&mut self, agent: u32) {
        self.signers.push(agent);
    }

    /// Adds a key.
    pub(crate) fn add(&mut self, key: SigningKey) {
        // No policy has this many keys.
        let Ok(at) = u32::try_from(self.list.len()) else { return };
        self.by_keyid.insert(key.keyid.clone(), at);
        if let Some(thumbprint) = &key.thumbprint {
            self.by_thumbprint.insert(thumbprint.to_string().into(), at);
        }
        self.list.push(key);
    }

    /// Returns the key with this `keyid`.
    pub(crate) fn find(&self, keyid: &str) -> Option<&SigningKey> {
        self.list.get(*self.by_keyid.get(keyid)? as usize)
    }

    /// Returns the key with this thumbprint, in base64url.
    pub(crate) fn find_by_thumbprint(&self, thumbprint: &str) -> Option<&SigningKey> {
        self.list.get(*self.by_thumbprint.get(thumbprint)? as usize)
    }

    /// Returns whether there are no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns all keys, in the order of the agents' names.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &SigningKey> {
        self.list.iter()
    }

    /// Returns the indexes of the agents that can sign, in the order of their names.
    pub(crate) fn signers(&self) -> &[u32] {
        &self.signers
    }
}
