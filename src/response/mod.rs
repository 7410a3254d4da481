//! What a client gets of an MCP server's answers: lists without the items that it must not see, and errors instead of answers that cannot
//! be checked.
//!
//! An answer is JSON or an event stream. Every list in it is filtered by the shape of the result, whatever was requested, and nothing that
//! was not checked is forwarded. This module does not know gateways, policies or state that workers share: a [`list::Listed`] decides about
//! each item, and a reservation about the bytes that it keeps. What stays is never serialized again, because clients and pins compare it byte for byte.

pub(crate) mod events;
pub(crate) mod filter;
mod held;
pub(crate) mod list;
mod object_end;
pub(crate) mod pin;
