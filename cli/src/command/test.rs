//! `callgate test`: checks whether a policy decides as its cases expect.

use std::io::Write;
use std::path::PathBuf;

use super::{Exit, Failure, Format};
use callgate_kit::{corpus, escape};

/// Run decision cases against their policies
///
/// Prints each case that fails, with the differences from the expected decision. docs/reference/cases.md describes the format. Exits with 2
/// if a case fails.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files with cases, or folders that are searched for `cases.yaml` and `*.cases.yaml`
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// `json` prints {cases, differing: [{file, line, column, name, intent, differences}]}
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Runs the cases.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let report = corpus::test(&arguments.paths)?;
    match arguments.format {
        Format::Human => writeln!(out, "{report}")?,
        Format::Json => writeln!(out, "{}", escape::json(&report)?)?,
    }
    Ok(if report.passed() { Exit::Fine } else { Exit::Failed })
}
