//! The commands of the command line.
//!
//! Each command reads its arguments, calls the library or the engine, and prints the result. Decisions must not be made here.

mod access;
mod check;
mod docs;
mod explain;
mod import;
mod keygen;
mod keys;
mod mcp;
mod reason;
mod records;
mod render;
mod request;
mod revocations;
mod revoke;
mod schema;
mod sign;
mod test;
mod token;
mod verify;
mod version;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use callgate_kit::diagnostic::Diagnostics;
use callgate_kit::escape;

/// Check, test and explain Callgate policies
#[derive(Debug, Parser)]
#[command(name = "callgate", version, about, max_term_width = 100)]
#[command(after_help = exit_codes())]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Arguments),
    Test(test::Arguments),
    Explain(explain::Arguments),
    Access(access::Arguments),
    Reason(reason::Arguments),
    Records(records::Arguments),
    Revoke(revoke::Arguments),
    Revocations(revocations::Arguments),
    Schema(schema::Arguments),
    Token(token::Arguments),
    Sign(sign::Arguments),
    Verify(verify::Arguments),
    Keygen(keygen::Arguments),
    Keys(keys::Arguments),
    Import(import::Arguments),
    Mcp(mcp::Arguments),
    Render(render::Arguments),
    Version(version::Arguments),
    #[command(hide = true)]
    Docs(docs::Arguments),
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for people
    Human,
    /// JSON for programs
    Json,
}

/// The exit status of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Fine,
    /// The command was used wrongly, or something could not be read or written.
    Trouble,
    /// A check failed: of a policy, a key set, a list of revoked credentials, an MCP server's answer, a gateway's configuration, a test, a
    /// signature or a module.
    Failed,
    /// A search found nothing.
    NothingFound,
}

impl Exit {
    /// Every status with its meaning, for the help and the reference.
    pub(crate) const ALL: [(Self, &str); 4] = [
        (Self::Fine, "success"),
        (Self::Trouble, "wrong usage, or a file could not be read or written"),
        (
            Self::Failed,
            "a check failed: an invalid policy, key set, list of revoked credentials or answer of an MCP server, a way around the gate, \
             a failed test, an invalid signature or a changed module",
        ),
        (Self::NothingFound, "no record matches the search (`callgate records`)"),
    ];

    /// Returns the exit code of the process.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Trouble => 1,
            Self::Failed => 2,
            Self::NothingFound => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

fn exit_codes() -> String {
    let lines = Exit::ALL.iter().map(|(exit, meaning)| format!("\n  {}  {meaning}", exit.code()));
    lines.fold("Exit codes:".to_owned(), |text, line| text + &line)
}

/// Why a command could not run.
#[derive(Debug)]
enum Failure {
    /// The command was used wrongly, or something could not be read. The text states what to do instead.
    Trouble(String),
    /// A file is invalid or cannot be read.
    File(Diagnostics),
    /// The output could not be written.
    Output(io::Error),
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::File(Diagnostics::Wrong(_)) => Exit::Failed,
            Self::File(Diagnostics::Unreadable(_)) | Self::Trouble(_) | Self::Output(_) => Exit::Trouble,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trouble(message) => write!(f, "callgate: {}", escape::text(message)),
            Self::File(diagnostics) => diagnostics.fmt(f),
            Self::Output(error) => write!(f, "callgate: cannot write the output: {error}"),
        }
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::File(diagnostics)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}

/// Returns the definition of the commands and their arguments. The reference describes it, and tests use it to check whether a command
/// line is valid.
#[must_use]
pub fn definition() -> clap::Command {
    Arguments::command()
}

/// Runs the command line with these arguments; the first one is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let verb = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.verb,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Trouble } else { Exit::Fine };
            return if error.print().is_ok() { exit } else { Exit::Trouble };
        }
    };
    let mut out = io::stdout().lock();
    let result = run(verb, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    result.unwrap_or_else(|failure| {
        // The reader of the pipe closed it and needs no more output.
        if !matches!(&failure, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            eprintln!("{failure}");
        }
        failure.exit()
    })
}

fn run(verb: Verb, out: &mut dyn Write) -> Result<Exit, Failure> {
    match verb {
        Verb::Check(arguments) => check::run(&arguments, out),
        Verb::Test(arguments) => test::run(&arguments, out),
        Verb::Explain(arguments) => explain::run(&arguments, out),
        Verb::Access(arguments) => access::run(&arguments, out),
        Verb::Reason(arguments) => reason::run(&arguments, out),
        Verb::Records(arguments) => records::run(&arguments, out),
        Verb::Revoke(arguments) => revoke::run(&arguments, out),
        Verb::Revocations(arguments) => revocations::run(&arguments, out),
        Verb::Schema(arguments) => schema::run(&arguments, out),
        Verb::Token(arguments) => token::run(&arguments, out),
        Verb::Sign(arguments) => sign::run(&arguments, out),
        Verb::Verify(arguments) => verify::run(&arguments, out),
        Verb::Keygen(arguments) => keygen::run(&arguments, out),
        Verb::Keys(arguments) => keys::run(&arguments, out),
        Verb::Import(arguments) => import::run(&arguments, out),
        Verb::Mcp(arguments) => mcp::run(&arguments, out),
        Verb::Render(arguments) => render::run(&arguments, out),
        Verb::Version(arguments) => version::run(&arguments, out),
        Verb::Docs(arguments) => docs::run(&arguments, out),
    }
}
