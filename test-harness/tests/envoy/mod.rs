//! The gate in a real Envoy. Each test starts its own on free ports, so tests can run in parallel.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod answers;
mod calls;
mod certificates;
pub(crate) mod clients;
mod configuration;
mod delegated;
mod demo;
mod discovery;
mod ecds;
mod fetched_keys;
mod fixture;
mod grpc;
mod held;
mod hostile;
mod http2;
mod limits;
pub(crate) mod mcp;
mod metrics;
mod module;
mod mtls;
mod operating;
mod outcomes;
mod payments;
mod pins;
mod possession;
mod records;
mod revocation;
mod shipped;
mod shipped_module;
mod signed;
mod signing;
mod streams;
mod trap;
mod verified;
