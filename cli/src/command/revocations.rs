//! `callgate revocations`: signs and shows the lists of revoked credentials that gates fetch.

mod feed;
mod show;
mod sign;

use std::io::Write;

use super::{Exit, Failure};

pub(super) use feed::{Feed, Lock, check};

/// The type of a signed list, in its header.
const TYPE: &str = "callgate-revocations+jws";

/// Sign and show lists of revoked credentials
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Sign(sign::Arguments),
    Show(show::Arguments),
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    match &arguments.verb {
        Verb::Sign(arguments) => sign::run(arguments, out),
        Verb::Show(arguments) => show::run(arguments, out),
    }
}
