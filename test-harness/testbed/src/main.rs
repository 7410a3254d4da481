//! The program that `cargo demo` builds and runs.

use std::process::ExitCode;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> ExitCode {
    // The launcher in `test-harness/demo` has checked the arguments.
    let serve = std::env::args_os().any(|argument| argument == "--serve");
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
    ExitCode::FAILURE
}
