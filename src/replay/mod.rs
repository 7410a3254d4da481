//! Replay protection across all workers of a gateway. Nonces, signature bases and identifiers of proofs are accepted once.
//!
//! A message is identified by (agent, kind, token) and [reserved](ReplayTicket::reserve) once. Every agent has an
//! [`AgentPartition`] of the table, a fixed number of slots. No agent can use another's room, and memory does not grow with the
//! number of messages. The table has these properties:
//!
//! - **Once across all workers.** A reservation is one compare-and-set of the slot that its hash selects. After each lost race,
//!   all checks are repeated.
//! - **Clocks never cause a replay.** A slot drops an entry only after its message is too old to be accepted. It remembers the
//!   latest creation time of the dropped messages, its *horizon*, and rejects messages that were created at or before it. A clock
//!   that steps back, workers with different clocks, and policies with different maximum ages therefore never allow a replay.
//!   They only reject messages that are older than the dropped ones.
//! - **Evictions by the host never cause a replay.** A slot is created before it is used. Its horizon is the current time plus
//!   the time that clients' clocks may be ahead. After a restart or an eviction, this rejects all messages that may have been
//!   used before. A client that signs again is accepted after the horizon has passed. Slots belong to one creation of the table,
//!   and a reservation is valid only if that table still exists.
//!   If a host restarts the version numbers of a key, a lost slot is recreated only after it has been missing for a second. By
//!   then, no worker that read the old value can still write it back.
//! - **A slot full of live entries rejects messages**, which affects only its agent. Entries are distributed over an agent's
//!   slots by a hash that outsiders cannot predict. While a partition is at most half full, a reservation finds its slot full
//!   with a probability below 1 in 2,000,000 (64 or more entries where 32 are expected).
//!
//! Two limitations remain. Messages used before a restart can be replayed if the clock was ahead before the restart, or if the
//! restart lowered `clock_ahead`. If the clock steps back, messages of clients whose clocks step back too are rejected until the
//! horizon has passed.

mod partition;
mod slot;
mod table;

pub(crate) use partition::AgentPartition;
#[cfg(test)]
pub(crate) use table::Opened;
pub(crate) use table::Table;
pub(crate) use table::{ReplayTicket, Rules};

use std::borrow::Cow;

use crate::state::StoreError;
use crate::text::time::Timestamp;

/// A message to be reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplayReservation<'a> {
    /// The registered agent, whose partition is used. All unregistered callers share one partition.
    pub(crate) agent: Option<&'a str>,
    /// Distinguishes the callers of a partition, for example by the thumbprint of a key, because two callers may use the same
    /// token. Empty for an agent.
    pub(crate) caller: Cow<'a, str>,
    pub(crate) kind: Kind,
    pub(crate) token: Cow<'a, [u8]>,
    /// The creation time that the message states. It was checked to be at most [`Rules::clock_ahead`] in the future and at most
    /// [`Rules::window`] old.
    pub(crate) made: Timestamp,
}

/// The kind of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The nonce of a signature.
    Nonce,
    /// The hash of a signature's base, if it has no nonce.
    Base,
    /// The `jti` of a DPoP proof.
    Proof,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Nonce => "nonce",
            Self::Base => "base",
            Self::Proof => "proof",
        }
    }
}

/// The reason to reject a message. Waits are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The message was used before.
    Replayed,
    /// The agent's partition is full of messages that could be replayed.
    ShareFull { retry_after: u64 },
    /// The message is older than the table's records, so an earlier use may be unknown.
    Young { retry_after: u64 },
    /// The message has become too old since its age was checked.
    Late,
    /// Other workers were faster too often in a row.
    Contended,
    /// The shared store failed, or is no longer the one that holds the table.
    Store,
}

impl Refused {
    /// Returns the seconds after which the client can send the message, or a new one, again.
    pub(crate) fn wait(self) -> Option<u64> {
        match self {
            Self::ShareFull { retry_after } | Self::Young { retry_after } => Some(retry_after),
            Self::Contended => Some(1),
            Self::Replayed | Self::Late | Self::Store => None,
        }
    }
}

impl From<StoreError> for Refused {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

#[cfg(test)]
mod tests;
