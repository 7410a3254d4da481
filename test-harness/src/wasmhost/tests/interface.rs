//! The capabilities that the module needs from a gateway, and its size.

use std::collections::BTreeSet;

use callgate_kit::capabilities::{ANSWERING, CAPABILITIES};

use super::{FILE, HostProfile, MODULE};
use crate::bench::MOST_WASM_MB;
use crate::wasmhost::interface::{CALLS, EXPORTS, SDK_CALLS, WASI_CALLS};

#[test]
fn imports_are_exactly_the_listed_host_calls() {
    let known = |module: &'static str, calls: &'static [&str]| calls.iter().map(move |call| format!("{module}.{call}"));
    let listed: BTreeSet<_> =
        known("env", CALLS).chain(known("env", SDK_CALLS)).chain(known("wasi_snapshot_preview1", WASI_CALLS)).collect();
    assert_eq!(MODULE.imports().into_iter().collect::<BTreeSet<_>>(), listed);
}

#[test]
fn every_gateway_offers_every_import() {
    for profile in HostProfile::ALL {
        let offer = profile.offer();
        let missing: Vec<_> = MODULE
            .imported_calls()
            .into_iter()
            .filter(|(import, parameters)| !offer.has(import, *parameters))
            .collect();
        assert!(missing.is_empty(), "the module does not start on {}: {missing:?}", profile.quirks().name);
    }
    // This difference is why parameters are counted.
    assert!(HostProfile::Envoy.offer().has("env.proxy_get_log_level", 1));
    assert!(!HostProfile::Kong.offer().has("env.proxy_get_log_level", 1));
    assert!(!HostProfile::Apisix.offer().has("env.proxy_get_log_level", 1));
}

/// Calls that the standard library keeps in the module for programs that write to a terminal and exit.
const NOT_NEEDED: [&str; 2] = ["fd_write", "proc_exit"];
/// The SDK's callback for a context that may not be done yet. The filter's contexts always are.
const DOES_NOTHING: &str = "proxy_on_done";

#[test]
fn capabilities_are_exactly_the_needed_calls_and_callbacks() {
    let calls = CALLS.iter().chain(WASI_CALLS).filter(|call| !NOT_NEEDED.contains(call));
    // Allocation is not a capability, and the other names are looked up when the module is loaded.
    let is_callback = |export: &&&str| export.starts_with("proxy_on_") && !export.ends_with("_allocate");
    let callbacks = EXPORTS.iter().filter(is_callback).filter(|export| **export != DOES_NOTHING);
    let needed: BTreeSet<_> = calls.chain(callbacks).copied().collect();
    assert_eq!(CAPABILITIES.iter().copied().chain(ANSWERING).collect::<BTreeSet<_>>(), needed);
    assert_eq!(CAPABILITIES.len() + ANSWERING.len(), needed.len(), "a capability is listed twice");
}

#[test]
fn exports_are_callbacks_and_functions_that_hosts_require() {
    let exports = MODULE.exports();
    for expected in EXPORTS {
        assert!(exports.iter().any(|export| export == expected), "`{expected}` is not exported");
    }
    for export in &exports {
        assert!(EXPORTS.contains(&export.as_str()) || export.starts_with("proxy_on_"), "`{export}` is exported");
    }
}

#[test]
fn module_size_stays_within_the_limit() {
    let bytes = std::fs::metadata(&*FILE).unwrap().len();
    assert!(bytes as f64 <= MOST_WASM_MB * 1e6, "{bytes} bytes: every worker compiles and keeps them");
}

#[test]
fn module_contains_no_build_paths() {
    let module = std::fs::read(&*FILE).unwrap();
    let holds = |text: &str| module.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("/cargo/"), "no message names a source file: nothing is shown below");
    let home = std::env::home_dir().unwrap();
    for place in [home.as_path(), &crate::paths::root()] {
        let place = format!("{}/", place.display());
        assert!(!holds(&place), "{place}");
    }
    // It also contains no trace of the packages' registry or of the compiler's installation.
    for place in ["registry", "rustlib"] {
        assert!(!holds(&format!("/{place}/")), "{place}");
    }
}
