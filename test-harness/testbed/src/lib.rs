//! A real Envoy with the filter in it, a client in front and an upstream behind: what the demo, the tests and the measurements have in
//! common.
//!
//! `cargo demo` compiles this package on a new machine, so nothing may be added that only tests or
//! measurements need and that takes noticeable time to compile.
#![cfg(not(target_arch = "wasm32"))]

pub mod build;
pub mod client;
pub mod demo;
pub mod envoy;
pub mod kept;
mod listener;
pub mod paths;
pub mod progress;
pub mod python;
pub mod quickstart;
pub mod upstream;
