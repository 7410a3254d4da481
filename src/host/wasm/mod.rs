//! proxy-wasm: the one place that knows it, which builds for wasm32 only.
//!
//! The SDK brings the callbacks; every call *to* the host goes through [`host`], whose errors are values.

mod abi;
#[cfg(feature = "conformance")]
mod conformance;
mod host;
mod http;
mod logger;
mod memory;
mod root;

proxy_wasm::main! {{
    logger::install();
    proxy_wasm::set_root_context(|id| Box::new(root::Root(crate::host::root::Root::new(host::ProxyWasm, id))));
}}
