//! Callgate as an Envoy dynamic module.
//!
//! This package is only the adapter: it implements the engine's [`Host`](callgate::host::Host) with the functions that Envoy provides to
//! modules, and exports the hooks that Envoy calls. It makes no decisions. Phases of requests, records and metrics are the shared code in
//! `callgate::host`.
//!
//! - One configuration is an object for all threads. On the main thread it compiles the policy and fetches documents.
//! - Each worker has a state for each configuration, created with its first stream.
//! - The map that workers share belongs to the process. It is kept until the process ends or the library is unloaded.
//!
//! All code that calls Envoy's functions is unsafe, and Envoy runs it in its own process, without the sandbox of the Wasm filter. For this
//! reason every hook catches panics: a defect may cost one request, but not the process.

mod abi;
mod body;
mod clock;
mod config;
#[cfg(any(test, feature = "testing"))]
mod fake_envoy;
#[cfg(any(test, feature = "testing"))]
mod fuzzing;
mod headers;
mod hooks;
mod host;
mod io;
mod logger;
mod main_thread;
mod metrics;
#[cfg(any(test, feature = "panic-on-purpose"))]
mod on_purpose;
#[cfg(test)]
mod panic_tests;
mod properties;
mod settings;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod timer;
mod verifier;
mod worker;

pub use abi::CALLBACKS;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub use fuzzing::fuzz;
pub use hooks::HOOKS;
pub use verifier::NativeVerifier;
