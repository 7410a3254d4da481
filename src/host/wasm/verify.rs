//! The gateway as whoever verifies signatures.

use std::cell::Cell;

use super::host::{self, HostError};
use crate::identity::crypto::{HostVerifier, HostVerify, TableVerifier};
use crate::policy::Policy;

/// Verifies signatures for a policy, by the gateway where that can.
pub(super) type Verifier = HostVerifier<Gateway, TableVerifier>;

/// The gateway as whoever verifies signatures.
#[derive(Default)]
pub(super) struct Gateway {
    /// Why the last request was not answered.
    failed: Cell<Option<HostError>>,
}

impl HostVerify for Gateway {
    fn ask(&self, request: &[u8]) -> Option<Vec<u8>> {
        let answer = host::verify_signature(request);
        self.failed.set(answer.as_ref().err().copied());
        answer.ok()
    }

    fn give_up(&self) {
        let why = match self.failed.take() {
            Some(error) => format!("{error}; where its configuration restricts what filters may call, allow that"),
            None => "the gateway's `verify_signature` answers what it should not".into(),
        };
        log::warn!("signatures by ECDSA and RSA keys are computed in the filter, which takes longer: {why}");
    }
}

/// A verifier for a policy; the log says who verifies what costs the most.
pub(super) fn verifier(policy: &Policy) -> Verifier {
    let asked = policy.features.verifies && policy.takes_what_hosts_verify();
    let verifier = HostVerifier::new(asked.then(Gateway::default), policy.verifier());
    if verifier.asks() {
        log::info!("signatures by ECDSA keys, and by RSA keys without PSS, are verified by the gateway");
    } else if !policy.features.verifies && policy.takes_what_hosts_verify() {
        log::info!("signatures are computed in the filter: `{}` verifies none", policy.features.name);
    }
    verifier
}
