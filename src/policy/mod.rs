//! The policy: from the document that a person writes to lookups that are ready to run.

mod error;
pub mod raw;
mod scalar;

pub use error::{Finding, Findings, Place};
pub use scalar::Lifetime;
