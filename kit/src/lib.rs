//! The parts that the command line and the test harness share: decision cases, tokens and signatures to send, and readers for
//! policies, records and modules.
//!
//! Without the feature `full` it only reads documents, mints tokens and stamps modules. That is what `cargo demo` needs, and it builds in a
//! third of the time.
//!
//! Code that decides requests belongs in the engine and must not be added here. Code that a single command needs belongs in the
//! command line.
#![cfg(not(target_arch = "wasm32"))]

pub mod capabilities;
#[cfg(feature = "full")]
pub mod corpus;
pub mod diagnostic;
pub mod document;
pub mod escape;
pub mod input;
pub mod mint;
pub mod module;
#[cfg(feature = "full")]
pub mod moment;
#[cfg(feature = "full")]
pub mod policy;
#[cfg(feature = "full")]
pub mod records;
#[cfg(feature = "full")]
pub mod sign;
