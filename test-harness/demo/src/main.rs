//! `cargo demo`: announces what will happen and how long it takes, builds the demo while cargo shows its progress, and runs it.
//!
//! The demo is `callgate-demo` in `test-harness/testbed`. Nothing else belongs here, and no dependency: compiling one would delay the first
//! line.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

/// When the first line was printed, in milliseconds since 1970. The demo counts its time from there.
const STARTED: &str = "CALLGATE_DEMO_STARTED";

const USAGE: &str = "\
Starts a real Envoy with the policy of examples/quickstart, sends requests through it, and shows each decision and its reason.

Usage: cargo demo [--serve | --mcp]

Options:
  --serve  Leave everything running, and print requests to try and commands that explain them
  --mcp    The same with the policy of examples/mcp: an agent and the tools of an MCP server
  --help   Print this text
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => {}
        [only] if only == "--serve" || only == "--mcp" => {}
        [only] if only == "--help" || only == "-h" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("error: unknown arguments\n\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    announce(root.join("target/demo/callgate-demo").exists());
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let cargo = |verb| {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root).arg(verb);
        cargo.args(["--locked", "--profile", "demo", "--package", "callgate-testbed", "--bin", "callgate-demo"]);
        cargo
    };
    let built = run(&mut cargo("build"));
    if built != ExitCode::SUCCESS {
        return built;
    }
    run(cargo("run").arg("--quiet").env(STARTED, started.to_string()).arg("--").args(arguments))
}

/// Announces what happens and how long it takes.
fn announce(built_before: bool) {
    println!("Callgate demo: starts a real Envoy with the gate, sends requests of agents, and shows each decision.");
    if built_before {
        println!("This takes about 10 seconds if nothing changed since the last run.\n");
    } else {
        println!(
            "The first run builds the filter and fetches Envoy: 4 to 5 minutes on two cores. Later runs take 10 seconds.\n"
        );
    }
}

/// Runs a command with the terminal of this one, and returns its exit code.
fn run(command: &mut Command) -> ExitCode {
    match command.status() {
        // A process that a signal ended has no code.
        Ok(status) => u8::try_from(status.code().unwrap_or(1)).unwrap_or(1).into(),
        Err(error) => {
            eprintln!("error: cannot run cargo: {error}; install Rust from https://rustup.rs");
            ExitCode::FAILURE
        }
    }
}
