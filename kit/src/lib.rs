//! What the command line and the test harness share: decision cases, tokens and signatures to send, and the reading of policies,
//! records and modules.
//!
//! What decides about requests lives in the engine and never here, and what one verb of the command line alone needs lives in the
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
