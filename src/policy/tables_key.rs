//! The key of the tables that all workers share. It is read from the environment.

use std::fmt;

use crate::document;
use crate::document::{Findings, Place};
use crate::identity::crypto::{first, hmac_sha256};
use crate::identity::token::{Secrets, look_up};
use crate::policy::gateway::{Features, Store};

/// The minimum length of the secret in bytes. A shorter secret could be found by brute force.
const LEAST: usize = 32;

/// The key for names and seals in the shared store. Its `Debug` output does not contain the key.
#[derive(Clone)]
pub(crate) struct TablesKey([u8; 32]);

impl TablesKey {
    /// Reads the key if the policy names one. Returns `None` if secrets are not looked up, as when a policy is only checked.
    pub(super) fn compile(
        document: &document::Document,
        secrets: &dyn Secrets,
        findings: &mut Findings,
    ) -> Option<Self> {
        let raw = document.tables.key.as_ref()?;
        let place = Place::root().field("tables").field("key");
        if Features::of(document.gateway).store == Store::None {
            findings.warn(place, "workers share no state on this gateway, so there are no tables; remove this");
            return None;
        }
        let issuers = document.issuers.values().filter_map(|issuer| issuer.keys.secret.as_ref());
        let signers = document.agents.values().filter_map(|agent| agent.signing_keys.as_ref()).flatten();
        let others = issuers.chain(signers.filter_map(|key| key.secret.as_ref()));
        if others.into_iter().any(|other| other.env == raw.env) {
            findings.error(
                place.field("env"),
                "an issuer or an agent has this secret, and could predict the gate's values; name another variable",
            );
            return None;
        }
        let bytes = look_up(raw, &place, secrets, findings).ok()??;
        if bytes.len() < LEAST {
            findings.error(
                place.field("env"),
                format!("the key is too short; expected {LEAST} random bytes or more after decoding"),
            );
            return None;
        }
        // Derives a separate key for each policy. It is useless for any other purpose that the same secret serves.
        let text = [b"callgate tables\0", document.name.as_bytes()].concat();
        Some(Self(hmac_sha256(&bytes, &text)))
    }

    /// Rejects a policy that uses the shared store without a key if its gateway needs one.
    pub(super) fn require(document: &document::Document, findings: &mut Findings) {
        let features = Features::of(document.gateway);
        if !features.needs_key() || document.tables.key.is_some() {
            return;
        }
        let why = if features.unpredictable {
            "other filters can write to the state that workers share"
        } else {
            "the random numbers of this gateway are predictable"
        };
        findings.error(
            Place::root().field("tables").field("key"),
            format!("{why}; write `{{ env: NAME }}` with a variable that contains {LEAST} random bytes or more"),
        );
    }

    /// Returns the key that seals values in the shared store.
    pub(crate) fn seals(&self) -> [u8; 16] {
        self.derive("seals")
    }

    /// Returns the key that hashes names in the shared store.
    pub(crate) fn names(&self) -> [u8; 16] {
        self.derive("names")
    }

    fn derive(&self, purpose: &str) -> [u8; 16] {
        first(hmac_sha256(&self.0, purpose.as_bytes()))
    }
}

impl fmt::Debug for TablesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TablesKey(..)")
    }
}
