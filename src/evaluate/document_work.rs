//! What the host does for fetched documents: the calls that it makes, and what it logs and counts.

use std::fmt;
use std::time::Duration;

use crate::fetch::{Attempt, EntityTag, Target};

/// What a fetch is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Metadata,
    KeySet,
    Revocations,
}

/// A call that the host must make: `GET`, without following redirects.
#[derive(Debug)]
pub struct DocumentCall {
    pub(super) target: Target,
    pub(super) timeout: Duration,
    pub(super) id: CallId,
    /// The document is sent only if its entity tag is another one.
    pub(super) unless: Option<EntityTag>,
}

impl DocumentCall {
    /// Returns what identifies the call among those of this worker.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Returns the gateway's name for the server: a cluster, or an address on Kong.
    #[must_use]
    pub fn upstream(&self) -> &str {
        &self.target.upstream
    }

    /// Returns the headers of the request, pseudo-headers included.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Target { scheme, authority, path, authorization, .. } = &self.target;
        let accept = match self.id.step {
            Step::Metadata | Step::KeySet => "application/json",
            Step::Revocations => "application/jose, application/json",
        };
        let lines = [
            (":method", "GET"),
            (":scheme", *scheme),
            (":authority", authority),
            (":path", path),
            ("accept", accept),
            ("user-agent", concat!("callgate/", env!("CARGO_PKG_VERSION"))),
        ];
        let authorization = authorization.iter().map(|value| ("authorization", &*value.0));
        let condition = self.unless.iter().map(|tag| ("if-none-match", tag.as_str()));
        lines.into_iter().chain(authorization).chain(condition)
    }

    /// Returns how long the call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// Identifies a call of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallId {
    pub(super) document: usize,
    pub(super) attempt: Attempt,
    pub(super) step: Step,
}

/// The result of a call.
#[derive(Debug, Clone, Copy)]
pub enum CallResult<'a> {
    /// A response.
    Response {
        /// Its status.
        status: u16,
        /// The value of its header `ETag`, if it has exactly one.
        etag: Option<&'a [u8]>,
        /// Its body.
        body: &'a [u8],
    },
    /// No response, for example because the server cannot be reached or took too long.
    NoResponse,
    /// The host could not make the call, for this reason.
    NotMade(&'a str),
}

/// What the host does next: the calls to make, and what happened, for its log and its metrics.
#[derive(Debug, Default)]
pub struct DocumentWork {
    /// The calls to make.
    pub calls: Vec<DocumentCall>,
    /// What happened.
    pub events: Vec<DocumentEvent>,
}

/// What happened to a document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocumentEvent {
    /// A fetch succeeded.
    Fetched,
    /// A fetch failed.
    Failed {
        /// The URL of the document.
        url: String,
        /// The reason.
        why: String,
    },
    /// The keys of an issuer changed.
    KeysChanged {
        /// The issuer's name in the policy.
        issuer: String,
        /// The `kid`s of the new keys.
        added: Vec<String>,
        /// The `kid`s of the keys that are no longer used.
        removed: Vec<String>,
    },
    /// Keys of a fetched set are not used, because they cannot verify tokens of its issuers or another issuer has them.
    KeysDropped {
        /// The URL of the document.
        url: String,
        /// The number of keys.
        count: usize,
    },
    /// A list of revoked credentials was fetched, and is in use.
    RevocationsFetched,
    /// A list of revoked credentials could not be fetched.
    RevocationsFailed {
        /// The URL of the list.
        url: String,
        /// The reason.
        why: String,
    },
    /// A list of revoked credentials was fetched and is not used. The one before stays in use.
    RevocationsRefused {
        /// The URL of the list.
        url: String,
        /// The reason.
        why: String,
    },
    /// A list of revoked credentials with other entries is in use. Only the worker that fetched it has this event.
    RevocationsChanged {
        /// The number of its entries.
        entries: usize,
        /// The number of entries with names of issuers or agents that the policy does not have.
        ignored: usize,
    },
    /// The list of revoked credentials is older than `stale_after`.
    RevocationsStale {
        /// Whether it stays in use.
        keeps: bool,
    },
    /// A new set has keys for other issuers that share it, and none for this one. If the worker has earlier keys of this issuer, it uses them
    /// until they are too old.
    KeysMissing {
        /// The issuer's name in the policy.
        issuer: String,
        /// The URL of the document.
        url: String,
    },
    /// The keys of an issuer are too old to be used.
    KeysExpired {
        /// The issuer's name in the policy.
        issuer: String,
    },
}

impl fmt::Display for DocumentEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |kids: &[String]| {
            let shown = kids.iter().map(|kid| kid.escape_debug().to_string()).collect::<Vec<_>>().join("`, `");
            if kids.is_empty() { "none".to_owned() } else { format!("`{shown}`") }
        };
        match self {
            Self::Fetched => f.write_str("fetched a document"),
            Self::Failed { url, why } => write!(f, "cannot fetch {url}: {why}"),
            Self::KeysChanged { issuer, added, removed } => {
                write!(f, "the keys of issuer `{issuer}` changed: added {}, removed {}", list(added), list(removed))
            }
            Self::KeysDropped { url, count } => {
                write!(f, "{count} of the keys of {url} are not used; `callgate keys` shows why")
            }
            Self::RevocationsFetched => f.write_str("fetched the list of revoked credentials"),
            Self::RevocationsFailed { url, why } => {
                write!(f, "cannot fetch the list of revoked credentials, {url}: {why}")
            }
            Self::RevocationsRefused { url, why } => {
                write!(f, "the list of revoked credentials, {url}, is not used, and the one before stays in use: {why}")
            }
            Self::RevocationsChanged { entries, ignored } => write!(
                f,
                "a list of {entries} revoked credentials is in use; {ignored} of them have names that the policy does not have"
            ),
            Self::RevocationsStale { keeps: true } => {
                f.write_str("the list of revoked credentials is older than `stale_after`; it stays in use (`on_stale: keep`)")
            }
            Self::RevocationsStale { keeps: false } => f.write_str(
                "the list of revoked credentials is older than `stale_after`; requests are denied until it can be fetched \
                 (`on_stale: deny`)",
            ),
            Self::KeysMissing { issuer, url } => write!(
                f,
                "no key of {url} fits issuer `{issuer}`; keys that it had before are used until they are older than `stale_for`"
            ),
            Self::KeysExpired { issuer } => {
                write!(
                    f,
                    "the keys of issuer `{issuer}` are older than `stale_for`; its tokens are denied until they can be fetched"
                )
            }
        }
    }
}
