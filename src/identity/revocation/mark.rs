//! What an entry names: its kind, and a fingerprint of the value.

use crate::identity::crypto::{first, sha256};

/// What an entry names. The order is that of the entries in a list, so it is a part of the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// One token.
    Token,
    /// A token of an issuer, by its `jti`.
    Jti,
    /// All tokens of an issuer for a subject.
    Subject,
    /// All tokens of an issuer for a client.
    Client,
    /// All credentials of an agent.
    Agent,
    /// All tokens in whose chain of actors an agent is.
    Actor,
    /// All tokens that a key of an issuer signed, by its `kid`.
    Kid,
    /// All credentials that prove possession of a key, of a certificate, or of an API key.
    Thumbprint,
    /// All tokens of an issuer.
    Issuer,
    /// All requests to an endpoint. Only what a policy publishes for others has such entries.
    Endpoint,
}

impl Kind {
    /// All kinds, in their order.
    pub(crate) const ALL: [Self; 10] = [
        Self::Token,
        Self::Jti,
        Self::Subject,
        Self::Client,
        Self::Agent,
        Self::Actor,
        Self::Kid,
        Self::Thumbprint,
        Self::Issuer,
        Self::Endpoint,
    ];

    /// Returns whether an entry names a key. Who has a stolen key can choose the time at which something was issued, so such entries
    /// apply to everything, whenever it was issued.
    pub(crate) fn is_key(self) -> bool {
        matches!(self, Self::Kid | Self::Thumbprint)
    }

    /// Returns its position in the order.
    pub(super) fn position(self) -> usize {
        self as usize
    }
}

/// A fingerprint of what an entry names: the first 16 bytes of a SHA-256. Marks of different kinds are never compared with each other, so
/// the kind is not hashed.
///
/// Nobody can find a second value with the mark of a given one. Two values with the same mark can be found with 2^64 attempts, by
/// somebody who chooses both, which revokes one with the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(pub(super) u128);

impl Mark {
    /// Returns the mark of what is already identified by a SHA-256: a token, a key, a certificate, an API key.
    pub(crate) fn of_hash(hash: &[u8; 32]) -> Self {
        Self(u128::from_be_bytes(first(*hash)))
    }

    /// Returns the mark of an agent or an endpoint, by its name in the policy.
    pub(crate) fn of_name(name: &str) -> Self {
        Self::of(&[Some(name)])
    }

    /// Returns the mark of an issuer, by its name in the policy. With a tenant it is that of the tenant alone.
    pub(crate) fn of_issuer(issuer: &str, tenant: Option<&str>) -> Self {
        Self::of(&[Some(issuer), tenant])
    }

    /// Returns the mark of a value that an issuer assigns, such as a `jti`.
    pub(crate) fn of_value(issuer: &str, tenant: Option<&str>, value: &str) -> Self {
        Self::of(&[Some(issuer), tenant, Some(value)])
    }

    /// Hashes the parts with their lengths. Without the lengths, different lists of parts could have the same bytes.
    fn of(parts: &[Option<&str>]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        for part in parts {
            // An absent part differs from an empty one. No text is close to 4 GiB.
            let length = part.map_or(u32::MAX, |part| u32::try_from(part.len()).unwrap_or(u32::MAX - 1));
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(part.unwrap_or_default().as_bytes());
        }
        Self::of_hash(&sha256(&bytes))
    }
}
