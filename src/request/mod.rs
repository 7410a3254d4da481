//! What a call is: its path, query, host and method in the one form in which they are compared.
//!
//! Everything here is a pure function of the bytes that came. Each type can only be made by its parser, so that holding one
//! proves what was checked. Nothing here knows a policy or repairs what came: what is not canonical is refused, because the
//! form that was matched has to be the form that goes upstream.

pub(crate) mod credential;
pub mod digest;
pub(crate) mod head;
pub mod headers;
mod host;
pub(crate) mod incoming;
mod method;
pub(crate) mod parameter;
mod path;
pub(crate) mod percent;
mod query;
pub(crate) mod shown;

pub use host::Host;
pub use method::Method;
pub use parameter::RejectedNames;
pub(crate) use path::is_dot_segment;
pub use path::{CanonicalPath, EscapeSet, split_target};
pub use query::{MOST_PARAMETERS, Query, is_plain_name};
