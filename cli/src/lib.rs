//! The command line of Callgate, for policy authors and operators.
//!
//! The library holds everything that can be tested without a process; `main` only parses arguments and exits. What
//! decides about calls lives in the engine and never here.

pub mod capabilities;
pub mod command;
pub mod corpus;
mod decide;
pub mod diagnostic;
pub mod document;
pub mod escape;
pub mod gateway;
pub mod input;
pub mod mint;
pub mod module;
pub mod moment;
pub mod policy;
pub mod records;
pub mod reference;
pub mod render;
pub mod sign;
