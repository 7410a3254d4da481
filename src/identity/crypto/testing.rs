//! A verifier for tests of the admission check, which runs before signatures are verified.

use std::cell::{Cell, RefCell};

use super::{Algorithm, BadSignature, Signer, SoftwareVerifier, VerifySignature, VerifyingKey};

/// Admits all signers or none, and records the signers it was asked about.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    pub(crate) admits: bool,
    /// The signers of each call.
    pub(crate) asked: RefCell<Vec<String>>,
    /// The number of unknown keys it recorded.
    pub(crate) unknown: Cell<u32>,
}

impl Asking {
    pub(crate) fn new(admits: bool) -> Self {
        Self { admits, ..Self::default() }
    }
}

impl VerifySignature for Asking {
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        assert!(self.admits && !self.asked.borrow().is_empty(), "nothing is computed for whom nobody admitted");
        SoftwareVerifier.verify(key, algorithm, message, signature)
    }

    fn admit(&self, signers: &[Signer<'_>]) -> Result<(), BadSignature> {
        let signers = signers.iter().map(|signer| match signer {
            Signer::Token(signature) => format!("token of {} bytes", signature.len()),
            Signer::Client { issuer, client, subject, .. } => format!("{issuer} {client:?} {subject:?}"),
            Signer::Key(keyid) => (*keyid).to_owned(),
            Signer::Proof(key) => key.to_string(),
            Signer::ApiKey(hash) => format!("{hash:?}"),
        });
        self.asked.borrow_mut().push(signers.collect::<Vec<_>>().join(", "));
        if self.admits { Ok(()) } else { Err(BadSignature) }
    }

    fn unknown_key(&self) {
        self.unknown.set(self.unknown.get() + 1);
    }
}
