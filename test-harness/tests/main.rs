//! All tests that need more than one package, in one program: they are linked once, build the filter once, and can wait in parallel.

mod bench;
mod conformance;
mod copied;
mod corpus_envoy;
mod corpus_native;
mod corpus_wasm;
mod documents;
mod envoy;
mod mcp_conformance;
mod soak;
mod spiffe;
