//! `callgate import`: drafts parts of a policy from descriptions of an API.

mod bindings;
mod mcp;

use std::io::Write;

use super::{Exit, Failure};

/// Draft parts of a policy from the description of an API
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Mcp(mcp::Arguments),
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    match &arguments.verb {
        Verb::Mcp(arguments) => mcp::run(arguments, out),
    }
}
