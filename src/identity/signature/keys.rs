//! The keys with which agents sign their requests, found by the name that a signature gives.

use crate::identity::crypto::{Algorithm, Thumbprint, VerifyingKey};
use crate::text::hash::PolicyMap;
use crate::text::time::Timestamp;

/// A key with which an agent signs.
#[derive(Debug)]
pub struct SigningKey {
    /// How signatures name it.
    pub(crate) keyid: Box<str>,
    /// Whose it is: the agent's position among the policy's agents.
    pub(crate) agent: u32,
    pub(crate) key: VerifyingKey,
    /// The one algorithm that it verifies, whatever a signature says; it has a name in HTTP message signatures.
    pub(crate) algorithm: Algorithm,
    /// None for secrets.
    pub(crate) thumbprint: Option<Thumbprint>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) not_after: Option<Timestamp>,
}

impl SigningKey {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The one algorithm that it verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The moment from which the policy accepts the key, and the first one at which it no longer does.
    #[must_use]
    pub fn validity(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.not_before, self.not_after)
    }

    /// Whether the policy takes the key at this moment.
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
    /// Agents with a signing key, by position, each once. Where secrets are not looked up, they have more than `list`.
    signers: Vec<u32>,
}

impl SigningKeys {
    /// Notes that an agent signs, whether or not its keys are known.
    pub(crate) fn add_signer(&mut self, agent: u32) {
        self.signers.push(agent);
    }

    /// Adds a key.
    pub(crate) fn add(&mut self, key: SigningKey) {
        // No document has so many.
        let Ok(at) = u32::try_from(self.list.len()) else { return };
        self.by_keyid.insert(key.keyid.clone(), at);
        if let Some(thumbprint) = &key.thumbprint {
            self.by_thumbprint.insert(thumbprint.to_string().into(), at);
        }
        self.list.push(key);
    }

    /// The key that signatures call so.
    pub(crate) fn find(&self, keyid: &str) -> Option<&SigningKey> {
        self.list.get(*self.by_keyid.get(keyid)? as usize)
    }

    /// The key with this thumbprint, in base64url.
    pub(crate) fn find_by_thumbprint(&self, thumbprint: &str) -> Option<&SigningKey> {
        self.list.get(*self.by_thumbprint.get(thumbprint)? as usize)
    }

    /// Whether nobody signs.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All keys, in the order of the agents' names.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &SigningKey> {
        self.list.iter()
    }

    /// The agents that can sign, by position, in the order of their names.
    pub(crate) fn signers(&self) -> &[u32] {
        &self.signers
    }
}
