//! Decision records as gateways wrote them down: what they look like.

mod schema;

pub use schema::{faults, schema};
