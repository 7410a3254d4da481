//! A policy file, from its text to a policy that the engine can decide by.
//!
//! Nothing about policies is judged here: the mistakes are the schema's and the engine's, this room finds their places.

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
pub use structure::{formats, schema};

/// A policy file that compiled.
#[derive(Debug)]
pub struct Loaded {
    /// The file.
    pub document: Document,
    /// The policy as canonical JSON (RFC 8785): what a gateway is given, and what the version is a hash of.
    pub policy_json: String,
    /// The policy, ready to decide.
    pub policy: Arc<Policy>,
    /// What is allowed and may not be meant, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// The environment variables that it takes secrets from.
    pub secrets: BTreeSet<String>,
}

impl Loaded {
    /// How large Kong's zone has to be for what workers share, as nginx writes sizes; none in other gateways.
    #[must_use]
    pub fn zone(&self) -> Option<String> {
        self.policy.shared_bytes().map(|bytes| format!("{}k", bytes.div_ceil(1 << 10)))
    }

    /// Adds what deserves a second look at this moment, in seconds since 1970, such as agents that expire soon.
    pub fn add_warnings_at(&mut self, now: u64) {
        let findings = self.policy.warnings_at(Timestamp::from_secs(now));
        self.warnings.extend(findings.iter().map(|finding| self.document.warning(&finding.place, &finding.message)));
        self.warnings.sort_by_key(|warning| warning.position);
    }
}

/// Reads and compiles the policy at `path` without its secrets: it decides about tokens that are signed with a secret as
/// if their signature were wrong.
///
/// # Errors
/// Everything that is wrong with the file, with its places.
pub fn load(path: impl AsRef<Path>) -> Result<Loaded, Diagnostics> {
    load_with(path, &not_needed)
}

/// Reads and compiles the policy at `path` as [`load`] does, for this gateway in the place of its own.
///
/// # Errors
/// Everything that is wrong with the file, or stands in the way of that gateway, with its places.
pub fn load_for(path: impl AsRef<Path>, gateway: &str) -> Result<Loaded, Diagnostics> {
    compile(document::read(path)?.with("gateway", gateway.into()), &not_needed)
}

/// Reads and compiles the policy at `path` with the secrets it names.
///
/// # Errors
/// Everything that is wrong with the file or its secrets, with its places.
pub fn load_with(path: impl AsRef<Path>, secrets: &dyn Secrets) -> Result<Loaded, Diagnostics> {
    compile(document::read(path)?, secrets)
}

/// Compiles a policy document.
///
/// # Errors
/// Everything that is wrong with it, with its places.
pub fn compile(document: Document, secrets: &dyn Secrets) -> Result<Loaded, Diagnostics> {
    let faults = structure::check(&document);
    if !faults.is_empty() {
        return Err(Diagnostics::wrong(faults));
    }
    let whole = |message| Diagnostics::wrong(vec![document.error(&Place::root(), message)]);
    let policy_json = serde_json_canonicalizer::to_string(document.value())
        .map_err(|error| whole(format!("it has no canonical JSON: {error}")))?;
    // As the filter reads it, so that its bounds hold here as well.
    let compiled =
        Policy::from_json(policy_json.as_bytes(), secrets).map_err(|findings| refused(&document, &findings))?;
    let raw: callgate::document::Document = serde_json::from_str(&policy_json)
        .map_err(|error| whole(format!("its canonical JSON cannot be read: {error}")))?;
    let issuers = raw.issuers.into_values().filter_map(|issuer| issuer.keys.secret);
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

/// No secret is available, and none is needed to check a policy.
#[must_use]
pub fn not_needed(_: &str) -> SecretLookup {
    SecretLookup::NotNeeded
}

/// Secrets from these variables, in the place of the process's own.
pub fn variables(values: &BTreeMap<String, String>) -> impl Fn(&str) -> SecretLookup {
    |name| values.get(name).map_or(SecretLookup::Missing, |value| SecretLookup::Found(value.as_bytes().to_vec()))
}

/// A secret from this process's environment. One that is not set is not needed, as in [`not_needed`].
#[must_use]
pub fn environment(name: &str) -> SecretLookup {
    match std::env::var_os(name) {
        Some(value) if !value.is_empty() => SecretLookup::Found(value.into_encoded_bytes()),
        _ => SecretLookup::NotNeeded,
    }
}

#[cfg(test)]
mod tests;
