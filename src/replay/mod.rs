//! What may be used only once, over all workers of a gateway: nonces, signature bases, identifiers of proofs.
//!
//! A message is told by (agent, kind, token), and [claimed](ReplayTicket::reserve) once. Every agent has a [`AgentPartition`] of the table, a
//! fixed number of slots, so that none can take another's room and no memory grows with what is sent. What holds, and why:
//!
//! - **Once over all workers.** A claim is one compare-and-set of the slot that its hash chooses, tried again after each loss with
//!   everything judged anew.
//! - **Nothing is forgotten that could come again, whatever clocks do.** A slot drops an entry only once its message is refused
//!   for its age, and remembers the latest moment at which a message was made that it has dropped: its *horizon*. A message made
//!   at or before the horizon is refused. So a clock that steps back, workers whose clocks disagree and policies that disagree on
//!   the age of messages reopen nothing: they refuse messages that are older than what was dropped, and nothing else.
//! - **Nor with what a host loses.** A slot is made before it is used, with a horizon of the moment plus what clients' clocks may
//!   be ahead. After a restart, or where the host evicts, that refuses whatever may have been used before, and a client that
//!   signs anew passes as soon as the horizon is over. Slots belong to one making of the table, and no claim stands unless the
//!   table of its making still does.
//!   Where a host counts the versions of a key anew, a lost slot is made again only when it has been gone for a second:
//!   whoever read what was there before can no longer put it back.
//! - **A slot that is full of live entries refuses**, and its agent alone notices. Entries are spread over an agent's slots at
//!   random, by a hash that nobody outside can foresee. While a share is at most half full, a claim finds its slot full with a
//!   probability below 1 in 2,000,000 (sixty-four or more where thirty-two are expected).
//!
//! What does not hold: messages used before a restart can come again where the clock was ahead then of what it shows now, or
//! where `clock_ahead` was lowered with that restart. Where the clock steps back, messages of clients whose clocks step along are
//! refused until the horizon is over.

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

/// What a message uses up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplayReservation<'a> {
    /// The registered agent, whose share it takes; all unregistered callers have one together.
    pub(crate) agent: Option<&'a str>,
    /// What tells the callers of a share apart, such as the thumbprint of a key: one may use the same token as another. Empty
    /// for an agent.
    pub(crate) caller: Cow<'a, str>,
    pub(crate) kind: Kind,
    pub(crate) token: Cow<'a, [u8]>,
    /// When the message says that it was made. It was found to be no further ahead than [`Rules::clock_ahead`] and no older than
    /// [`Rules::window`].
    pub(crate) made: Timestamp,
}

/// What kind of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The nonce of a signature.
    Nonce,
    /// The hash of a signature's base, where there is no nonce.
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

/// Why a message cannot be used. Waits are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It was used before.
    Replayed,
    /// The agent's part of the table is full of messages that could come again.
    ShareFull { retry_after: u64 },
    /// It was made before the table can tell whether it was used.
    Young { retry_after: u64 },
    /// It is too old by now: so much time went by since its age was checked.
    Late,
    /// Other workers were faster too often in a row.
    Contended,
    /// The shared store cannot be used, or is no longer the one in which the table was made.
    Store,
}

impl Refused {
    /// Seconds after which the message, or another one, may be sent again.
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
