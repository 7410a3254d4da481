//! `callgate mcp pin`: prints the hashes of an MCP server's tool definitions as a policy contains them.

use std::io::Write;

use callgate::document::{Place, did_you_mean};
use callgate_kit::diagnostic::Diagnostics;

use super::{List, quoted, read, scalar};
use crate::command::{Exit, Failure};

/// Print the pins of an MCP server's tools as a policy contains them
///
/// Reads a server's answer to `tools/list` and prints the name and the `pin` of each tool. Copy each `pin` into the tool's entry in the
/// policy after you have reviewed the definition. A policy with a pin hides and denies the tool if the server changes its definition.
///
/// The answer can be a JSON-RPC response, an event stream with one response, the result of one, or an array of tools. Save it as the
/// server sends it, for example with curl: client libraries drop members and add others, which results in other pins.
///
/// Exits with 2 if the answer cannot be read, if two tools have the same name, or if a definition has no pin.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The saved answer: a file, or - for standard input
    file: String,
    /// Print only the pin of this tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
}

/// Prints the pins.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let answer = read(&arguments.file)?;
    let tools = || answer.entries.iter().filter(|entry| entry.list == List::Tools);
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    for tool in tools().filter(|tool| arguments.tool.as_ref().is_none_or(|wanted| *wanted == tool.name)) {
        match answer.pin(tool) {
            Ok(pin) => lines.push(format!("- name: {}\n  pin: [{}]\n", scalar(&tool.name), quoted(&pin))),
            Err(error) => errors.push(error),
        }
    }
    if let (Some(wanted), true) = (&arguments.tool, lines.is_empty() && errors.is_empty()) {
        let names = tools().map(|tool| tool.name.as_str());
        let help = did_you_mean(wanted, names, "check the name, and whether the answer has all pages");
        return Err(Failure::Trouble(format!("--tool: the answer has no tool `{wanted}`; {help}")));
    }
    if lines.is_empty() && errors.is_empty() {
        errors.push(answer.error(&Place::root(), "no tools; save the server's answer to `tools/list`"));
    }
    if !errors.is_empty() {
        return Err(Diagnostics::Wrong(errors).into());
    }
    out.write_all(lines.concat().as_bytes())?;
    Ok(Exit::Fine)
}
