//! `callgate mcp`: commands for policies of MCP servers, and the reader of the servers' answers for all commands.

mod answer;
mod events;
mod pin;
mod raw;
mod yaml;

use std::io::Write;

use super::{Exit, Failure};
use answer::Answer;
use callgate_kit::input::Input;

pub(super) use answer::{Entry, List};
pub(super) use yaml::{quoted, scalar};

/// Commands for policies of MCP servers
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Pin(pin::Arguments),
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    match &arguments.verb {
        Verb::Pin(arguments) => pin::run(arguments, out),
    }
}

/// Reads the saved answer of an MCP server from a file, or from standard input for `-`, and prints warnings about it.
pub(super) fn read(file: &str) -> Result<Answer, Failure> {
    let input = match file {
        "-" => Input::Stdin,
        file => Input::File(file.to_owned()),
    };
    let bytes = input.bytes().map_err(Failure::Trouble)?;
    let answer = Answer::read(&input.to_string(), &bytes)?;
    for warning in &answer.warnings {
        eprintln!("{warning}");
    }
    Ok(answer)
}
