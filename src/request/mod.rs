//! The path, query, host, method and JSON body of a request, in the one form in which they are compared.
//!
//! Everything here is a pure function of the received bytes. Each type can only be created by its parser, so a value proves that its
//! checks passed. This module does not know policies and does not repair input. Input that is not canonical is rejected, because the form
//! that was matched must be the form that is forwarded upstream.

pub(crate) mod certificate;
pub(crate) mod credential;
pub mod digest;
pub(crate) mod head;
pub mod headers;
mod host;
pub(crate) mod incoming;
pub(crate) mod json;
mod method;
pub(crate) mod parameter;
mod path;
pub(crate) mod percent;
pub(crate) mod places;
mod query;
pub(crate) mod rpc;
pub(crate) mod shown;

pub use host::Host;
pub use method::Method;
pub use parameter::RejectedNames;
pub(crate) use path::is_dot_segment;
pub use path::{CanonicalPath, EscapeSet, split_target};
pub use query::{MOST_PARAMETERS, Query, is_plain_name};
