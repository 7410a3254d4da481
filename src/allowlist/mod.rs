//! The paths of the allowlist: templates, and the lookup that finds the one template for a path. The nested allowlists of operations are in
//! `operations`.
//!
//! Methods and the requirements of an endpoint do not belong in this module. A lookup returns the endpoints that share the most specific
//! template, and the caller checks the rest.

mod binding;
mod build;
mod collisions;
mod kind;
mod lenient;
#[cfg(not(target_arch = "wasm32"))]
mod nearest;
pub(crate) mod operations;
mod reach;
mod readings;
pub(crate) mod rule;
mod scopes;
mod shadow;
mod shape;
mod table;
mod template;

#[cfg(all(any(test, feature = "testing"), not(target_arch = "wasm32")))]
pub(crate) use binding::bound_header;
pub(crate) use binding::{Binding, Bound, BoundValue, Side};
pub use kind::Kind;
#[cfg(not(target_arch = "wasm32"))]
pub use nearest::{Asked, Listed, Near, nearest};
pub(crate) use reach::{Ceiling, Reach, Span};
pub(crate) use scopes::{Granted, Origin, ScopesWanted};
pub use table::{Built, Capture, Found, Remark, Table};
pub use template::{Template, Variable};
