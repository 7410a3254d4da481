//! Adapters: how the engine runs in a gateway.
//!
//! They fetch what the engine asks for and carry out what it decides. Nothing is decided in here, except that a request is denied about
//! which a host call failed.

#[cfg(target_arch = "wasm32")]
mod wasm;
