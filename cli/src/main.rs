//! The `callgate` binary: passes arguments to the library and returns an exit code.

use std::process::ExitCode;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> ExitCode {
    callgate_cli::command::main(std::env::args_os()).into()
}

/// The command line does not exist on wasm32; the workspace builds only the filter for that target.
#[cfg(target_arch = "wasm32")]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
