//! Bytes and time: what the hot path reads, writes and looks up in few instructions.
//!
//! Nothing in here knows what the bytes mean.

pub(crate) mod ascii;
pub(crate) mod hash;
pub mod time;
