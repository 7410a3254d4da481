//! The `callgate` binary: arguments in, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    callgate_cli::command::main(std::env::args_os()).into()
}
