//! Lets a test host run published test vectors against the engine inside the module. Not part of the shipped filter.

use super::host::{self, Level, ProxyWasm};
use crate::conformance::{Verdict, judge};
use crate::host::Host;
use crate::host::verify::Gateway;
use crate::identity::crypto::{HostVerifier, SoftwareVerifier};

/// Runs the case that the host passes as the plugin's configuration, and logs the verdict. The verdict is the same whether the
/// module or the host verifies signatures.
#[expect(unsafe_code, reason = "the host finds it by its name, which nothing else in the module has")]
#[unsafe(no_mangle)]
extern "C" fn callgate_conformance(size: usize) -> u32 {
    let verdict = match ProxyWasm.configuration(size) {
        Ok(case) => judge_twice(&case),
        Err(error) => Verdict::Broken(format!("{error:?}")),
    };
    let Ok(text) = serde_json::to_string(&verdict) else { return 0 };
    host::log(Level::Info, &text);
    1
}

fn judge_twice(case: &[u8]) -> Verdict {
    let own = judge(case, &SoftwareVerifier);
    let host = HostVerifier::new(Some(Gateway::new(ProxyWasm)), SoftwareVerifier);
    let theirs = judge(case, &host);
    match host.asks() {
        false => Verdict::Broken("the host verifies nothing".into()),
        true if own != theirs => Verdict::Broken(format!("by itself {own:?}, with the host {theirs:?}")),
        true => own,
    }
}
