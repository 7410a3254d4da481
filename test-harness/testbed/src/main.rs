//! The program that `cargo demo` builds and runs.

use std::process::ExitCode;

const USAGE: &str = "\
Starts a real Envoy with the policy of examples/quickstart, sends requests through it, and shows each decision and its reason.

Usage: cargo demo [--serve]

Options:
  --serve  Leave everything running, and print requests to try and commands that explain them
  --help   Print this text
";

#[cfg(not(target_arch = "wasm32"))]
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let serve = match arguments.as_slice() {
        [] => false,
        [only] if only == "--serve" => true,
        [only] if only == "--help" || only == "-h" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("error: unknown arguments\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match callgate_testbed::demo::run(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The demo does not exist on wasm32; the workspace builds only the filter for that target.
#[cfg(target_arch = "wasm32")]
fn main() -> ExitCode {
    print!("{USAGE}");
    ExitCode::FAILURE
}
