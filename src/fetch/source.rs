//! What is fetched, and how often.

use std::fmt;
use std::time::Duration;

use crate::text::ascii::hexadecimal;

/// The version of the layout of ledgers and published documents.
const LAYOUT: u8 = 2;
/// The maximum size of a document as it is published, in bytes, unless its kind has another one.
const USUAL_MOST: usize = 128 * 1024;
/// The maximum wait after failed fetches, unless the kind of the document has another one.
const USUAL_LAST_RETRY: Duration = Duration::from_mins(5);

/// A document that the gate fetches.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The request that fetches it.
    pub(crate) target: Target,
    /// How old the document becomes before it is fetched again.
    pub(crate) refresh: Duration,
    /// How long a fetch may take, and how long a request waits for one.
    pub(crate) timeout: Duration,
    /// How long the document is used if it cannot be fetched again.
    pub(crate) stale_for: Duration,
    /// The maximum size of the document as it is published, in bytes.
    pub(crate) most: usize,
    /// The maximum wait after failed fetches.
    pub(super) last_retry: Duration,
    /// The name that its keys in the shared store have in common.
    name: Box<str>,
}

/// The destination of a request for a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The gateway's name for the server: a cluster, or an address on Kong.
    pub(crate) upstream: Box<str>,
    /// `https` or `http`.
    pub(crate) scheme: &'static str,
    /// The host with its port, if that is not the default.
    pub(crate) authority: Box<str>,
    /// Path and query.
    pub(crate) path: Box<str>,
    /// The value of the header `Authorization`.
    pub(crate) authorization: Option<Authorization>,
}

/// The value of the header `Authorization`. Its `Debug` output does not contain it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Authorization(pub(crate) Box<str>);

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(..)")
    }
}

impl Target {
    /// Returns the URL, without credentials.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path)
    }
}

impl Source {
    /// Creates a source. `policy` is the name of the policy, and `hash` maps bytes to 16 bytes that identify them.
    ///
    /// The keys in the shared store depend on everything that selects the document. A policy with another URL or cluster therefore
    /// starts without a document, and a worker that still has the previous policy cannot overwrite the new one's.
    pub(crate) fn new(
        policy: &str,
        kind: &str,
        target: Target,
        [refresh, timeout, stale_for]: [Duration; 3],
        hash: impl FnOnce(&[u8]) -> [u8; 16],
    ) -> Self {
        let Target { upstream, scheme, authority, path, .. } = &target;
        let mut identity = vec![LAYOUT];
        for part in [policy, kind, upstream, scheme, authority, path] {
            identity.extend_from_slice(&(part.len() as u64).to_le_bytes());
            identity.extend_from_slice(part.as_bytes());
        }
        let bytes = u128::from_le_bytes(hash(&identity));
        let digits = hexadecimal((bytes >> 64) as u64, bytes as u64);
        let name = format!("callgate-fetched-{}", String::from_utf8_lossy(&digits)).into();
        Self { target, refresh, timeout, stale_for, most: USUAL_MOST, last_retry: USUAL_LAST_RETRY, name }
    }

    /// Sets the maximum size of the document as it is published, in bytes.
    pub(crate) fn with_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Sets the maximum wait after failed fetches.
    pub(crate) fn with_last_retry(self, last_retry: Duration) -> Self {
        Self { last_retry, ..self }
    }

    /// Returns the key of the ledger.
    pub(super) fn ledger_key(&self) -> String {
        format!("{}-ledger", self.name)
    }

    /// Returns the key of the published document.
    pub(super) fn document_key(&self) -> String {
        format!("{}-document", self.name)
    }

    /// Returns the key of the published document's validator.
    pub(super) fn validator_key(&self) -> String {
        format!("{}-validator", self.name)
    }

    /// Returns how long a claim lasts: the time that a fetch may take, and a margin for the host's timer.
    pub(super) fn claim(&self) -> Duration {
        self.timeout.saturating_add(Duration::from_secs(1))
    }

    /// Reports whether both are fetched in the same way.
    pub(crate) fn has_settings_of(&self, other: &Self) -> bool {
        let of = |source: &Self| (source.refresh, source.timeout, source.stale_for);
        of(self) == of(other) && self.target == other.target
    }

    /// Reports whether both are the same document in the shared store.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
