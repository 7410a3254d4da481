//! The command line of Callgate, for policy authors and operators.
//!
//! The library holds everything that can be tested without a process; `main` only parses arguments and exits. What
//! decides about calls lives in the engine and never here; what the test harness needs as well lives in `callgate-kit`.
#![cfg(not(target_arch = "wasm32"))]

pub mod command;
mod decide;
pub mod reference;
pub mod render;
