//! `cargo harness`: everything about the project that needs more than cargo.

use clap::{Parser, Subcommand};
use test_harness::build::{self, Flavor};
use test_harness::{demo, progress};

/// Builds, runs and shows Callgate in a real gateway.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the filter and prints the file's path.
    Build,
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
        Command::Demo { serve } => demo::run(serve),
    }
}
