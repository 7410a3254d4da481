//! `callgate schema`: the JSON Schema of the policy document, for editors.

use std::io::Write;

use super::{Exit, Failure};
use crate::{escape, policy};

/// Prints the schema.
pub(super) fn run(out: &mut dyn Write) -> Result<Exit, Failure> {
    writeln!(out, "{}", escape::json(&policy::schema())?)?;
    Ok(Exit::Fine)
}
