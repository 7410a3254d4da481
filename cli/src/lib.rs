//! Command line.

pub mod mint;
