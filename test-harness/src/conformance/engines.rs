//! The two engines that evaluate each case.

use anyhow::{Context as _, Result, anyhow};
use callgate::conformance::{Case, Verdict, judge};
use callgate::identity::crypto::SoftwareVerifier;
use serde_json::json;

use super::report::Outcome;
use crate::wasmhost::{Module, Vm};

/// The native engine, and the engine in a module, which verifies signatures both itself and through its host.
pub(super) struct Engines {
    vm: Vm,
}

impl Engines {
    pub(super) fn start(module: &Module) -> Result<Self> {
        // A module needs a policy to start. No case depends on this one.
        let policy = json!({
            "callgate": "v1", "name": "conformance", "mode": "enforce", "gateway": "envoy",
            "resource": "https://example.com", "hosts": ["example.com"], "issuers": {}, "agents": {},
            "endpoints": [{ "id": "x", "methods": ["GET"], "path": "/", "effect": "read", "access": "public" }],
            "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": false } },
        });
        let vm = Vm::start(module, policy.to_string().as_bytes(), &[]).context("the module does not start")?;
        Ok(Self { vm })
    }

    /// Evaluates a case in all engines.
    ///
    /// # Errors
    /// When they disagree, or one of them cannot answer.
    pub(super) fn judge(&mut self, case: &Case) -> Result<Verdict> {
        let case = serde_json::to_vec(case)?;
        let native = judge(&case, &SoftwareVerifier);
        let answer = self.vm.conformance(&case).map_err(|trap| anyhow!("in the module: {trap}"))?;
        let wasm: Verdict = serde_json::from_str(&answer).context("the module's result is not a verdict")?;
        match native {
            Verdict::Broken(why) => Err(anyhow!("invalid case: {why}")),
            native if native != wasm => {
                Err(anyhow!("the native result {native:?} differs from the result in the module {wasm:?}"))
            }
            native => Ok(native),
        }
    }

    /// Evaluates a case and compares the result with the expectation.
    pub(super) fn check(&mut self, case: &Case, expect: impl FnOnce(&Verdict) -> Option<Outcome>) -> Outcome {
        match self.judge(case) {
            Ok(verdict) => {
                expect(&verdict).unwrap_or_else(|| Outcome::Failed(format!("unexpected result {verdict:?}")))
            }
            Err(error) => Outcome::Failed(format!("{error:#}")),
        }
    }
}
