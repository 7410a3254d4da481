//! Verifies signatures with the gateway's own function.

use std::cell::Cell;

use super::{Host, HostError};
use crate::identity::crypto::{HostVerifier, HostVerify, VerifySignature};
use crate::policy::Policy;

/// The gateway as a signature verifier.
pub(super) struct Gateway<H> {
    host: H,
    /// The error of the last request to the gateway.
    failed: Cell<Option<HostError>>,
}

impl<H: Host> Gateway<H> {
    pub(super) fn new(host: H) -> Self {
        Self { host, failed: Cell::default() }
    }
}

impl<H: Host> HostVerify for Gateway<H> {
    fn ask(&self, request: &[u8]) -> Option<Vec<u8>> {
        let answer = self.host.verify_signature(request);
        self.failed.set(answer.as_ref().err().copied());
        answer.ok()
    }

    fn give_up(&self) {
        let why = match self.failed.take() {
            Some(error) => format!("{error}; where its configuration restricts what filters may call, allow that"),
            None => "the gateway's `verify_signature` returns wrong results".into(),
        };
        log::warn!("the filter verifies ECDSA and RSA signatures itself, which takes longer: {why}");
    }
}

/// Creates the verifier of a policy: the adapter's, if it has one, and otherwise one that uses the gateway's function if that supports the
/// algorithm. Logs who verifies the most expensive algorithms.
pub(super) fn verifier<H: Host>(host: &H, policy: &Policy) -> Box<dyn VerifySignature> {
    let tables = match host.native_verifier(policy.verifier()) {
        Ok(native) => return native,
        Err(tables) => tables,
    };
    let asked = policy.features.verifies && policy.takes_what_hosts_verify();
    let verifier = HostVerifier::new(asked.then(|| Gateway::new(host.clone())), tables);
    if verifier.asks() {
        log::info!("the gateway verifies ECDSA signatures, and RSA signatures without PSS");
    } else if !policy.features.verifies && policy.takes_what_hosts_verify() {
        log::info!("the filter verifies signatures itself; `{}` verifies none", policy.features.name);
    }
    Box::new(verifier)
}
