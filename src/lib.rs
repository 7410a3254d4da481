//! The engine of Callgate: it takes a request and the time, and returns a decision.
//!
//! It has no clock, no network, no globals and writes no log. What it needs from its host comes in as a value or through a
//! small trait, so that the same code decides in a gateway, in a test and on the command line.

pub mod crypto;
pub mod endpoint;
pub mod headers;
pub mod policy;
mod reason;
pub mod request;
pub mod time;
pub mod token;

pub use headers::Headers;
pub use reason::{Challenge, Reason, Row};
