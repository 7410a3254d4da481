//! The parts that the command line and the test harness share: decision cases, tokens and signatures to send, and readers for
//! policies, records and modules.
//!
//! Code that decides requests belongs in the engine and must not be added here. Code that a single command needs belongs in the
//! command line.
#![cfg(not(target_arch = "wasm32"))]

pub mod capabilities;
pub mod corpus;
pub mod diagnostic;
pub mod document;
pub mod escape;
pub mod input;
pub mod mint;
pub mod module;
pub mod moment;
pub mod policy;
pub mod records;
pub mod sign;
