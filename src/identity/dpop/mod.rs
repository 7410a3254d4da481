//! DPoP (RFC 9449): checks that the sender of a token holds the key, or the certificate, that the token is bound to.
//!
//! A [`Proof`] is a statement, signed by that key, about one request with one token. Only [`binding`] creates a [`Held`] token, and only
//! a held token identifies an agent. Replay protection for proofs is not part of this module.

mod binding;
mod nonce;
mod proof;
mod target;

pub(crate) use binding::{Held, Shown, binding};
pub(crate) use nonce::Nonces;
pub(crate) use proof::{Expected, Proof};

use std::time::Duration;

use crate::identity::crypto::Algorithm;

/// The policy's requirements for proofs.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Whether a token that is not bound to a key is rejected.
    pub(crate) required: bool,
    pub(crate) algorithms: Vec<Algorithm>,
    /// The names of the algorithms, as a challenge lists them.
    pub(crate) told: Box<str>,
    /// How long after its creation a proof is accepted.
    pub(crate) max_age: Duration,
    /// How far the client's clock may be ahead.
    pub(crate) clock_ahead: Duration,
    /// Whether a proof must carry a nonce issued by Callgate.
    pub(crate) nonce: bool,
}

#[cfg(test)]
mod tests;
