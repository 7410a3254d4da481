//! Tests the real product: builds the filter, starts a real Envoy with it, sends requests through it, and reports the results.
#![cfg(not(target_arch = "wasm32"))]

pub mod bench;
pub mod build;
pub mod client;
pub mod compose;
pub mod conformance;
pub mod container;
pub mod corpus;
pub mod demo;
pub mod envoy;
pub mod http2;
mod interrupt;
pub mod observability;
pub mod package;
pub mod paths;
pub mod portability;
pub mod progress;
pub mod python;
mod quickstart;
pub mod upstream;
pub mod upstreams;
pub mod wasmhost;
