//! The proxy-wasm adapter. It is the only module that uses proxy-wasm, and it builds for wasm32 only.
//!
//! The SDK provides the callbacks. Every call *to* the host goes through [`host`], which returns errors as values.

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
