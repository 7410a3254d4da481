//! The `callgate` binary: arguments in, an exit code out.

use std::process::ExitCode;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> ExitCode {
    callgate_cli::command::main(std::env::args_os()).into()
}

/// There is no command line for wasm32; the workspace builds the filter for it alone.
#[cfg(target_arch = "wasm32")]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
