//! Decision records as gateways logged them: their format, their location in logs, and their meaning.

mod chain;
mod lines;
mod operation;
mod record;
mod schema;
mod summary;
mod words;

pub use lines::{Line, Lines, find, open};
pub use operation::operation;
pub use record::{Outcome, Record, WouldDeny, meaning};
pub use schema::{faults, schema};
pub use summary::{Group, Key, Summary, show};
pub use words::Words;
