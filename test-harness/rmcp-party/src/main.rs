//! An MCP client or server with the crate `rmcp`, for tests of the gate between parties by other authors.
//!
//! `rmcp-party server PORT` serves the tools, resources and prompts of `examples/mcp`. `rmcp-party client MODE STEP...` performs the steps
//! of `test-harness/tests/envoy/mcp/parties/client.py`, and prints the same lines, so tests expect one table from all clients. With the
//! variable `SECRET`, its OAuth client gets tokens, and it prints the challenges and exchanges of that client.
//!
//! It is a separate package, and no default member of the workspace, because the SDK has dependencies that nothing else needs. It decides
//! nothing, and no test of the gate's rules belongs here.

mod authorization;
mod client;
mod server;
mod text;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "usage: rmcp-party server PORT | rmcp-party client auto|legacy STEP...";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (role, rest) = arguments.split_first().context(USAGE)?;
    match (role.as_str(), rest) {
        ("server", [port]) => server::serve(port.parse().context("the port is not a number")?).await,
        ("client", [mode, steps @ ..]) => client::run(mode, steps).await,
        _ => bail!(USAGE),
    }
}
