//! `callgate schema`: prints the JSON Schemas of the policy and of the decision record, for editors and pipelines.

use std::io::Write;

use clap::ValueEnum;

use super::{Exit, Failure};
use callgate_kit::{escape, policy, records};

/// Print the JSON Schema of the policy document or of the decision record
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The schema to print
    #[arg(value_enum, default_value_t = Subject::Policy)]
    subject: Subject,
}

/// What a schema describes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Subject {
    /// The policy document
    Policy,
    /// The decision record
    Record,
}

/// Prints the schema.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let schema = match arguments.subject {
        Subject::Policy => policy::schema(),
        Subject::Record => records::schema(),
    };
    writeln!(out, "{}", escape::json(&schema)?)?;
    Ok(Exit::Fine)
}
