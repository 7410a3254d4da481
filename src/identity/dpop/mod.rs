//! DPoP (RFC 9449): whether whoever sends a token also holds the key that it is bound to.
//!
//! A [`Proof`] is one statement, signed by that key, about one call with one token. [`binding`] is the only source of a
//! [`Held`] token, and nothing but a held token makes a caller. Whether a proof was seen before is not known in here.

mod binding;
mod nonce;
mod proof;
mod target;

pub(crate) use binding::{Held, binding};
pub(crate) use nonce::Nonces;
pub(crate) use proof::{Expected, Proof};

use std::time::Duration;

use crate::identity::crypto::Algorithm;

/// What the policy asks of proofs.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Whether a token that is bound to no key is refused.
    pub(crate) required: bool,
    pub(crate) algorithms: Vec<Algorithm>,
    /// Their names as a challenge lists them.
    pub(crate) told: Box<str>,
    /// How long after it was made a proof is taken.
    pub(crate) max_age: Duration,
    /// How far the client's clock may be ahead.
    pub(crate) clock_ahead: Duration,
    /// Whether a proof must carry a nonce of the gate's.
    pub(crate) nonce: bool,
}

#[cfg(test)]
mod tests;
