//! `cargo harness`: everything about the project that needs more than cargo.

use clap::{Parser, Subcommand};
use test_harness::build::{self, Flavor};

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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Build => {
            println!("{}", build::filter(Flavor::Release)?.display());
            Ok(())
        }
    }
}
