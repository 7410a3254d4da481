//! Tests the real product: builds the filter, starts a real Envoy with it, sends requests through it, and reports the results.
#![cfg(not(target_arch = "wasm32"))]

pub use callgate_testbed::{build, client, demo, envoy, paths, python, quickstart, upstream};

pub mod bench;
pub mod certificates;
pub mod compose;
pub mod conformance;
pub mod container;
pub mod corpus;
pub mod fuzz_module;
pub mod http2;
mod interrupt;
pub mod mcp_conformance;
pub mod observability;
pub mod package;
pub mod portability;
pub mod progress;
pub mod soak;
pub mod upstreams;
pub mod wasmhost;
