//! The engine of Callgate: it takes a request and the time, and returns a decision.
//!
//! It has no clock, no network, no globals and writes no log. What it needs from its host comes in as a value or through a
//! small trait, so that the same code decides in a gateway, in a test and on the command line. A decision is made in
//! [`evaluate()`], whose body is the order of the checks.

mod answer;
mod authorize;
mod call;
mod credential;
pub mod crypto;
mod decision;
pub mod endpoint;
mod evaluate;
#[cfg(target_arch = "wasm32")]
mod filter;
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
pub mod fuzzing;
mod head;
pub mod headers;
pub mod policy;
mod reason;
mod record;
pub mod request;
pub mod time;
pub mod token;
mod trace;
mod upstream;

pub use answer::{Answer, grpc_status};
pub use call::{Call, DecisionId, Source};
pub use decision::{Allow, Caller, Denial, Deny, Facts, Grant, Rule, Step};
pub use evaluate::{Context, evaluate};
pub use headers::Headers;
pub use policy::Policy;
pub use reason::{Challenge, Reason, Row};
pub use record::Record;
pub use time::Timestamp;
pub use trace::{Check, Trace, Traced};
pub use upstream::Change;
