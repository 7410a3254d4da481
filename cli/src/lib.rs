//! The command line of Callgate, for policy authors and operators.
//!
//! The library contains everything that can be tested without a process; `main` only parses arguments and exits. Code that decides
//! requests belongs in the engine and must not be added here. Code that the test harness also needs belongs in `callgate-kit`.
#![cfg(not(target_arch = "wasm32"))]

mod access;
pub mod command;
mod decide;
mod reasons;
pub mod reference;
pub mod render;
