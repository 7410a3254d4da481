//! `cargo harness`: everything about the project that needs more than cargo.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use test_harness::build::{self, Flavor};
use test_harness::{bench, demo, progress};

/// Builds, runs and shows Callgate in a real gateway.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures what the gate costs, beside Envoy's own filters, in one run of a real Envoy.
    Bench {
        /// Writes the figures to this file, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Makes few calls: the figures are rough.
        #[arg(long)]
        quick: bool,
        /// Measures only these rows, by their names in the JSON, in many short rounds.
        #[arg(long, value_delimiter = ',', conflicts_with_all = ["json", "quick"])]
        rows: Vec<String>,
    },
    /// Builds the filter and prints the file's path.
    Build,
    /// Counts the instructions of a decision about a call whose token was seen before, by part.
    Instructions {
        /// Makes the count the one that a test holds later ones against.
        #[arg(long)]
        write: bool,
    },
    /// Sends calls through a real Envoy with the quickstart's policy and shows what was decided and why.
    Demo {
        /// Leaves everything running and prints calls to try.
        #[arg(long)]
        serve: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Build => {
            let file = progress::during("building the filter", || build::filter(Flavor::Release))?;
            println!("{}", file.display());
            Ok(())
        }
        Command::Bench { json: None, rows, .. } if !rows.is_empty() => bench::some_rows(&rows),
        Command::Bench { json, quick, .. } => bench::run(json.as_deref(), quick),
        Command::Instructions { write } => bench::instructions(write),
        Command::Demo { serve } => demo::run(serve),
    }
}
