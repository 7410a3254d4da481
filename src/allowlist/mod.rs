//! The allowlist's paths: templates, and the lookup that finds the one template of a path.
//!
//! What an endpoint asks of a caller, and its methods, do not enter here: a lookup ends at the endpoints that share the most
//! specific template, and the caller goes on from there.

mod binding;
mod build;
mod collisions;
mod kind;
mod lenient;
#[cfg(not(target_arch = "wasm32"))]
mod nearest;
mod readings;
mod scopes;
mod shadow;
mod shape;
mod table;
mod template;

#[cfg(all(any(test, feature = "testing"), not(target_arch = "wasm32")))]
pub(crate) use binding::bound_header;
pub(crate) use binding::{Binding, Bound, Side, equals};
pub use kind::Kind;
#[cfg(not(target_arch = "wasm32"))]
pub use nearest::{Asked, Listed, Near, nearest};
pub(crate) use scopes::{Granted, Origin, ScopesWanted};
pub use table::{Built, Capture, Found, Remark, Table};
pub use template::{Template, Variable};
