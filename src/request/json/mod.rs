//! JSON that keeps what it reads as text.

pub mod number;
