//! Processing of bytes and times with few instructions, for the hot path, and sorting with little code.
//!
//! This module does not interpret the bytes.

pub(crate) mod ascii;
pub(crate) mod hash;
pub mod monotonic;
pub(crate) mod sort;
pub mod time;
