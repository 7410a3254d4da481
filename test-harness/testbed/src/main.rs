//! The program that `cargo demo` builds and runs.

use std::process::ExitCode;

#[cfg(not(target_arch = "wasm32"))]
use callgate_testbed::demo;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> ExitCode {
    // The launcher in `test-harness/demo` has checked the arguments.
    let has = |wanted: &str| std::env::args_os().any(|argument| argument == wanted);
    let result = if has("--mcp") { demo::run_mcp() } else { demo::run(has("--serve")) };
    match result {
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
    ExitCode::FAILURE
}
