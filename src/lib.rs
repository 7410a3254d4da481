//! Callgate.
