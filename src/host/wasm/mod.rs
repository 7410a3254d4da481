//! The filter: how the engine runs inside a gateway that speaks proxy-wasm.
//!
//! This is the one place that knows proxy-wasm, and it builds for wasm32 only. It fetches what the engine asks for and carries
//! out what it answers; it decides nothing itself, except that a call about which a host call failed is denied. The SDK
//! brings the callbacks; every call *to* the host goes through [`host`], whose errors are values.

mod abi;
mod answer;
#[cfg(feature = "conformance")]
mod conformance;
mod gate;
mod host;
mod http;
mod logger;
mod memory;
mod metrics;
mod outcome;
mod root;
mod verify;
mod waiting;

proxy_wasm::main! {{
    logger::install();
    proxy_wasm::set_root_context(|id| Box::new(root::Root::new(id)));
}}
