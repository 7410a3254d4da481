//! What an authenticated caller may do at the endpoint that was found: scopes, and the parts of the call that are bound to
//! who calls.
//!
//! Both are compiled with the policy; nothing here looks at a header that is not bound.

mod bind;
mod scopes;

#[cfg(not(target_arch = "wasm32"))] // The fuzz targets call it.
pub(crate) use bind::bound_header;
pub(crate) use bind::{Binding, Bound, Side, equals};
pub(crate) use scopes::{Granted, Origin, ScopesWanted};
