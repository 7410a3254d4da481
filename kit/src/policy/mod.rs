//! Loads a policy file: from its text to a policy that the engine can use.
//!
//! This module does not judge policies. The schema and the engine find the mistakes; this module adds their positions.

mod structure;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use std::sync::Arc;

use callgate::Timestamp;
use callgate::document::{Findings, Place};
use callgate::policy::Policy;
use callgate::{SecretLookup, Secrets};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::document::{self, Document};
pub use structure::schema;

/// A policy file that compiled.
#[derive(Debug)]
pub struct Loaded {
    /// The file.
    pub document: Document,
    /// The policy as canonical JSON (RFC 8785). Gateways receive this form, and the policy's version is its hash.
    pub policy_json: String,
    /// The compiled policy.
    pub policy: Arc<Policy>,
    /// Findings that are valid but may not be intended, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// The environment variables from which the policy takes its secrets.
    pub secrets: BTreeSet<String>,
}

impl Loaded {
    /// Returns the size that Kong's zone needs for the data that workers share, in nginx's notation; `None` for other gateways.
    #[must_use]
    pub fn zone(&self) -> Option<String> {
        self.policy.shared_bytes().map(|bytes| format!("{}k", bytes.div_ceil(1 << 10)))
    }

    /// Returns the size that Kong's zone needs for the documents that the gate fetches, in nginx's notation; `None` for other gateways,
    /// and for policies that fetch nothing.
    #[must_use]
    pub fn document_zone(&self) -> Option<String> {
        self.policy.document_bytes().map(|bytes| format!("{}m", bytes.div_ceil(1 << 20)))
    }

    /// Adds warnings that depend on the current time (`now`, in seconds since 1970), such as agents that expire soon.
    pub fn add_warnings_at(&mut self, now: u64) {
        let findings = self.policy.warnings_at(Timestamp::from_secs(now));
        self.warnings.extend(findings.iter().map(|finding| self.document.warning(&finding.place, &finding.message)));
        self.warnings.sort_by_key(|warning| warning.position);
    }
}

/// Reads and compiles the policy at `path` without its secrets. The policy then treats the signature of every token that is signed
/// with a secret as wrong.
///
/// # Errors
/// Reports all problems in the file with their positions.
pub fn load(path: impl AsRef<Path>) -> Result<Loaded, Diagnostics> {
    load_with(path, &not_needed)
}

/// Reads and compiles the policy at `path` as [`load`] does, but for the given gateway instead of the one that the policy names.
///
/// # Errors
/// Reports all problems in the file and everything that this gateway does not support, with their positions.
pub fn load_for(path: impl AsRef<Path>, gateway: &str) -> Result<Loaded, Diagnostics> {
    compile(document::read(path)?.with("gateway", gateway.into()), &not_needed)
}

/// Reads and compiles the policy at `path` with the secrets that it names.
///
/// # Errors
/// Reports all problems in the file or its secrets, with their positions.
pub fn load_with(path: impl AsRef<Path>, secrets: &dyn Secrets) -> Result<Loaded, Diagnostics> {
    compile(document::read(path)?, secrets)
}

/// Compiles a policy document.
///
/// # Errors
/// Reports all problems in the document with their positions.
pub fn compile(document: Document, secrets: &dyn Secrets) -> Result<Loaded, Diagnostics> {
    let faults = structure::check(&document);
    if !faults.is_empty() {
        return Err(Diagnostics::wrong(faults));
    }
    let whole = |message| Diagnostics::wrong(vec![document.error(&Place::root(), message)]);
    let policy_json = serde_json_canonicalizer::to_string(document.value())
        .map_err(|error| whole(format!("cannot be written as canonical JSON: {error}")))?;
    // Reads the JSON as the filter does, so the filter's limits apply here as well.
    let compiled =
        Policy::from_json(policy_json.as_bytes(), secrets).map_err(|findings| refused(&document, &findings))?;
    let raw: callgate::document::Document = serde_json::from_str(&policy_json)
        .map_err(|error| whole(format!("the canonical JSON cannot be read: {error}")))?;
    let issuers = raw.issuers.into_values().filter_map(|issuer| {
        let keys = issuer.keys;
        keys.secret.or_else(|| keys.remote?.authorization)
    });
    let agents = raw.agents.into_values().flat_map(|agent| agent.signing_keys.unwrap_or_default());
    let secrets = issuers.chain(agents.filter_map(|key| key.secret)).chain(raw.tables.key);
    let secrets = secrets.map(|secret| secret.env).collect();
    let mut warnings = warnings(&document, &compiled.findings);
    warnings.sort_by_key(|warning| warning.position);
    Ok(Loaded { document, policy_json, policy: Arc::new(compiled.policy), warnings, secrets })
}

fn refused(document: &Document, findings: &Findings) -> Diagnostics {
    let errors = findings.errors.iter().map(|finding| document.error(&finding.place, &finding.message));
    Diagnostics::wrong(errors.chain(warnings(document, findings)).collect())
}

fn warnings(document: &Document, findings: &Findings) -> Vec<Diagnostic> {
    findings.warnings.iter().map(|finding| document.warning(&finding.place, &finding.message)).collect()
}

/// Provides no secrets. Checking a policy needs none.
#[must_use]
pub fn not_needed(_: &str) -> SecretLookup {
    SecretLookup::NotNeeded
}

/// Provides secrets from the given variables instead of the environment of the process.
pub fn variables(values: &BTreeMap<String, String>) -> impl Fn(&str) -> SecretLookup {
    |name| values.get(name).map_or(SecretLookup::Missing, |value| SecretLookup::Found(value.as_bytes().to_vec()))
}

/// Provides a secret from the environment of this process. A variable that is not set counts as not needed, as in [`not_needed`].
#[must_use]
pub fn environment(name: &str) -> SecretLookup {
    match std::env::var_os(name) {
        Some(value) if !value.is_empty() => SecretLookup::Found(value.into_encoded_bytes()),
        _ => SecretLookup::NotNeeded,
    }
}

#[cfg(test)]
mod tests;
